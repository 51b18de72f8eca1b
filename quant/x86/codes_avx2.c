/* SPDX-License-Identifier: MIT
 * Codes under a given scale, AVX2. */
#include "quant/x86/vector_avx2.h"

#define CODES_VARIANT codes_avx2
#include "quant/codes_body.h"
