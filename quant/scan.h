/* SPDX-License-Identifier: MIT
 * A scan of floats before they are trusted. */
#ifndef PARE_QUANT_SCAN_H
#define PARE_QUANT_SCAN_H

#include <stddef.h>

/* Index of the first NaN or infinity, or n; *amax gets the largest magnitude before it. Thread-safe. */
size_t scan_finite(const float *x, size_t n, float *amax);

#endif
