/* SPDX-License-Identifier: MIT
 * Reader of expert packs. The manifest is data from a stranger: its last line must be the hash of its bytes, and every member must lie
 * exactly where the members before it put it, so that nothing overlaps, leaves a hole or ends behind the file. The tar's other headers are
 * not read here; verify/check_pack.h looks at them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/coded.h"
#include "formats/manifest.h"
#include "formats/pack.h"
#include "formats/split_name.h"

enum { MAX_SPLITS = 4096, MAX_TENSOR_NAME = 192 };

/* One file of a pack while it is read. */
struct part {
    struct source *s;
    struct pack *pack;
    uint32_t file;
    uint64_t at;            /* end of the members so far */
    uint64_t index, count;  /* of the split */
};

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "%s", what);
}

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

static const char *keep(const struct part *p, const struct json *v)
{
    const char *text = json_string(v);
    return text ? arena_copy(&p->s->arena, text, strlen(text)) : NULL;
}

/* A member of this name and size must have its data here. */
static int place(struct part *p, const char *name, uint64_t offset, uint64_t size, uint64_t align, struct pack_member **member, struct error *e)
{
    const uint64_t end = p->s->files[p->file].size;
    const uint64_t should = pack_place(p->at, size, align);
    if (offset != should || offset > end || size > end - offset)
        return error_set(e, ERR_FORMAT, offset, offset != should ? "'%.150s' does not lie where the members before it put it, at %" PRIu64
                                                                 : "'%.150s' ends behind the end of the file", name, should);
    *member = &p->pack->members[p->pack->n_members++];
    **member = (struct pack_member){.name = name, .file = p->file, .at = p->at, .offset = offset, .size = size, .align = align};
    p->at = pack_after(offset, size);
    return 0;
}

static int is_hex(const char *text, size_t n)
{
    return text && strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

/* offset, size, xxh3, crc32 */
static int read_sums(const struct json *v, uint64_t *offset, uint64_t *size, struct packed *sum, struct error *e)
{
    const char *hash = json_string(json_get(v, "xxh3")), *crc = json_string(json_get(v, "crc32"));
    if (json_u64(json_get(v, "offset"), offset) || json_u64(json_get(v, "size"), size) || !is_hex(hash, HASH_TEXT - 1) || !is_hex(crc, 8))
        return bad(e, "an entry of the manifest lacks offset, size, xxh3 or crc32");
    memcpy(sum->hash, hash, HASH_TEXT);
    sum->crc = (uint32_t)strtoul(crc, NULL, 16);
    return 0;
}

static int read_side(struct part *p, const struct json *v, struct error *e)
{
    struct pack *k = p->pack;
    struct pack_side side = {.name = keep(p, json_get(v, "name")), .file = p->file};
    struct pack_member *member;
    if (!side.name || !pack_side_name_is_valid(side.name) || strlen(side.name) >= PACK_NAME)
        return bad(e, "a side file of the manifest has no plain name");
    for (size_t i = 0; i < k->n_sides; i++)
        if (!strcmp(k->sides[i].name, side.name))
            return bad(e, "a side file stands twice in the manifest");
    if (read_sums(v, &side.offset, &side.size, &side.sum, e) || place(p, side.name, side.offset, side.size, PACK_BLOCK, &member, e))
        return -1;
    k->sides[k->n_sides++] = side;
    return 0;
}

static int read_shape(const struct json *v, struct tensor *t, struct error *e)
{
    if (!v || json_type(v) != JSON_ARRAY)
        return bad(e, "shape is missing or no list");
    for (const struct json *d = json_child(v); d; d = json_next(d))
        if (t->n_dims == TENSOR_MAX_DIMS || json_u64(d, &t->dims[t->n_dims++]))
            return bad(e, "shape is no list of whole numbers, or too long");
    return 0;
}

/* Of an entropy coded tensor how; of others `stored` is all that counts. */
struct chunks {
    uint64_t chunk, count, stored; /* stored: bytes in the file */
};

static int read_coded(const struct json *v, const struct tensor *t, struct chunks *c, struct error *e)
{
    *c = (struct chunks){0, 0, t->bytes};
    if (!v || (!json_u64(json_get(v, "chunk"), &c->chunk) && !json_u64(json_get(v, "count"), &c->count) &&
               !json_u64(json_get(v, "size"), &c->stored) && c->chunk))
        return 0;
    bad(e, "coded lacks chunk, count or size");
    return error_at_tensor(e, t->name);
}

/* A tensor whose place is proven. */
static int add_tensor(struct part *p, struct tensor *t, const struct chunks *c, struct error *e)
{
    if (c->chunk && coded_open(p->s, t, c->chunk, c->count, c->stored, e))
        return -1;
    return source_add_tensor(p->s, t, e);
}

/* A tensor, wherever it lies. `keys`: how many an entry of its kind has; one that is not known may mean anything. */
static int read_tensor(struct part *p, const struct json *v, size_t keys, struct tensor *t, struct chunks *c, struct error *e)
{
    const char *type = json_string(json_get(v, "type"));
    struct packed *sum = arena_alloc(&p->s->arena, sizeof *sum);
    uint64_t need;
    *t = (struct tensor){.name = keep(p, json_get(v, "name")), .file = p->file, .packed = sum};
    if (!sum)
        return no_memory(e);
    if (!t->name || !io_name_is_plain(t->name) || strlen(t->name) > MAX_TENSOR_NAME)
        return bad(e, "a tensor of the manifest has no plain name");
    const struct json *coded = json_get(v, "coded");
    if (json_count(v) != keys + (coded != NULL) || (coded && json_count(coded) != 3))
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "its entry in the manifest has keys that are not known here");
    else if (!type || !(t->type = pack_storage(type)))
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "unknown type '%.60s'", type ? type : "");
    else if (!read_shape(json_get(v, "shape"), t, e) && !read_sums(v, &t->offset, &t->bytes, sum, e) && !tensor_size(t, &need, e)) {
        if (need == t->bytes)
            return read_coded(coded, t, c, e);
        error_set(e, ERR_FORMAT, t->offset, "type and shape need %" PRIu64 " bytes, the manifest says %" PRIu64, need, t->bytes);
    }
    return error_at_tensor(e, t->name);
}

static int read_single(struct part *p, const struct json *v, struct error *e)
{
    struct tensor t;
    struct chunks c;
    struct pack_member *member;
    char name[PACK_NAME];
    const char *given = json_string(json_get(v, "member"));
    if (read_tensor(p, v, 8, &t, &c, e))
        return -1;
    snprintf(name, sizeof name, PACK_TENSORS "%s", t.name);
    if (!given || strcmp(given, name))
        bad(e, "a tensor's member is not named after it");
    else if (!place(p, t.name, t.offset, c.stored, p->pack->align, &member, e))
        return (member->name = keep(p, json_get(v, "member"))) ? add_tensor(p, &t, &c, e) : no_memory(e);
    return error_at_tensor(e, t.name);
}

/* Tensors of a bundle, one behind the other. */
static int read_inner(struct part *p, const struct json *list, struct pack_member *m, struct error *e)
{
    uint64_t end = 0;
    m->first = p->pack->n_extents;
    for (const struct json *v = json_child(list); v; v = json_next(v)) {
        struct tensor t;
        struct chunks c;
        if (read_tensor(p, v, 7, &t, &c, e))
            return -1;
        end = pack_round(end, PACK_INNER);
        if (t.offset != m->offset + end || c.stored > m->size - (end < m->size ? end : m->size)) {
            error_set(e, ERR_FORMAT, t.offset, "it does not lie where it must in its bundle, '%.100s'", m->name);
            return error_at_tensor(e, t.name);
        }
        end += c.stored;
        p->pack->extents[p->pack->n_extents++] = (struct pack_extent){t.offset, c.stored};
        if (add_tensor(p, &t, &c, e))
            return -1;
    }
    m->n = p->pack->n_extents - m->first;
    return m->n && end == m->size ? 0 : error_set(e, ERR_FORMAT, m->offset, "the bundle '%.100s' has not the size of its tensors", m->name);
}

static int read_bundle(struct part *p, const struct json *v, struct error *e)
{
    uint64_t layer, expert, offset, size;
    char name[PACK_NAME];
    const char *given = json_string(json_get(v, "member"));
    struct pack_member *m;
    if (json_u64(json_get(v, "layer"), &layer) || json_u64(json_get(v, "expert"), &expert) || json_u64(json_get(v, "offset"), &offset) ||
        json_u64(json_get(v, "size"), &size) || !given || strcmp(given, pack_bundle_name(layer, expert, name)))
        return bad(e, "an expert of the manifest lacks layer, number, offset or size, or its member has another name");
    if (json_count(v) != 6)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "'%.100s' has keys in the manifest that are not known here", name);
    if (place(p, name, offset, size, p->pack->align, &m, e))
        return -1;
    if (!(m->name = keep(p, json_get(v, "member"))))
        return no_memory(e);
    return read_inner(p, json_get(v, "tensors"), m, e);
}

/* ---- the manifest */

/* What each file of a pack says of the whole. */
static int read_head(struct part *p, const struct json *root, struct error *e)
{
    struct pack *k = p->pack;
    const struct json *model = json_get(root, "model"), *split = json_get(root, "split");
    const char *layout = json_string(json_get(root, "layout")), *subset = json_string(json_get(root, "subset"));
    uint64_t align;
    if (json_u64(json_get(root, "align"), &align) || align < PACK_BLOCK || align > PACK_ALIGN_MOST || (align & (align - 1)) ||
        (k->align && align != k->align))
        return bad(e, "align is no power of two from 512 to 1048576, or another than in the first file");
    if (!layout || (strcmp(layout, "bundle") && strcmp(layout, "plain")))
        return bad(e, "layout is neither bundle nor plain");
    if (json_u64(json_get(model, "layers"), &k->layers) || json_u64(json_get(model, "experts"), &k->experts))
        return bad(e, "model lacks layers or experts");
    if (json_u64(json_get(split, "index"), &p->index) || json_u64(json_get(split, "count"), &p->count) || p->index < 1 || p->index > p->count ||
        p->count > MAX_SPLITS)
        return bad(e, "split does not say which file of how many this is");
    k->align = align;
    k->plain = !strcmp(layout, "plain");
    k->subset = PACK_SUBSETS;
    for (int i = 0; i < PACK_SUBSETS; i++)
        if (!strcmp(subset ? subset : "", pack_subset_names[i]))
            k->subset = (enum pack_subset)i;
    k->recipe = keep(p, json_get(root, "recipe"));
    k->tool = keep(p, json_get(root, "tool"));
    k->source = keep(p, json_get(root, "source"));
    return k->subset < PACK_SUBSETS && k->recipe && k->tool && k->source ? 0 : bad(e, "subset, source, recipe or tool is not known or missing");
}

static size_t inner_count(const struct json *bundles)
{
    size_t n = 0;
    for (const struct json *v = json_child(bundles); v; v = json_next(v))
        n += json_count(json_get(v, "tensors"));
    return n;
}

/* Room for the entries of one more file. */
static int grow(struct part *p, const struct json *root, struct error *e)
{
    struct pack *k = p->pack;
    const size_t sides = json_count(json_get(root, "files")), tensors = json_count(json_get(root, "tensors"));
    const struct json *bundles = json_get(root, "experts");
    struct pack_side *s = arena_array(&p->s->arena, k->n_sides + sides + 1, sizeof *s);
    struct pack_member *m = arena_array(&p->s->arena, k->n_members + sides + tensors + json_count(bundles) + 1, sizeof *m);
    struct pack_extent *x = arena_array(&p->s->arena, k->n_extents + inner_count(bundles) + 1, sizeof *x);
    if (!s || !m || !x)
        return no_memory(e);
    if (k->n_sides)
        memcpy(s, k->sides, k->n_sides * sizeof *s);
    if (k->n_members)
        memcpy(m, k->members, k->n_members * sizeof *m);
    if (k->n_extents)
        memcpy(x, k->extents, k->n_extents * sizeof *x);
    k->sides = s;
    k->members = m;
    k->extents = x;
    return 0;
}

static int read_lists(struct part *p, const struct json *root, size_t manifest, struct error *e)
{
    static const struct {
        const char *key;
        int (*read)(struct part *p, const struct json *v, struct error *e);
    } lists[] = {{"files", read_side}, {"tensors", read_single}, {"experts", read_bundle}};
    struct pack_member *m;
    if (grow(p, root, e) || place(p, PACK_MANIFEST, PACK_BLOCK, manifest, PACK_BLOCK, &m, e))
        return -1;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const struct json *list = json_get(root, lists[i].key);
        if (!list || json_type(list) != JSON_ARRAY)
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "'%s' is missing or no list", lists[i].key);
        for (const struct json *v = json_child(list); v; v = json_next(v))
            if (lists[i].read(p, v, e))
                return -1;
    }
    const uint64_t size = p->s->files[p->file].size;
    return size == p->at + PACK_END ? 0 : error_set(e, ERR_FORMAT, p->at, "the file has %" PRIu64 " bytes, its members end %s at %" PRIu64,
                                                    size, size < p->at + PACK_END ? "only" : "already", p->at + PACK_END);
}

static int read_root(struct part *p, const struct json *root, size_t manifest, struct error *e)
{
    const char *format = json_string(json_get(root, "format"));
    uint64_t version;
    if (!format || strcmp(format, PACK_FORMAT) || json_u64(json_get(root, "version"), &version))
        return bad(e, "this is no manifest of an expert pack");
    if (version != PACK_VERSION)
        return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "a pack of version %" PRIu64 ", which is not known", version);
    return read_head(p, root, e) || read_lists(p, root, manifest, e) ? -1 : 0;
}

/* Appends one file and what it holds. */
static int read_part(struct part *p, const char *path, struct error *e)
{
    char *text = NULL;
    size_t size, n;
    int file = source_add_file(p->s, path, e), sealed = 0;
    if (file < 0)
        return -1;
    p->file = (uint32_t)file;
    p->at = 0;
    if (pack_manifest_text(&p->s->files[file], &text, &size, e))
        return -1;
    n = size - (text[size - 1] == '\n'); /* spaces and a newline fill what was kept free for it */
    while (n && text[n - 1] == ' ')
        n--;
    sealed = manifest_is_sealed(text, n, e);
    struct json *root = sealed > 0 ? json_parse(text, n, e) : NULL;
    if (!sealed)
        bad(e, "the pack's manifest was changed or cut: its bytes are not those of its own hash");
    free(text);
    int rc = root ? read_root(p, root, size, e) : -1;
    json_free(root);
    return rc ? error_at_file(e, p->s->files[file].path) : 0;
}

static int read_split(struct part *p, const char *path, uint64_t index, uint64_t count, struct error *e)
{
    if (read_part(p, path, e))
        return -1;
    if (p->index == index && p->count == count)
        return 0;
    error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "this is not file %" PRIu64 " of %" PRIu64, index, count);
    return error_at_file(e, path);
}

/* All files of a split pack, in order, whichever was named. */
static int open_split(struct part *p, uint64_t count, struct error *e)
{
    char *whole = split_whole(p->s->path);
    int rc = 0;
    if (!whole) {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "a file of %" PRIu64 " whose name does not end in -NNNNN-of-NNNNN.tar", count);
        return error_at_file(e, p->s->path);
    }
    for (uint64_t i = 1; !rc && i <= count; i++) {
        char *path = split_part(whole, i, count, ".tar");
        if (!path)
            rc = no_memory(e);
        else if (!io_kind(path) && (rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "file %" PRIu64 " of %" PRIu64 " is missing", i, count)))
            error_at_file(e, path);
        else
            rc = read_split(p, path, i, count, e);
        free(path);
    }
    free(whole);
    return rc;
}

static int open_pack(struct source *s, struct error *e)
{
    struct part p = {.s = s, .pack = arena_alloc(&s->arena, sizeof *p.pack)};
    if (!(s->pack = p.pack))
        return no_memory(e);
    if (read_part(&p, s->path, e))
        return -1;
    if (p.count == 1)
        return 0;
    io_close(&s->files[0]);
    s->n_files = s->n_tensors = 0;
    s->tensor_bytes = 0;
    *p.pack = (struct pack){.align = 0};
    return open_split(&p, p.count, e);
}

static int probe(const char *path, int is_folder, const uint8_t *head, size_t n)
{
    (void)path;
    return !is_folder && n >= sizeof PACK_MANIFEST && !memcmp(head, PACK_MANIFEST, sizeof PACK_MANIFEST) ? 95 : 0;
}

const struct format format_pack = {.name = "pack", .probe = probe, .open = open_pack};
