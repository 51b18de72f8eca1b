/* SPDX-License-Identifier: MIT
 * Panels, AVX-512. */
#include "quant/x86/vector_avx512.h"

#define PANELS_VARIANT panels_avx512
#include "quant/panel_body.h"
