/* SPDX-License-Identifier: MIT
 * What a calibration keeps beside the layers' files: the state from which an interrupted run goes on, and at the end the imatrix and
 * calibration.json. Shared between convert/calibrate*.c only. */
#ifndef PARE_CONVERT_CALIBRATE_FILES_H
#define PARE_CONVERT_CALIBRATE_FILES_H

#include "convert/calibrate.h"

struct calibrate_state {
    char *folder, *hidden; /* DIR, DIR/resume.hidden */
    int lock;              /* descriptor of DIR/resume.lock, or -1 */
    char run[HASH_TEXT];   /* source, tokens and program: what an interrupted run must have in common */
    int restart;
};

/* Makes the folder and locks it. ERR_USAGE when a finished calibration lies there (unless restart), ERR_IO when another process works
 * in it. */
int calibrate_state_open(struct calibrate_state *s, const struct model *m, const struct calibrate_options *o, const char *folder,
                         struct error *e);
void calibrate_state_close(struct calibrate_state *s); /* safe on a zeroed one */

/* The first layer that is still to do, with the hidden state before it in f; 0 when there is nothing to go on with (f is untouched);
 * -1 with ERR_USAGE when what lies there is another run's. */
int calibrate_state_load(const struct calibrate_state *s, struct forward *f, struct error *e);
/* Makes the hidden state behind `layer` durable. */
int calibrate_state_save(const struct calibrate_state *s, const struct forward *f, int layer, struct error *e);

/* Writes imatrix.gguf and calibration.json, removes the state. */
int calibrate_finish(const struct calibrate_state *s, const struct model *m, const struct calibrate_options *o,
                     struct calibrate_result *r, struct error *e);

#endif
