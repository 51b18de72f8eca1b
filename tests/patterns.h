/* SPDX-License-Identifier: MIT
 * Rows of numbers, harmless and hostile, for the tests of the quantization types. */
#ifndef PARE_TESTS_PATTERNS_H
#define PARE_TESTS_PATTERNS_H

#include <stddef.h>
#include <stdint.h>

enum { PATTERNS = 15 };
extern const char *const patterns[PATTERNS]; /* what they are called */

/* n numbers of a pattern, of magnitudes up to `limit`. */
void fill_floats(float *x, size_t n, int pattern, float limit, uint64_t seed);

#endif
