/* SPDX-License-Identifier: MIT
 * Codes under a given scale, AVX-512. */
#include "quant/x86/vector_avx512.h"

#define CODES_VARIANT codes_avx512
#include "quant/codes_body.h"
