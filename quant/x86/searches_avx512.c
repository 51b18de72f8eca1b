/* SPDX-License-Identifier: MIT
 * Searches, AVX-512. */
#include "quant/x86/vector_avx512.h"

#define SEARCHES_VARIANT searches_avx512
#define PANELS_OF_VARIANT panels_avx512
#define CODES_OF_VARIANT codes_avx512
#include "quant/x86/searches_body.h"
