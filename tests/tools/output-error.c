/* SPDX-License-Identifier: MIT
 * output-error BASE CANDIDATE DIR [CALIB]
 *
 * How far the outputs of each matrix of CANDIDATE are from BASE's on the inputs in DIR, a folder of `pare calibrate` on held-out
 * text: sum of |(w - y) x|^2 over rows and tokens, as a part of the sum of |w x|^2. One line per matrix: name, slab, tokens it
 * had in CALIB (the folder that CANDIDATE was made with; else 0), tr(D) / tr(H) there, error. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "convert/feedback/feedback.h"

struct side {
    struct source *source;
    struct model *model;
};

static int fail(const struct error *e)
{
    fprintf(stderr, "output-error: %s: %s: %s\n", e->file, e->tensor, e->text);
    return 1;
}

static int open_side(const char *path, struct side *s, struct error *e)
{
    return (s->source = source_open(path, e)) && (s->model = model_open(s->source, e)) ? 0 : -1;
}

/* Rows of a slab as [cols][LANES]. */
static int read_lanes(const struct model *m, const struct weight *w, uint64_t slab, uint64_t row0, uint64_t n, float *rows, float *out,
                      struct error *e)
{
    void *scratch = malloc(weight_scratch(m, w, n) + 64);
    int rc = scratch ? weight_read(m, w, slab, row0, n, rows, scratch, NULL, e) : -1;
    for (size_t j = 0; !rc && j < w->cols; j++)
        for (size_t l = 0; l < LANES; l++)
            out[j * LANES + l] = l < n ? rows[l * w->cols + j] : 0;
    free(scratch);
    return rc;
}

/* Sum over lanes of x H x'. */
static double form(const struct square *h, const float *x, float *y, gemm_fn *gemm)
{
    double sum = 0;
    for (size_t p = 0; p < square_panels(h->n); p++) {
        size_t n = h->n - p * LANES < LANES ? h->n - p * LANES : LANES;
        gemm(square_row(h, p, 0), LANES, h->n, x + p * LANES * LANES, n, LANES, y, p == 0);
    }
    for (size_t i = 0; i < h->n * LANES; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

static int measure(const struct side *a, const struct side *b, const struct weight *wa, const struct weight *wb, uint64_t slab,
                   const struct square *h, double *error, struct error *e)
{
    size_t floats = (size_t)wa->cols * LANES;
    float *rows = malloc(4 * floats * sizeof *rows), *x = rows + floats, *y = x + floats, *z = y + floats;
    double lost = 0, all = 0;
    int rc = rows ? 0 : -1;
    for (uint64_t row = 0, n; !rc && row < wa->rows; row += n) {
        n = wa->rows - row < LANES ? wa->rows - row : LANES;
        rc = read_lanes(a->model, wa, slab, row, n, rows, x, e) || read_lanes(b->model, wb, slab, row, n, rows, y, e);
        if (rc)
            break;
        all += form(h, x, z, gemm_for(a->model->cpu));
        for (size_t i = 0; i < floats; i++)
            y[i] -= x[i];
        lost += form(h, y, z, gemm_for(a->model->cpu));
    }
    *error = all > 0 ? lost / all : 0;
    free(rows);
    return rc;
}

static int one(const struct side *a, const struct side *b, const struct calibration *held, const struct calibration *calib,
               const struct weight *wa, const struct weight *wb, uint64_t slab, const char *name, struct error *e)
{
    const struct hessian_options plain = {0, 0}, damped = {0.03, 1};
    struct hessian_facts facts = {0};
    struct square h, none = {0};
    struct curvature c = {.d = NULL};
    double error = 0;
    int rc = square_init(&h, (size_t)wa->cols, e) || hessian_mean(held, wa, slab, &plain, 2, &h, &none, &facts, e) ||
             measure(a, b, wa, wb, slab, &h, &error, e);
    const int has = facts.tokens > 0;
    facts = (struct hessian_facts){0};
    if (!rc && calib)
        rc = hessian_make(calib, wa, slab, &(struct column_change){NULL}, &damped, 2, &c, &facts, e) < 0;
    if (!rc && has)
        printf("%s\t%" PRIu64 "\t%.0f\t%.4f\t%.6g\n", name, slab, facts.tokens, facts.explained, error);
    curvature_clear(&c);
    square_clear(&h);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct side a, b;
    struct calibration *held, *calib = NULL;
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: output-error BASE CANDIDATE DIR [CALIB]\n");
        return 2;
    }
    if (open_side(argv[1], &a, &e) || open_side(argv[2], &b, &e) || !(held = calibration_open(argv[3], a.model, &e)) ||
        (argc == 5 && !(calib = calibration_open(argv[4], a.model, &e))))
        return fail(&e);
    for (int layer = -1; layer < (int)a.model->params.num_hidden_layers; layer++)
        for (int r = 0; r < ROLE_COUNT; r++) {
            enum tensor_role role = (enum tensor_role)r;
            struct weight wa, wb;
            char name[TENSOR_NAME];
            if (input_of(role) == INPUT_NONE || role == ROLE_ATTN_KV_B || roles[role].flags & ROLE_ALWAYS_F32 ||
                !(roles[role].flags & ROLE_GLOBAL) != (layer >= 0) || !model_weight(a.model, role, layer, &wa) ||
                !model_weight(b.model, role, layer, &wb))
                continue;
            role_gguf_name(role, layer, name);
            for (uint64_t slab = 0; slab < wa.slabs; slab++)
                if (one(&a, &b, held, calib, &wa, &wb, slab, name, &e))
                    return fail(&e);
        }
    return 0;
}
