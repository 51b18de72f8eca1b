/* SPDX-License-Identifier: MIT
 * Panels, scalar: the definition. */
#include "quant/vector_scalar.h"

#define PANELS_VARIANT panels_scalar
#include "quant/panel_body.h"
