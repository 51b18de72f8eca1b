/* SPDX-License-Identifier: MIT
 * What a calibration keeps beside the layers' files: the state from which an interrupted run goes on, and at the end the imatrix and
 * calibration.json. Shared between convert/calibrat*.c only. */
#ifndef PARE_CONVERT_CALIBRATE_FILES_H
#define PARE_CONVERT_CALIBRATE_FILES_H

#include "convert/calibrate.h"
#include "convert/calibration_record.h"

/* What calibration.json will say, but for the use of experts. */
int calibrate_identity(const struct model *m, const struct calibrate_options *o, struct calibration_record *r, struct error *e);

struct calibrate_state {
    char *folder, *hidden; /* DIR, DIR/resume.hidden */
    int lock;              /* descriptor of DIR/resume.lock, or -1 */
};

/* Makes the folder and locks it. ERR_USAGE when it is no folder, has other things in it, or a finished calibration (unless restart),
 * ERR_IO when another process works in it. */
int calibrate_state_open(struct calibrate_state *s, const char *folder, int restart, struct error *e);
/* Removes the files that it kept, at the end. */
void calibrate_state_remove(struct calibrate_state *s);
void calibrate_state_close(struct calibrate_state *s); /* safe on a zeroed one */

/* The first layer that is still to do, with the hidden state before it in f; 0 when there is nothing to go on with (f is untouched);
 * -1 with ERR_USAGE when what lies there is another run's. */
int calibrate_state_load(const struct calibrate_state *s, const char run[HASH_TEXT], struct forward *f, struct error *e);
/* Makes the hidden state behind `layer` durable. */
int calibrate_state_save(const struct calibrate_state *s, const char run[HASH_TEXT], const struct forward *f, int layer, struct error *e);

/* All layers' files and the tokens lie in the folder: writes imatrix.gguf, fills r->use, writes calibration.json. Of m family and params count.
 * *bytes: of the layers' files. */
int calibrate_finish(const char *folder, const struct model *m, struct calibration_record *r, uint64_t *bytes, struct error *e);

#endif
