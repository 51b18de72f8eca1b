/* SPDX-License-Identifier: MIT
 * Inner loops of a sweep, compiled for AVX-512. */
#if defined(__x86_64__)
#define COLUMNS_VARIANT columns_avx512
#include "convert/feedback/columns_body.h"
#endif
