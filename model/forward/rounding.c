/* SPDX-License-Identifier: MIT
 * Rounding of activations: blocks of all lanes at once, and which product has which. */
#include "model/forward/rounding.h"

#include <float.h>
#include <string.h>

#include "quant/floats.h"
#include "quant/tiled.h"

/* Adding and taking away 1.5 * 2^23 rounds to whole numbers, ties to even, up to 2^22. */
static inline float whole(float x)
{
    return (x + 12582912.0f) - 12582912.0f;
}

/* To the nearest of a smaller format's numbers, ties to even: `drop` mantissa bits less, steps of 2^-n below the least normal number,
 * where 2^(23 - n) is `magic`. */
static inline float shorter(float x, int drop, float least, float magic)
{
    uint32_t bits = f32_bits(x), sign = bits & 0x80000000u, size = bits & 0x7fffffffu;
    uint32_t normal = (size + (1u << (drop - 1)) - 1 + (size >> drop & 1)) >> drop << drop;
    uint32_t small = f32_bits((bits_f32(size) + magic) - magic);
    return bits_f32(sign | (bits_f32(size) < least ? small : normal));
}

static inline float to_f16(float x)
{
    float y = shorter(x, 13, 0x1p-14f, 0.5f);
    return y > 65504 ? bits_f32(0x7f800000) : y < -65504 ? bits_f32(0xff800000) : y;
}

static inline float to_e4m3(float x)
{
    float y = shorter(x, 20, 0x1p-6f, 16384);
    return y > 448 ? 448 : y < -448 ? -448 : y;
}

static void round_f16(float *x, size_t n)
{
    for (size_t i = 0; i < n * LANES; i++)
        x[i] = to_f16(x[i]);
}

static void round_bf16(float *x, size_t n)
{
    for (size_t i = 0; i < n * LANES; i++)
        x[i] = bf16_to_f32(f32_to_bf16(x[i]));
}

static void round_e4m3(float *x, size_t n)
{
    for (size_t i = 0; i < n * LANES; i++)
        x[i] = to_e4m3(x[i]);
}

static void largest(const float *x, size_t n, float amax[LANES])
{
    memset(amax, 0, LANES * sizeof *amax);
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++) {
            float a = bits_f32(f32_bits(x[i * LANES + l]) & 0x7fffffffu);
            amax[l] = a > amax[l] ? a : amax[l];
        }
}

/* x = q * back, q = the whole number nearest to x * by. */
static void round_whole(float *x, size_t n, const float by[LANES], const float back[LANES])
{
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++)
            x[i * LANES + l] = whole(x[i * LANES + l] * by[l]) * back[l];
}

/* The scale is F32, the inverse of the one that numbers are multiplied by. */
static void round_q8_k(float *x, size_t n)
{
    float amax[LANES], by[LANES], back[LANES];
    largest(x, n, amax);
    for (size_t l = 0; l < LANES; l++) {
        by[l] = amax[l] > 0 ? 127 / amax[l] : 0;
        back[l] = amax[l] > 0 ? 1 / by[l] : 0;
    }
    round_whole(x, n, by, back);
}

/* As x86 kernels have it: the F16 scale is not the one that numbers are divided by. */
static void round_q8_0(float *x, size_t n)
{
    float amax[LANES], by[LANES], back[LANES];
    largest(x, n, amax);
    for (size_t l = 0; l < LANES; l++) {
        by[l] = amax[l] > 0 ? 127 / amax[l] : 0;
        back[l] = to_f16(amax[l] / 127);
    }
    round_whole(x, n, by, back);
}

static void round_int8(float *x, size_t n)
{
    float amax[LANES];
    largest(x, n, amax);
    for (size_t l = 0; l < LANES; l++)
        amax[l] = amax[l] > 0 ? amax[l] / 127.5f : FLT_EPSILON;
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++) {
            float q = whole(x[i * LANES + l] / amax[l]);
            x[i * LANES + l] = (q > 127 ? 127 : q) * amax[l];
        }
}

static void round_fp8(float *x, size_t n, int power)
{
    float s[LANES];
    largest(x, n, s);
    for (size_t l = 0; l < LANES; l++) {
        s[l] = (s[l] > 1e-4f ? s[l] : 1e-4f) / 448;
        s[l] = power ? e8m0_to_f32(f32_to_e8m0(s[l])) : s[l];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++)
            x[i * LANES + l] = to_e4m3(x[i * LANES + l] / s[l]) * s[l];
}

static void round_fp8_any(float *x, size_t n)
{
    round_fp8(x, n, 0);
}

static void round_fp8_power(float *x, size_t n)
{
    round_fp8(x, n, 1);
}

enum { F32, F16, BF16, Q8_K, Q8_0, FP8, FP8_UE8M0, E4M3, INT8 };
const struct rounding roundings[] = {
    [F32] = {"F32", 1, NULL},
    [F16] = {"F16", 1, round_f16},
    [BF16] = {"BF16", 1, round_bf16},
    [Q8_K] = {"Q8_K", 256, round_q8_k},
    [Q8_0] = {"Q8_0", 32, round_q8_0},
    [FP8] = {"FP8-1x128", 128, round_fp8_any},
    [FP8_UE8M0] = {"FP8-1x128-UE8M0", 128, round_fp8_power},
    [E4M3] = {"E4M3", 1, round_e4m3},
    [INT8] = {"INT8-TOKEN", 0, round_int8},
    {0},
};

void rounding_apply(const struct rounding *r, float *x, size_t rows)
{
    if (!r->round)
        return;
    size_t step = r->block > 1 ? r->block : rows;
    for (size_t at = 0; at < rows; at += step)
        r->round(x + at * LANES, rows - at < step ? rows - at : step);
}

/* A GGUF type is multiplied with its vec_dot_type: a number format with itself, blocks of 256 weights with Q8_K, shorter ones with
 * Q8_0 (or Q8_1, which has the same numbers and their sum). */
static const struct rounding *of_llama(const struct model *m, enum tensor_role role, const struct stored *s)
{
    const struct quant_type *t = s->type;
    (void)role;
    if (!t || t->gguf_id < 0 || (!m->source->meta && !m->source->pack))
        return NULL;
    if (t->flags & QT_FLOAT)
        return &roundings[!strcmp(t->name, "F16") ? F16 : !strcmp(t->name, "BF16") ? BF16 : F32];
    return &roundings[t->block_len == 256 ? Q8_K : Q8_0];
}

static const struct rounding *of_llama_32(const struct model *m, enum tensor_role role, const struct stored *s)
{
    const struct rounding *r = of_llama(m, role, s);
    return r == &roundings[Q8_K] ? &roundings[Q8_0] : r;
}

/* kv_b is absorbed into queries and outputs as BF16, whatever it is stored as: nothing is rounded for it. */
static const struct rounding *of_fp8(const struct model *m, enum tensor_role role, const struct stored *s)
{
    const struct tiling *t = s->type ? s->type->tiling : NULL;
    if (!t || !t->is_float || t->cols != 128 || role == ROLE_ATTN_KV_B)
        return NULL;
    return &roundings[m->params.scale_ue8m0 ? FP8_UE8M0 : FP8];
}

static const struct rounding *of_int8(const struct model *m, enum tensor_role role, const struct stored *s)
{
    const struct tiling *t = s->type ? s->type->tiling : NULL;
    (void)m;
    (void)role;
    return t && !t->is_float && t->bits == 8 && !t->cols ? &roundings[INT8] : NULL;
}

const struct act_rounding act_roundings[] = {
    {"q8_k", "llama.cpp on CPUs: 256 or 32 features of a token share a scale, by the weight's type", of_llama, 1},
    {"q8_0", "llama.cpp on GPUs: 32 features share a scale", of_llama_32, 1},
    {"fp8-1x128", "FP8 inference as released: 128 features share a scale", of_fp8, 0},
    {"int8-token", "W8A8: all features share a scale", of_int8, 0},
    {0},
};

const struct act_rounding *act_rounding_find(const char *name)
{
    for (const struct act_rounding *a = act_roundings; a->name; a++)
        if (!strcmp(a->name, name))
            return a;
    return NULL;
}

const struct rounding *act_rounding_of(const struct act_rounding *act, const struct model *m, const struct weight *w, uint64_t slab)
{
    enum tensor_role role = w->from_kv_b ? ROLE_ATTN_KV_B : w->role;
    const struct stored *s = act ? model_stored(m, role, w->layer, (int)slab) : NULL;
    const struct rounding *r = s ? act->of(m, role, s) : NULL;
    return r && r->round ? r : NULL;
}

int act_rounding_fits(const struct act_rounding *act, const struct model *m)
{
    for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++)
        for (int role = 0; role < ROLE_COUNT; role++) {
            const struct stored *s = model_stored(m, (enum tensor_role)role, layer, 0);
            if (s && act->of(m, (enum tensor_role)role, s))
                return 1;
        }
    return 0;
}

const struct cache_rounding cache_roundings[] = {
    {"f16", &roundings[F16], NULL},
    {"q8_0", &roundings[Q8_0], &roundings[Q8_0]},
    {"fp8", &roundings[E4M3], NULL}, /* with a scale of 1 */
    {0},
};

const struct cache_rounding *cache_rounding_find(const char *name)
{
    for (const struct cache_rounding *c = cache_roundings; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}
