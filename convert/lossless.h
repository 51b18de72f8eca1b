/* SPDX-License-Identifier: MIT
 * Lossless: blocks of quantized sources whose numbers another block type holds exactly: codes are carried over and nothing is searched.
 *
 *   from                       to                       when
 *   INT4 groups of 32, symmetric   Q4_0                 the scale is an F16 number: y = (u - 8) * d in both. (llama.cpp's own encoder
 *                                                       anchors d at the largest weight, d = max / -8, which a group of -7 .. 7 has not)
 *   INT8 groups of 32              Q8_0                 the same
 *   integer groups                 groups of that size  the scale is a number of the other's scale type
 *   MXFP4-CT                       MXFP4                always: the nibbles are in another order
 *   any block type             itself                   always: what is blocks of the wanted type stays as it is
 *
 * Source: ggml-org/ggml src/ggml-common.h block_q4_0, block_q8_0, block_mxfp4; quant/groups.h, quant/fp4_ct.h. */
#ifndef PARE_CONVERT_LOSSLESS_H
#define PARE_CONVERT_LOSSLESS_H

#include <stddef.h>

#include "quant/types.h"

/* Whether blocks of `to` can hold what blocks of `from` say. */
int lossless_applies(const struct quant_type *from, const struct quant_type *to);

/* Carries n blocks over. Those whose scale does not fit are left as they are in `to_blocks`; returns how many there are. Thread-safe. */
size_t lossless_carry(const struct quant_type *from, const struct quant_type *to, const void *blocks, void *to_blocks, size_t n);

#endif
