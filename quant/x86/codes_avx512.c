/* SPDX-License-Identifier: MIT
 * Codes under a given scale, AVX-512. */
#define CODES_VARIANT codes_avx512
#include "quant/codes_body.h"
