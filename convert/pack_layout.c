/* SPDX-License-Identifier: MIT
 * Members of packs, and their manifests. */
#include "convert/pack_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/importance.h"
#include "convert/target_gguf.h"
#include "formats/coded.h"
#include "formats/manifest.h"

/* Of numbers that are not known yet; the longest name of a tool. */
static const uint64_t longest = (UINT64_C(1) << 53) - 1;
enum { TOOL = 64 };

size_t pack_together(const struct plan *p, size_t first)
{
    const struct plan_tensor *t = &p->tensors[first];
    size_t n = 1;
    if (!t->bundled)
        return 1;
    while (first + n < p->n_tensors && t[n].bundled && t[n].weight.layer == t->weight.layer && t[n].slab0 == t->slab0)
        n++;
    return n;
}

/* Bytes that a tensor takes in the file. */
static uint64_t stored_bytes(const struct plan *p, const struct placed *placed, size_t i)
{
    const struct plan_tensor *t = &p->tensors[i];
    return placed ? placed[i].bytes : t->coded ? coded_most(t) : t->out.bytes;
}

uint64_t pack_inner(const struct plan *p, const struct placed *placed, size_t first, size_t n, uint64_t *inner)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at = pack_round(at, PACK_INNER);
        if (inner)
            inner[i] = at;
        at += stored_bytes(p, placed, first + i);
    }
    return at;
}

struct pack_cursor pack_begin(const struct plan *p, size_t file)
{
    const struct plan_file *f = &p->files[file];
    return (struct pack_cursor){.plan = p, .file = file, .sides = file ? 0 : p->n_sides, .tensor = f->first, .end = f->first + f->n,
                                .at = pack_after(PACK_BLOCK, f->reserved)};
}

int pack_next(struct pack_cursor *c, struct pack_item *m)
{
    const struct plan *p = c->plan;
    *m = (struct pack_item){.at = c->at};
    if (c->side < c->sides) {
        m->side = &p->sides[c->side++];
        m->size = m->side->text.size;
        m->align = PACK_BLOCK;
        snprintf(m->name, sizeof m->name, "%s", m->side->name);
    } else if (c->tensor < c->end) {
        const struct plan_tensor *t = &p->tensors[c->tensor];
        m->first = c->tensor;
        m->n = pack_together(p, c->tensor);
        m->bundle = t->bundled;
        m->size = pack_inner(p, c->placed, m->first, m->n, NULL);
        m->align = p->options.pack.align;
        if (m->bundle)
            pack_bundle_name((uint64_t)t->weight.layer, t->slab0, m->name);
        else
            snprintf(m->name, sizeof m->name, PACK_TENSORS "%s", t->out.name);
        c->tensor += m->n;
    } else {
        return 0;
    }
    m->offset = pack_place(m->at, m->size, m->align);
    c->at = pack_after(m->offset, m->size);
    return 1;
}

uint64_t pack_place_of_tensor(const struct plan *p, size_t tensor, uint64_t end)
{
    const struct plan_tensor *t = &p->tensors[tensor];
    const int first = tensor == p->files[t->out.file].first;
    if (first) { /* behind the side files */
        struct pack_cursor c = pack_begin(p, t->out.file);
        struct pack_item m;
        while (c.side < c.sides)
            pack_next(&c, &m);
        end = c.at;
    } else if (t->bundled && t[-1].bundled && t[-1].weight.layer == t->weight.layer && t[-1].slab0 == t->slab0) {
        return pack_round(end, PACK_INNER);
    }
    return pack_place(pack_after(end, 0), 0, p->options.pack.align); /* sizes of 8 GiB, which take another header, are refused */
}

/* ---- manifest */

static void add_sums(struct json *o, uint64_t offset, uint64_t size, const char *hash, uint32_t crc)
{
    char text[16];
    snprintf(text, sizeof text, "%08" PRIx32, crc);
    json_add_u64(o, "offset", offset);
    json_add_u64(o, "size", size);
    json_add_string(o, "xxh3", hash);
    json_add_string(o, "crc32", text);
}

/* Of bytes in memory. */
static int add_text_sums(struct json *o, uint64_t offset, const void *bytes, size_t n)
{
    char hash[HASH_TEXT];
    struct hash *h = hash_new();
    if (!h)
        return -1;
    hash_add(h, bytes, n);
    hash_finish(h, hash);
    add_sums(o, offset, n, hash, hash_crc32(0, bytes, n));
    return 0;
}

void pack_table(const struct plan_tensor *t, const struct stream_state *state, uint64_t first, uint64_t n, uint8_t *out)
{
    for (uint64_t k = 0; k < n; k++)
        for (int i = 0; i < 4; i++)
            out[4 * k + (uint64_t)i] = (uint8_t)(state->places.size[t->first_unit + first + k] >> 8 * i);
}

/* CRC-32 of what is stored of a tensor: its table, and the chunks, which the run has summed. */
static uint32_t crc_of(const struct pack_cursor *cursor, size_t i, const struct stream_state *state)
{
    const struct plan_tensor *t = &cursor->plan->tensors[i];
    const struct chain *c = state ? &state->output.list[i] : NULL;
    const uint64_t count = unit_count(t);
    uint32_t crc = 0;
    if (!c || !t->coded)
        return c ? c->crc : 0;
    for (uint64_t k = 0; k < count; k++) {
        uint8_t entry[4];
        pack_table(t, state, k, 1, entry);
        crc = hash_crc32(crc, entry, sizeof entry);
    }
    return hash_crc32_combine(crc, c->crc, cursor->placed[i].bytes - coded_table_bytes(count));
}

/* A tensor: on its own, or as one of a bundle. */
static int add_tensor(struct json *o, const struct pack_cursor *cursor, size_t i, const char *member, const struct stream_state *state)
{
    const struct plan *p = cursor->plan;
    const struct plan_tensor *planned = &p->tensors[i];
    const uint64_t offset = cursor->placed ? cursor->placed[i].offset : planned->out.offset;
    const struct tensor *t = &p->tensors[i].out;
    char hash[HASH_TEXT];
    json_add_string(o, "name", t->name);
    json_add_string(o, "type", t->type->name);
    struct json *shape = json_add_array(o, "shape");
    for (uint32_t d = 0; d < t->n_dims; d++)
        json_add_u64(shape, NULL, t->dims[d]);
    if (member)
        json_add_string(o, "member", member);
    if (state && !t->bytes) /* no unit has fed its chain */
        return add_text_sums(o, offset, "", 0);
    const struct chain *c = state ? &state->output.list[i] : NULL;
    hash_text(c ? c->high : 0, c ? c->low : 0, hash);
    add_sums(o, state ? offset : longest, t->bytes, hash, crc_of(cursor, i, state));
    if (planned->coded) {
        struct json *coded = json_add_object(o, "coded");
        json_add_u64(coded, "chunk", coded_chunk_of(planned));
        json_add_u64(coded, "count", unit_count(planned));
        json_add_u64(coded, "size", stored_bytes(p, cursor->placed, i));
    }
    return 0;
}

static int add_line(struct buffer *b, struct json *o, int *first)
{
    char *text = o ? json_print_line(o) : NULL;
    if (text)
        buffer_printf(b, "%s\n\t\t%s", *first ? "" : ",", text);
    *first = 0;
    json_free(o);
    free(text);
    return text && !b->failed ? 0 : -1;
}

static int add_item(struct buffer *b, const struct pack_cursor *cursor, const struct pack_item *m, const struct stream_state *state, int *first)
{
    const struct plan *p = cursor->plan;
    struct json *o = json_new_object(), *list;
    int rc = o ? 0 : -1;
    if (m->side) {
        json_add_string(o, "name", m->side->name);
        rc = add_text_sums(o, state ? m->offset : longest, m->side->text.data ? m->side->text.data : "", m->side->text.size);
    } else if (!m->bundle) {
        rc = add_tensor(o, cursor, m->first, m->name, state);
    } else {
        json_add_u64(o, "layer", (uint64_t)p->tensors[m->first].weight.layer);
        json_add_u64(o, "expert", p->tensors[m->first].slab0);
        json_add_string(o, "member", m->name);
        json_add_u64(o, "offset", state ? m->offset : longest);
        json_add_u64(o, "size", m->size);
        list = json_add_array(o, "tensors");
        for (size_t i = 0; !rc && i < m->n; i++)
            rc = add_tensor(json_add_object(list, NULL), cursor, m->first + i, NULL, state);
    }
    if (!rc)
        return add_line(b, o, first);
    json_free(o);
    return -1;
}

/* What stands before the lists, without the closing brace. */
static int add_head(struct buffer *b, const struct plan *p, size_t file, const char *tool)
{
    const struct plan_options *o = &p->options;
    char recipe[RECIPE_TEXT], importance[IMPORTANCE_TEXT], feedback[FEEDBACK_TEXT], cut[TOOL + 1], name[NAME_PART];
    struct json *root = json_new_object(), *part;
    if (!recipe_text(&o->recipe, recipe)) {
        json_free(root);
        return -1;
    }
    snprintf(cut, sizeof cut, "%s", tool);
    json_add_string(root, "format", PACK_FORMAT);
    json_add_u64(root, "version", PACK_VERSION);
    json_add_string(root, "tool", cut);
    json_add_string(root, "source", source_base_name(p->model->source, name));
    part = json_add_object(root, "model");
    json_add_u64(part, "layers", arch_all_layers(&p->model->params));
    json_add_u64(part, "dense_layers", p->model->params.first_k_dense_replace);
    json_add_u64(part, "experts", p->model->params.n_routed_experts);
    json_add_string(root, "recipe", recipe);
    if (o->imatrix)
        json_add_string(root, "imatrix", importance_text(p, importance));
    if (o->calib)
        json_add_string(root, "calibration", feedback_text(o->calib, &o->feedback, feedback));
    if (p->pack_subset)
        json_add_string(root, "subset", pack_subset_names[p->pack_subset]);
    json_add_u64(root, "align", o->pack.align);
    json_add_string(root, "layout", o->pack.plain ? "plain" : "bundle");
    part = json_add_object(root, "split");
    json_add_u64(part, "index", file + 1);
    json_add_u64(part, "count", p->n_files);
    char *printed = root ? json_print(root) : NULL, *end = printed ? strrchr(printed, '}') : NULL;
    if (end)
        buffer_add(b, printed, (size_t)(end - printed) - 1);
    free(printed);
    json_free(root);
    return end && !b->failed ? 0 : -1;
}

/* Side files, single tensors, bundles: lists in this order, as the members are. */
int pack_manifest(const struct plan *p, size_t file, const char *tool, const struct stream_state *state, const struct placed *placed,
                  struct buffer *out)
{
    static const char *const keys[] = {"files", "tensors", "experts"};
    char most[TOOL + 1];
    struct pack_cursor c = pack_begin(p, file);
    struct pack_item m;
    int more, open = -1, first = 1, rc;
    c.placed = placed;
    memset(most, 'x', TOOL);
    most[TOOL] = '\0';
    rc = add_head(out, p, file, state ? tool : most);
    do {
        more = pack_next(&c, &m);
        const int list = !more ? 3 : m.side ? 0 : m.bundle ? 2 : 1;
        for (; open < list; first = 1) {
            if (open >= 0)
                buffer_text(out, "\n\t]");
            if (++open < 3)
                buffer_printf(out, ",\n\t\"%s\":\t[", keys[open]);
        }
        if (more && !rc)
            rc = add_item(out, &c, &m, state, &first);
    } while (more && !rc);
    return rc ? -1 : manifest_seal(out);
}
