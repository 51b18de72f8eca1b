/* SPDX-License-Identifier: MIT
 * Searches, AVX2. */
#include "quant/x86/vector_avx2.h"

#define SEARCHES_VARIANT searches_avx2
#define PANELS_OF_VARIANT panels_avx2
#define CODES_OF_VARIANT codes_avx2
#include "quant/x86/searches_body.h"
