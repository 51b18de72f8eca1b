/* SPDX-License-Identifier: MIT
 * Elementwise functions, compiled for AVX512. */
#if defined(__x86_64__)
#define LANES_VARIANT lanes_avx512
#include "model/forward/lanes_body.h"
#endif
