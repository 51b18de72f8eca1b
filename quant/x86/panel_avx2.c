/* SPDX-License-Identifier: MIT
 * Panels, AVX2. */
#include "quant/x86/vector_avx2.h"

#define PANELS_VARIANT panels_avx2
#include "quant/panel_body.h"
