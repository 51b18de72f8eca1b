/* SPDX-License-Identifier: MIT
 * Tensor parallelism: how a matrix is cut. */
#include "model/parallel.h"

#include <stdio.h>
#include <string.h>

#include "quant/tiled.h"

int parallel_divides(enum tensor_role role, uint64_t rows, uint64_t cols, const struct quant_type *type, uint64_t n)
{
    const int by_inputs = role == ROLE_ATTN_OUTPUT || role == ROLE_FFN_DOWN || role == ROLE_FFN_DOWN_EXPS || role == ROLE_FFN_DOWN_SHEXP;
    const int whole = role == ROLE_ATTN_Q_A || role == ROLE_ATTN_KV_A_MQA || roles[role].class == CLASS_INDEXER;
    const struct tiling *tiles = type->tiling;
    const uint64_t across = tiles ? tiles->cols : type->block_len, down = tiles ? tiles->rows : 1;
    if (whole)
        return 1;
    return by_inputs ? cols % n == 0 && (!across || cols / n % across == 0) : rows % n == 0 && rows / n % down == 0;
}

const char *parallel_text(unsigned sizes, char out[PARALLEL_TEXT])
{
    out[0] = '\0';
    for (unsigned n = 1; n <= PARALLEL_MOST; n *= 2) {
        size_t at = strlen(out);
        if (sizes & n)
            snprintf(out + at, PARALLEL_TEXT - at, "%s%u", at ? ", " : "", n);
    }
    return out;
}
