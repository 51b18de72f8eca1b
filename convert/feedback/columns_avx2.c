/* SPDX-License-Identifier: MIT
 * Inner loops of a sweep, compiled for AVX2. */
#if defined(__x86_64__)
#define COLUMNS_VARIANT columns_avx2
#include "convert/feedback/columns_body.h"
#endif
