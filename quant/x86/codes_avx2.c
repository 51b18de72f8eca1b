/* SPDX-License-Identifier: MIT
 * Codes under a given scale, AVX2. */
#define CODES_VARIANT codes_avx2
#include "quant/codes_body.h"
