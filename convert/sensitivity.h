/* SPDX-License-Identifier: MIT
 * Sensitivities: what each type of a pool takes away from a matrix's output. Rows of every matrix are encoded by the encoder of conversions
 * (search, importance, error feedback) and read again; e = w - y loses e H e' with H the second moments that feedback rounds with, which are
 * drawn towards what is known without data (feedback/hessian.h), since errors under the very moments that they were minimized for look
 * smaller than they are. H is made once for all types and for all matrices with the same input.
 *
 * Of large matrices blocks of rows are taken, evenly spread and always the same: 512 rows of one that is alone, 2048 of all of a
 * role's experts or heads and at least 64 of each, 128 where each has a type of its own. An embedding has no second moments: its rows count alike. */
#ifndef PARE_CONVERT_SENSITIVITY_H
#define PARE_CONVERT_SENSITIVITY_H

#include "convert/candidates.h"
#include "convert/measured.h"
#include "convert/stream.h"

/* Rows are rounded so for gains: the same whatever target, pool and calibration's options. 0, or -1 when rows of n do not fit. */
int coarse_round(const float *x, size_t n, float *y);

/* Adds what *m lacks of the candidates' types, and writes it into the calibration's folder layer by layer. `n_new`: how many pairs of matrix and type were measured. Hooks count inputs. */
int sensitivity_measure(const struct candidates *c, struct measured *m, size_t *n_new, const struct stream_hooks *hooks, struct error *e);

#endif
