/* SPDX-License-Identifier: MIT
 * layer-state MODEL LAYER TOKENS.bin COUNT IN OUT
 *
 * A forward pass over the first COUNT tokens (int32 each), as `pare verify` makes it, up to a layer: writes the last token's hidden
 * state before that layer's MLP to IN and the one behind it to OUT, hidden_size F32 numbers each. */
#include <stdio.h>
#include <stdlib.h>

#include "model/forward/forward.h"

static int write_state(const struct forward *f, const char *path)
{
    FILE *out = fopen(path, "wb");
    const size_t last = f->tokens.ctx - 1;
    int rc = out ? 0 : -1;
    for (size_t i = 0; !rc && i < f->hidden.rows; i++)
        rc = fwrite(panel_row(&f->hidden, last / LANES, i) + last % LANES, sizeof(float), 1, out) == 1 ? 0 : -1;
    if (out && fclose(out))
        rc = -1;
    return rc;
}

static int run(struct forward *f, int layer, const char *in, const char *out, struct error *e)
{
    if (forward_embed(f, e))
        return -1;
    for (int i = 0; i < layer; i++)
        if (forward_layer(f, i, e))
            return -1;
    return forward_attention(f, layer, e) || write_state(f, in) || forward_mlp(f, layer, e) || write_state(f, out) ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct error e = {.text = "cannot read tokens or write states"};
    struct panel_store store = {.room = UINT64_MAX, .scratch = "/tmp"};
    struct source *s = argc == 7 ? source_open(argv[1], &e) : NULL;
    struct model *m = s ? model_open(s, &e) : NULL;
    const size_t n = argc == 7 ? (size_t)atol(argv[4]) : 0;
    int32_t *ids = calloc(n + 1, sizeof *ids);
    FILE *in = m && ids ? fopen(argv[3], "rb") : NULL;
    struct forward *f = NULL;
    int rc = -1;
    if (in && fread(ids, sizeof *ids, n, in) == n) {
        const struct forward_tokens tokens = {ids, 1, n};
        const struct forward_options options = {.threads = 1, .streams = 1, .group_routing = 1, .store = &store};
        f = forward_new(m, &tokens, &options, &e);
        rc = f ? run(f, atoi(argv[2]), argv[5], argv[6], &e) : -1;
    }
    if (rc)
        fprintf(stderr, "layer-state: %s\n", e.text);
    if (in)
        fclose(in);
    forward_free(f);
    free(ids);
    model_close(m);
    source_close(s);
    return rc ? 1 : 0;
}
