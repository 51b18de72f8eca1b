/* SPDX-License-Identifier: MIT
 * Experts of a pack: neighbouring layers that are alike are one line, so that a cache can be sized from a short list. */
#include "cli/inspect_pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/pack.h"

enum { MOST_TYPES = 16 };

/* The experts of one layer, or of several that are alike. */
struct layer_sum {
    uint64_t first, last, experts;
    uint64_t least, most, bytes; /* of an expert; of a layer */
    size_t n_types;
    struct {
        const char *name;
        uint64_t matrices;
    } types[MOST_TYPES];
};

static uint64_t stored_bytes(const struct stored *s)
{
    uint64_t bytes = 0;
    for (int i = 0; i < PART_COUNT; i++)
        bytes += s->parts[i] ? s->parts[i]->bytes : 0;
    return bytes;
}

static void count_type(struct layer_sum *l, const char *name)
{
    size_t i = 0;
    while (i < l->n_types && strcmp(l->types[i].name, name))
        i++;
    if (i == MOST_TYPES)
        return;
    l->n_types += i == l->n_types;
    l->types[i].name = name;
    l->types[i].matrices++;
}

static struct layer_sum sum_layer(const struct model *m, uint64_t layer)
{
    struct layer_sum l = {.first = layer, .last = layer};
    for (uint64_t x = 0; x < m->params.n_routed_experts; x++) {
        uint64_t bytes = 0;
        for (int role = ROLE_FFN_GATE_EXPS; role <= ROLE_FFN_DOWN_EXPS; role++) {
            const struct stored *s = model_stored(m, (enum tensor_role)role, (int)layer, (int)x);
            if (!s)
                continue;
            bytes += stored_bytes(s);
            count_type(&l, stored_type(s));
        }
        if (!bytes)
            continue;
        l.least = !l.experts || bytes < l.least ? bytes : l.least;
        l.most = bytes > l.most ? bytes : l.most;
        l.bytes += bytes;
        l.experts++;
    }
    return l;
}

static int alike(const struct layer_sum *a, const struct layer_sum *b)
{
    int same = a->last + 1 == b->first && a->experts == b->experts && a->least == b->least && a->most == b->most && a->bytes == b->bytes &&
               a->n_types == b->n_types;
    for (size_t i = 0; same && i < a->n_types; i++)
        same = !strcmp(a->types[i].name, b->types[i].name) && a->types[i].matrices == b->types[i].matrices;
    return same;
}

/* The next run of layers from *at on. 0 at the end. */
static int next_run(const struct model *m, uint64_t *at, struct layer_sum *run)
{
    run->experts = 0;
    for (; *at < arch_all_layers(&m->params); ++*at) {
        struct layer_sum l = sum_layer(m, *at);
        if (!l.experts)
            continue;
        if (!run->experts)
            *run = l;
        else if (alike(run, &l))
            run->last = l.last;
        else
            break;
    }
    return run->experts > 0;
}

void print_pack(const struct model *m, struct buffer *b)
{
    const struct pack *k = m->source->pack;
    struct layer_sum run;
    char least[SIZE_TEXT], most[SIZE_TEXT], bytes[SIZE_TEXT];
    uint64_t at = 0;
    if (!k)
        return;
    buffer_printf(b, "\nrecipe %s, members at multiples of %" PRIu64 ", %s; made by %s\n", k->recipe, k->align,
                  k->plain ? "experts' matrices apart" : "a bundle for each expert", k->tool);
    buffer_printf(b, "%-12s %7s %12s %12s %12s  %s\n", "layers", "experts", "an expert", "to", "a layer", "matrices by type");
    while (next_run(m, &at, &run)) {
        char layers[48];
        snprintf(layers, sizeof layers, run.first == run.last ? "%" PRIu64 : "%" PRIu64 "-%" PRIu64, run.first, run.last);
        buffer_printf(b, "%-12s %7" PRIu64 " %12s %12s %12s ", layers, run.experts, size_text(run.least, least), size_text(run.most, most),
                      size_text(run.bytes, bytes));
        for (size_t i = 0; i < run.n_types; i++)
            buffer_printf(b, "%s%" PRIu64 " %s", i ? ", " : " ", run.types[i].matrices, run.types[i].name);
        buffer_text(b, "\n");
    }
}

void json_pack(struct json *root, const struct model *m)
{
    const struct pack *k = m->source->pack;
    struct layer_sum run;
    uint64_t at = 0;
    if (!k)
        return;
    struct json *o = json_add_object(root, "pack"), *list;
    json_add_string(o, "tool", k->tool);
    json_add_string(o, "recipe", k->recipe);
    json_add_u64(o, "align", k->align);
    json_add_string(o, "layout", k->plain ? "plain" : "bundle");
    json_add_string(o, "subset", pack_subset_names[k->subset]);
    list = json_add_array(o, "experts");
    while (next_run(m, &at, &run)) {
        struct json *l = json_add_object(list, NULL), *types;
        json_add_u64(l, "first_layer", run.first);
        json_add_u64(l, "last_layer", run.last);
        json_add_u64(l, "experts", run.experts);
        json_add_u64(l, "expert_bytes_least", run.least);
        json_add_u64(l, "expert_bytes_most", run.most);
        json_add_u64(l, "layer_bytes", run.bytes);
        types = json_add_object(l, "matrices");
        for (size_t i = 0; i < run.n_types; i++)
            json_add_u64(types, run.types[i].name, run.types[i].matrices);
    }
}
