/* SPDX-License-Identifier: MIT
 * Calibration: what a run takes. It follows the order in which model/forward allocates. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "convert/calibrate.h"

struct shape {
    const struct model *m;
    const struct arch_params *p;
    uint64_t tokens, padded, ctx, ctx_padded, threads;
};

static uint64_t square_bytes(uint64_t n)
{
    return square_floats((size_t)n) * sizeof(float) + 64;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int is_moe(const struct shape *s, int layer)
{
    return (uint64_t)layer >= s->p->first_k_dense_replace;
}

/* ---- activations: rows of the panels that live at one time, in the order they are made */

enum { MAX_PANELS = 12 };

static size_t attention_panels(const struct shape *s, uint64_t rows[MAX_PANELS])
{
    const struct arch_params *p = s->p;
    const uint64_t all[] = {p->hidden_size, p->hidden_size, p->kv_lora_rank, p->qk_rope_head_dim, p->q_lora_rank, p->q_lora_rank,
                            p->num_attention_heads * p->v_head_dim, p->hidden_size};
    memcpy(rows, all, sizeof all);
    return sizeof all / sizeof *all;
}

/* A routed expert may get every token. */
static size_t mlp_panels(const struct shape *s, int layer, uint64_t rows[MAX_PANELS])
{
    const struct arch_params *p = s->p;
    const uint64_t D = p->hidden_size, inner = is_moe(s, layer) ? p->moe_intermediate_size : p->intermediate_size;
    const uint64_t shared = p->n_shared_experts * p->moe_intermediate_size, widest = is_moe(s, layer) ? most(inner, shared) : inner;
    const uint64_t moe[] = {D, D, D, D, D, widest, widest}, dense[] = {D, D, D, widest, widest};
    memcpy(rows, is_moe(s, layer) ? moe : dense, is_moe(s, layer) ? sizeof moe : sizeof dense);
    return (is_moe(s, layer) ? sizeof moe : sizeof dense) / sizeof *rows;
}

struct activations {
    uint64_t all, disk;
};

/* As panels_init gives out: what does not fit the rest of the room goes to disk. */
static struct activations place(const struct shape *s, const uint64_t *rows, size_t n, uint64_t room)
{
    struct activations a = {0, 0};
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = rows[i] * s->padded * sizeof(float);
        a.all += bytes;
        if (bytes > room)
            a.disk += bytes;
        else
            room -= bytes;
    }
    return a;
}

static struct activations of_half(const struct shape *s, int layer, enum half half, uint64_t room)
{
    uint64_t rows[MAX_PANELS];
    size_t n = half == HALF_MLP ? mlp_panels(s, layer, rows) : attention_panels(s, rows);
    return place(s, rows, layer < 0 ? 2 : n, room);
}

/* ---- moments */

/* Of one input: the matrix, and tokens by rows. */
static uint64_t moment_bytes(uint64_t n)
{
    return square_bytes(n) + 2 * n * MOMENT_TOKENS * sizeof(float);
}

static uint64_t moments_of(const struct shape *s, int layer, enum half half)
{
    uint64_t slabs, n, heads = 0, largest = 0;
    for (int i = INPUT_NONE + 1; i < INPUT_COUNT; i++) {
        enum input input = (enum input)i;
        if (input_half(input) != half || !input_shape(input, s->p, layer, &slabs, &n))
            continue;
        if (input == INPUT_Q_NOPE || input == INPUT_MIXED_LATENT)
            heads += slabs * square_bytes(n) + s->threads * 2 * n * LANES * sizeof(float);
        else if (input == INPUT_EXPERT || input == INPUT_EXPERT_INNER)
            largest = most(largest, slabs * n * sizeof(float)); /* for the imatrix */
        else
            largest = most(largest, moment_bytes(n));
    }
    return heads + largest;
}

static double moment_flops(uint64_t n, double tokens)
{
    return 2 * (double)square_lower_floats((size_t)n) * tokens;
}

/* ---- buffers of workers */

static uint64_t worker_bytes(const struct shape *s)
{
    const struct arch_params *p = s->p;
    uint64_t dq = p->qk_nope_head_dim + p->qk_rope_head_dim, q = p->q_lora_rank ? p->q_lora_rank : p->hidden_size;
    uint64_t weights = dq * q + 2 * p->kv_lora_rank * p->qk_nope_head_dim + p->v_head_dim * p->kv_lora_rank;
    uint64_t chunk = s->ctx_padded * (p->qk_nope_head_dim + 2 * p->v_head_dim + dq + p->kv_lora_rank + LANES);
    uint64_t head = (2 * weights + chunk + LANES * (dq + p->v_head_dim + p->kv_lora_rank)) * sizeof(float);
    uint64_t widest = most(most(p->intermediate_size, p->hidden_size), p->num_attention_heads * p->v_head_dim);
    uint64_t product = 2 * most((uint64_t)1 << 18, 12 * widest) * sizeof(float); /* decoded and stored rows */
    return s->threads * (most(head, product) + ((uint64_t)1 << 20));
}

/* Of all tokens: ids, routes, an expert's list; what the indexer lets be seen. */
static uint64_t list_bytes(const struct shape *s)
{
    uint64_t mask = s->p->index_n_heads && s->ctx > s->p->index_topk ? s->padded * s->ctx_padded : 0;
    return s->padded * (s->p->num_experts_per_tok * 6 + 24 + 8) + mask;
}

/* ---- arithmetic */

static double matrix_flops(const struct shape *s, enum tensor_role role, int layer)
{
    struct weight w;
    if (!model_weight(s->m, role, layer, &w) || input_of(role) == INPUT_NONE)
        return 0;
    double one = 2 * (double)w.rows * (double)w.cols * (double)s->tokens;
    return roles[role].flags & ROLE_EXPERT ? one * (double)s->p->num_experts_per_tok : one * (double)w.slabs;
}

static double layer_flops(const struct shape *s, int layer)
{
    const struct arch_params *p = s->p;
    double keys = (double)(s->ctx_padded + LANES) / 2, sum = 0;
    uint64_t slabs, n;
    for (int r = 0; r < ROLE_COUNT; r++)
        if (r != ROLE_ATTN_KV_B) /* k_b and v_b are its halves */
            sum += matrix_flops(s, (enum tensor_role)r, layer);
    for (int i = INPUT_NONE + 1; i < INPUT_COUNT; i++)
        if (i != INPUT_EXPERT && i != INPUT_EXPERT_INNER && input_shape((enum input)i, p, layer, &slabs, &n))
            sum += (double)slabs * moment_flops(n, (double)s->tokens);
    uint64_t seen = p->qk_nope_head_dim + p->qk_rope_head_dim + p->v_head_dim + p->kv_lora_rank;
    return layer < 0 ? sum : sum + 2 * (double)(p->num_attention_heads * seen) * keys * (double)s->tokens;
}

double calibrate_rate(int threads)
{
    enum { ROWS = 96, TILES = 8 };
    const double least = 0.2;
    gemm_fn *gemm = gemm_for(cpu_features());
    double done = 0, seconds = 0;
#pragma omp parallel num_threads(threads) reduction(+ : done) reduction(max : seconds)
    {
        float *w = calloc(ROWS * GEMM_BLOCK, sizeof *w), *x = calloc(TILES * GEMM_BLOCK * LANES, sizeof *x), *y = calloc(ROWS * LANES, sizeof *y);
        struct timespec from, now;
        clock_gettime(CLOCK_MONOTONIC, &from);
        while (w && x && y && seconds < least) {
            for (size_t t = 0; t < TILES; t++)
                gemm(w, GEMM_BLOCK, ROWS, x + t * GEMM_BLOCK * LANES, GEMM_BLOCK, LANES, y, 1);
            done += 2.0 * ROWS * GEMM_BLOCK * LANES * TILES;
            clock_gettime(CLOCK_MONOTONIC, &now);
            seconds = (double)(now.tv_sec - from.tv_sec) + (double)(now.tv_nsec - from.tv_nsec) / 1e9;
        }
        free(w);
        free(x);
        free(y);
    }
    return seconds > 0 ? done / seconds : 1;
}

/* ---- all of it */

static uint64_t file_bytes(const struct shape *s, int layer, enum half half)
{
    struct calibration_layout l;
    struct error e;
    uint64_t bytes = calibration_layout(s->p, layer, half, s->tokens, 0, &l, &e) ? 0 : l.bytes;
    buffer_clear(&l.header);
    return bytes;
}

static void add_half(const struct shape *s, struct calibrate_plan *p, int layer, enum half half, uint64_t room)
{
    struct activations a = of_half(s, layer, half, room);
    const uint64_t state = s->padded * s->p->hidden_size * sizeof(float);
    p->folder += file_bytes(s, layer, half);
    p->activations = most(p->activations, a.all);
    p->scratch = most(p->scratch, a.disk);
    /* while a state is written the one before it is still there, and of the activations only the hidden states */
    p->disk = most(p->disk, p->folder + most(a.disk + state, 2 * state + (state > room ? state : 0)));
}

static uint64_t imatrix_bytes(const struct shape *s)
{
    uint64_t slabs, n, sum = 0;
    for (int layer = 0; layer < (int)s->p->num_hidden_layers; layer++)
        for (int r = 0; r < ROLE_COUNT; r++) {
            enum input input = input_of((enum tensor_role)r);
            if (input != INPUT_NONE && role_in_layer((enum tensor_role)r, s->m->family, s->p, layer, 1) &&
                input_shape(input, s->p, layer, &slabs, &n))
                sum += slabs * n * sizeof(float);
        }
    return sum;
}

void calibrate_plan(const struct model *m, const struct calibrate_options *o, struct calibrate_plan *p)
{
    const size_t per_chunk = (o->tokens.ctx + LANES - 1) / LANES;
    const struct shape s = {m, &m->params, o->tokens.chunks * o->tokens.ctx, o->tokens.chunks * per_chunk * LANES, o->tokens.ctx,
                            per_chunk * LANES, (uint64_t)o->threads};
    const int n = (int)m->params.num_hidden_layers;
    uint64_t peak, now;
    process_memory(&peak, &now);
    *p = (struct calibrate_plan){0};
    for (int layer = -1; layer < n; layer++) {
        p->moments = most(p->moments, most(moments_of(&s, layer, HALF_ATTENTION), moments_of(&s, layer, HALF_MLP)));
        p->flops += layer_flops(&s, layer);
    }
    p->least = now + p->moments + worker_bytes(&s) + list_bytes(&s) + ((uint64_t)4 << 20);
    const uint64_t room = o->memory > p->least ? o->memory - p->least : 0;
    for (int layer = 0; layer < n; layer++) {
        add_half(&s, p, layer, HALF_ATTENTION, room);
        add_half(&s, p, layer, HALF_MLP, room);
    }
    add_half(&s, p, -1, HALF_ATTENTION, room);
    p->folder += imatrix_bytes(&s);
    p->disk = most(p->disk, p->folder + s.padded * m->params.hidden_size * sizeof(float));
    p->memory = p->least + (p->activations < room ? p->activations : room);
}
