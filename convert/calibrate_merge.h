/* SPDX-License-Identifier: MIT
 * Parts of a calibration added up: moments, sums of squares and counts add, tokens and their routes are put behind one another in the
 * order of their chunks. Sums may differ from the whole run's in their last bits, as they are added in another order. Memory: some
 * megabytes, and at the end the largest second moment. */
#ifndef PARE_CONVERT_CALIBRATE_MERGE_H
#define PARE_CONVERT_CALIBRATE_MERGE_H

#include "convert/calibrate.h"

/* Makes the folder `out` of all n parts, in any order; the model need not be there. ERR_FORMAT names the part that is of another run, is
 * there twice, is missing, or has a file that does not fit; ERR_USAGE when `out` is one of them, or holds something else. Hooks count
 * layers. */
int calibrate_merge(const char *const *folders, size_t n, const char *out, int restart, const struct stream_hooks *hooks,
                    struct calibrate_result *r, struct error *e);

#endif
