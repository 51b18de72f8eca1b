/* SPDX-License-Identifier: MIT
 * Blocks into lanes and back, and rounding: what the parts of quant/x86/searches_body.h share. */
#if defined(SEARCHES_VARIANT) && !defined(PARE_QUANT_X86_SEARCHES_LANES_H)
#define PARE_QUANT_X86_SEARCHES_LANES_H

#include <string.h>

#include "quant/search.h"

enum { MOST_LEN = 32 };

/* ---- blocks into lanes and back ---- */

/* out[i] gets element i of each block; blocks begin `stride` apart, those from `blocks` on are 0. len is a multiple of
 * LANES. */
static inline void spread(int len, const float *x, size_t stride, size_t blocks, vf *out)
{
    for (int at = 0; at < len; at += LANES) {
        for (size_t b = 0; b < LANES; b++)
            out[at + (int)b] = b < blocks ? v_load(x + b * stride + at) : v_set(0);
        v_transpose(out + at);
    }
}

static inline void collect(vf v, size_t blocks, float *out)
{
    float lanes[LANES];
    v_store(lanes, v);
    memcpy(out, lanes, (blocks < LANES ? blocks : LANES) * sizeof *out);
}

static inline void collect_codes(int len, vf *code, size_t blocks, uint8_t *codes)
{
    for (int at = 0; at < len; at += LANES) {
        v_transpose(code + at);
        for (size_t b = 0; b < LANES && b < blocks; b++)
            v_store_bytes(codes + b * (size_t)len + at, code[at + (int)b]);
    }
}

/* Where a chain of operations would wait for itself, several groups of lanes take turns: as many as the first-level cache
 * holds well. */
enum { GROUPS = 32 / LANES, DESCENTS = 4 };

/* Where group g begins, at the end when there is nothing for it. */
static inline size_t group_at(size_t first, int g, size_t blocks)
{
    size_t b = first + (size_t)g * LANES;
    return b < blocks ? b : blocks;
}

/* ---- numbers ---- */

#define MAGIC 12582912.0f /* as in nearest() */

/* nearest(v) clamped to low..high. Both ends are offered with MAGIC added. */
static inline vf rounded(vf v, vf low, vf high)
{
    vf n = v_with_bits(v + v_set(MAGIC), 0x7fffff, 0x4b000000);
    return v_clamp_positive(n, low, high) - v_set(MAGIC);
}

/* A whole number as it is left in an unsigned byte. */
static inline vf as_byte(vf n)
{
    return v_with_bits(n + v_set(MAGIC), 0xff, 0x4b000000) - v_set(8388608.0f);
}

#endif
