/* SPDX-License-Identifier: MIT
 * Elementwise functions, compiled for AVX2. */
#if defined(__x86_64__)
#define LANES_VARIANT lanes_avx2
#include "model/forward/lanes_body.h"
#endif
