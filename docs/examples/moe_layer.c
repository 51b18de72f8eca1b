/* SPDX-License-Identifier: MIT
 * The routed and shared experts of one layer, for one token, out of an expert pack: only the experts that the router chooses are
 * read. What reads and decodes is pare itself (libpare.a: model/model.h, model/forward/forward.h), so that the numbers are those of
 * `pare verify`, bit for bit.
 *
 *     moe_layer PACK LAYER IN OUT
 *
 * IN is the token's hidden state before the layer's MLP, hidden_size F32 numbers; OUT gets the one behind it. Prints the chosen experts with
 * their gates, and how many bytes were read for them (Linux counts: /proc/self/io), beside what all experts of the layer take. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/forward/forward.h"

static int fail(const struct error *e)
{
    char line[1100];
    error_line(e, line, sizeof line);
    fprintf(stderr, "moe_layer: %s\n", line);
    return 1;
}

/* Bytes that this process has asked the system for so far. */
static uint64_t bytes_read(void)
{
    uint64_t n = 0;
    FILE *f = fopen("/proc/self/io", "r");
    if (!f || fscanf(f, "rchar: %" SCNu64, &n) != 1)
        n = 0;
    if (f)
        fclose(f);
    return n;
}

/* What one expert's three matrices take. */
static uint64_t expert_bytes(const struct model *m, int layer, int expert)
{
    uint64_t bytes = 0;
    for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS; role++) {
        const struct stored *s = model_stored(m, (enum tensor_role)role, layer, expert);
        for (int i = 0; i < PART_COUNT; i++)
            bytes += s->parts[i] ? s->parts[i]->bytes : 0;
    }
    return bytes;
}

static void tell(const struct forward *f, int layer, uint64_t read)
{
    const struct arch_params *p = &f->model->params;
    uint64_t chosen = 0, all = 0;
    for (uint64_t k = 0; k < p->num_experts_per_tok; k++) {
        chosen += expert_bytes(f->model, layer, f->chosen[k]);
        printf("expert %d, gate %.6f\n", f->chosen[k], (double)f->gates[k]);
    }
    for (uint64_t x = 0; x < p->n_routed_experts; x++)
        all += expert_bytes(f->model, layer, (int)x);
    printf("experts read %" PRIu64 " of %" PRIu64 " bytes in the layer's experts; the layer read %" PRIu64 "\n", chosen, all, read);
}

/* One token in one tile: its hidden state goes in and comes out in lane 0. */
static int run(const struct model *m, int layer, FILE *in, FILE *out, struct error *e)
{
    const int32_t any = 0; /* the token's number is not asked for */
    struct panel_store store = {.room = UINT64_MAX, .scratch = "/tmp"};
    const struct forward_tokens tokens = {&any, 1, 1};
    const struct forward_options options = {.threads = 1, .streams = 1, .group_routing = 1, .store = &store};
    struct forward *f = forward_new(m, &tokens, &options, e);
    int rc = f ? 0 : -1;
    for (size_t i = 0; !rc && i < f->hidden.rows; i++)
        if (fread(panel_row(&f->hidden, 0, i), sizeof(float), 1, in) != 1)
            rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "IN has fewer than %zu numbers", f->hidden.rows);
    const uint64_t before = bytes_read();
    if (!rc && !(rc = forward_mlp(f, layer, e)))
        tell(f, layer, bytes_read() - before);
    for (size_t i = 0; !rc && i < f->hidden.rows; i++)
        if (fwrite(panel_row(&f->hidden, 0, i), sizeof(float), 1, out) != 1)
            rc = error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write OUT");
    forward_free(f);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct source *s = argc == 5 ? source_open(argv[1], &e) : NULL;
    struct model *m = s ? model_open(s, &e) : NULL;
    FILE *in = m ? fopen(argv[3], "rb") : NULL, *out = in ? fopen(argv[4], "wb") : NULL;
    const int layer = argc == 5 ? atoi(argv[2]) : 0;
    int rc = -1;
    if (argc != 5)
        error_set(&e, ERR_USAGE, ERROR_NO_OFFSET, "usage: moe_layer PACK LAYER IN OUT");
    else if (m && !out)
        error_set(&e, ERR_IO, ERROR_NO_OFFSET, "cannot open IN or OUT");
    else if (m && !model_stored(m, ROLE_FFN_GATE_EXPS, layer, 0))
        error_set(&e, ERR_USAGE, ERROR_NO_OFFSET, "layer %d has no routed experts", layer);
    else if (m)
        rc = run(m, layer, in, out, &e);
    if (out && fclose(out) && !rc)
        rc = error_set(&e, ERR_IO, ERROR_NO_OFFSET, "cannot write OUT");
    if (in)
        fclose(in);
    model_close(m);
    source_close(s);
    return rc ? fail(&e) : 0;
}
