/* SPDX-License-Identifier: MIT
 * Calibration: state between layers, and the end. */
#include "convert/calibrate_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "formats/imatrix.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the calibration");
}

/* ---- which run it is */

static int hash_run(const struct model *m, const struct calibrate_options *o, char out[HASH_TEXT])
{
    struct hash *h = hash_new();
    char text[512];
    if (!h)
        return -1;
    for (size_t i = 0; i < m->source->n_files; i++) {
        const struct io_file *f = &m->source->files[i];
        int n = snprintf(text, sizeof text, "%.300s %" PRIu64 " %" PRId64 "\n", io_base_name(f->path), f->size, f->mtime_ns);
        hash_add(h, text, (size_t)n);
    }
    int n = snprintf(text, sizeof text, "%s %zu %zu %d\n", o->tool, o->tokens.chunks, o->tokens.ctx, o->group_routing);
    hash_add(h, text, (size_t)n);
    hash_add(h, o->tokens.ids, o->tokens.chunks * o->tokens.ctx * sizeof *o->tokens.ids);
    hash_finish(h, out);
    return 0;
}

static int lock_folder(struct calibrate_state *s, struct error *e)
{
    char *path = io_join(s->folder, "resume.lock");
    int rc = path ? io_open_locked(path, &s->lock, e) : no_memory(e);
    if (rc > 0) {
        rc = error_set(e, ERR_IO, ERROR_NO_OFFSET, "another process works in this folder");
        error_at_file(e, s->folder);
    }
    free(path);
    return rc;
}

int calibrate_state_open(struct calibrate_state *s, const struct model *m, const struct calibrate_options *o, const char *folder,
                         struct error *e)
{
    s->lock = -1;
    s->restart = o->restart;
    s->folder = strdup(folder);
    s->hidden = io_join(folder, "resume.hidden");
    char *done = io_join(folder, "calibration.json");
    int rc = !s->folder || !s->hidden || !done || hash_run(m, o, s->run) ? no_memory(e) : 0;
    if (!rc && mkdir(folder, 0777) && errno != EEXIST)
        rc = io_error(e, "make the folder", folder, ERROR_NO_OFFSET);
    if (!rc && io_kind(done) && (!o->restart || o->follower)) {
        rc = error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "a finished calibration lies here%s", o->follower ? "" : " (--restart replaces it)");
        error_at_file(e, folder);
    }
    rc = rc || lock_folder(s, e);
    if (!rc && o->restart) { /* the mark of a finished folder goes first */
        unlink(done);
        unlink(s->hidden);
        rc = io_sync_folder(done, e);
    }
    free(done);
    return rc ? -1 : 0;
}

void calibrate_state_close(struct calibrate_state *s)
{
    if (s->folder && s->lock >= 0)
        close(s->lock);
    free(s->folder);
    free(s->hidden);
}

/* ---- the hidden state: | header | panels | */

struct header {
    char magic[8];
    uint64_t layers; /* that are done */
    uint64_t floats, hash; /* XXH3-64 of the panels, tile after tile, each seeded by the one before */
    char run[32];
};
static const char magic[8] = "parecal1";

int calibrate_state_save(const struct calibrate_state *s, const struct forward *f, int layer, struct error *e)
{
    const size_t tile = f->hidden.rows * LANES * sizeof(float);
    struct header h = {.layers = (uint64_t)layer + 1, .floats = f->tiles * f->hidden.rows * LANES};
    struct io_out out = {.fd = -1};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.run, s->run, sizeof h.run);
    int rc = io_out_create(&out, s->hidden, sizeof h + f->tiles * tile, e);
    for (size_t t = 0; !rc && t < f->tiles; t++) {
        h.hash = hash_64(panel_row(&f->hidden, t, 0), tile, h.hash);
        rc = io_out_write(&out, sizeof h + t * tile, panel_row(&f->hidden, t, 0), tile, e);
    }
    rc = rc || io_out_write(&out, 0, &h, sizeof h, e) || io_out_finish(&out, e);
    if (rc)
        io_out_abandon(&out);
    return rc ? -1 : 0;
}

static int refuse(const struct calibrate_state *s, enum error_code code, const char *what, struct error *e)
{
    error_set(e, code, ERROR_NO_OFFSET, "%s (--restart throws it away)", what);
    return error_at_file(e, s->hidden);
}

static int read_state(const struct calibrate_state *s, const struct io_file *file, struct forward *f, struct error *e)
{
    const size_t tile = f->hidden.rows * LANES * sizeof(float);
    uint64_t hash = 0;
    struct header h;
    if (file->size < sizeof h || io_read(file, 0, &h, sizeof h, e) || memcmp(h.magic, magic, sizeof magic))
        return refuse(s, ERR_FORMAT, "this is no state of an interrupted calibration", e);
    if (memcmp(h.run, s->run, sizeof h.run))
        return refuse(s, ERR_USAGE, "an interrupted calibration of other tokens, another source or another version lies here", e);
    if (h.floats != f->tiles * f->hidden.rows * LANES || file->size != sizeof h + h.floats * sizeof(float) || h.layers < 1 ||
        h.layers > f->model->params.num_hidden_layers)
        return refuse(s, ERR_FORMAT, "the interrupted calibration's state has another size than its header says", e);
    for (size_t t = 0; t < f->tiles; t++) {
        if (io_read(file, sizeof h + t * tile, panel_row(&f->hidden, t, 0), tile, e))
            return -1;
        hash = hash_64(panel_row(&f->hidden, t, 0), tile, hash);
    }
    return hash == h.hash ? (int)h.layers : refuse(s, ERR_FORMAT, "the interrupted calibration's state is damaged", e);
}

int calibrate_state_load(const struct calibrate_state *s, struct forward *f, struct error *e)
{
    struct io_file file;
    if (!io_kind(s->hidden))
        return 0;
    if (io_open(&file, s->hidden, e))
        return -1;
    int layers = read_state(s, &file, f, e);
    io_close(&file);
    return layers;
}

/* ---- imatrix.gguf */

struct diagonals {
    const struct calibration *c;
    const struct imatrix *m;
    struct entry_of { /* of each entry */
        enum tensor_role role;
        int layer;
    } *of;
    size_t loaded; /* entry whose sums are in `sums`, or SIZE_MAX */
    float *sums;
};

static int read_sums2(const struct diagonals *d, size_t entry, struct error *e)
{
    char name[32];
    const struct source *file = d->c->files[d->of[entry].layer * HALVES + HALF_MLP];
    snprintf(name, sizeof name, "%s.sums2", input_names[input_of(d->of[entry].role)]);
    const struct tensor *t = source_find(file, name);
    return source_read(file, t, 0, d->sums, (size_t)t->bytes, e);
}

/* Diagonals of the moments of all slabs. */
static int read_diagonals(const struct diagonals *d, size_t entry, struct error *e)
{
    enum input input = input_of(d->of[entry].role);
    uint64_t slabs, n;
    input_shape(input, &d->c->model->params, d->of[entry].layer, &slabs, &n);
    for (uint64_t slab = 0; slab < slabs; slab++) {
        struct square s;
        if (square_init(&s, (size_t)n, e) || calibration_moment(d->c, input, d->of[entry].layer, slab, &s, e)) {
            square_clear(&s);
            return -1;
        }
        for (size_t i = 0; i < n; i++)
            d->sums[slab * n + i] = *square_at(&s, i, i);
        square_clear(&s);
    }
    return 0;
}

static int give_sums(void *context, size_t entry, uint64_t first, uint64_t n, float *out, struct error *e)
{
    struct diagonals *d = context;
    const struct imatrix_entry *t = &d->m->entries[entry];
    if (d->loaded != entry) {
        free(d->sums);
        d->loaded = SIZE_MAX;
        if (!(d->sums = malloc((size_t)(t->n_mat * t->n_cols) * sizeof *d->sums)))
            return no_memory(e);
        if (roles[d->of[entry].role].flags & ROLE_EXPERT ? read_sums2(d, entry, e) : read_diagonals(d, entry, e))
            return -1;
        d->loaded = entry;
    }
    memcpy(out, d->sums + first, n * sizeof *out);
    return 0;
}

static int read_counts(const struct calibration *c, int layer, float *counts, struct error *e)
{
    const struct source *file = c->files[layer * HALVES + HALF_MLP];
    const struct tensor *t = source_find(file, "expert.counts");
    return source_read(file, t, 0, counts, (size_t)t->bytes, e);
}

static int add_entry(const struct calibration *c, struct imatrix *m, struct entry_of *of, enum tensor_role role, int layer, struct error *e)
{
    struct imatrix_entry *t = &m->entries[m->n_entries];
    char name[TENSOR_NAME];
    uint64_t slabs, n, mats = roles[role].flags & ROLE_EXPERT ? c->model->params.n_routed_experts : 1;
    input_shape(input_of(role), &c->model->params, layer, &slabs, &n);
    role_gguf_name(role, layer, name);
    t->name = arena_copy(&m->arena, name, strlen(name));
    t->n_mat = mats;
    t->n_cols = slabs * n / mats;
    t->counts = arena_array(&m->arena, (size_t)mats, sizeof *t->counts);
    if (!t->name || !t->counts)
        return no_memory(e);
    of[m->n_entries++] = (struct entry_of){role, layer};
    t->counts[0] = (float)c->tokens;
    return roles[role].flags & ROLE_EXPERT ? read_counts(c, layer, t->counts, e) : 0;
}

struct sorted {
    struct imatrix_entry entry;
    struct entry_of of;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sorted *)a)->entry.name, ((const struct sorted *)b)->entry.name);
}

static int sort_entries(struct imatrix *m, struct entry_of *of, struct error *e)
{
    struct sorted *list = malloc((m->n_entries + 1) * sizeof *list);
    if (!list)
        return no_memory(e);
    for (size_t i = 0; i < m->n_entries; i++)
        list[i] = (struct sorted){m->entries[i], of[i]};
    qsort(list, m->n_entries, sizeof *list, by_name);
    for (size_t i = 0; i < m->n_entries; i++) {
        m->entries[i] = list[i].entry;
        of[i] = list[i].of;
    }
    free(list);
    return 0;
}

static int add_entries(const struct calibration *c, struct imatrix *m, struct entry_of *of, struct error *e)
{
    const struct arch_params *p = &c->model->params;
    for (int layer = 0; layer < (int)p->num_hidden_layers; layer++)
        for (int r = 0; r < ROLE_COUNT; r++) {
            enum tensor_role role = (enum tensor_role)r;
            int reads = input_of(role) != INPUT_NONE && !(roles[role].flags & ROLE_GLOBAL);
            if (reads && role_in_layer(role, c->model->family, p, layer, 1) && add_entry(c, m, of, role, layer, e))
                return -1;
        }
    return sort_entries(m, of, e);
}

static int write_imatrix(const struct calibration *c, const char *text, struct error *e)
{
    size_t room = c->n_layers * ROLE_COUNT;
    struct imatrix m = {.form = IMATRIX_GGUF, .datasets = &text, .n_datasets = 1, .chunk_count = (uint32_t)c->chunks,
                        .chunk_size = (uint32_t)c->ctx};
    struct entry_of *of = calloc(room, sizeof *of);
    struct diagonals d = {.c = c, .m = &m, .of = of, .loaded = SIZE_MAX};
    char *path = io_join(c->folder, "imatrix.gguf");
    m.entries = arena_array(&m.arena, room, sizeof *m.entries);
    int rc = !of || !path || !m.entries ? no_memory(e)
                                        : add_entries(c, &m, of, e) || imatrix_save(&m, give_sums, &d, IMATRIX_GGUF, path, e);
    arena_clear(&m.arena);
    free(d.sums);
    free(of);
    free(path);
    return rc ? -1 : 0;
}

/* ---- calibration.json */

static int add_file(struct json *list, const char *path, struct calibrate_result *r, struct error *e)
{
    struct io_file f;
    char hash[HASH_TEXT];
    if (io_open(&f, path, e))
        return -1;
    int rc = hash_range(&f, 0, f.size, hash, e);
    struct json *j = json_add_object(list, NULL);
    json_add_string(j, "name", io_base_name(path));
    json_add_u64(j, "bytes", f.size);
    json_add_string(j, "xxh3_128", hash);
    r->bytes += f.size;
    io_close(&f);
    return rc;
}

static int add_half(struct json *list, const struct calibrate_state *s, int layer, enum half half, struct calibrate_result *r,
                    struct error *e)
{
    char *path = calibration_path(s->folder, layer, half);
    int rc = path ? add_file(list, path, r, e) : no_memory(e);
    free(path);
    return rc;
}

static int add_files(struct json *list, const struct calibrate_state *s, const struct model *m, struct calibrate_result *r, struct error *e)
{
    for (int layer = 0; layer < (int)m->params.num_hidden_layers; layer++)
        if (add_half(list, s, layer, HALF_ATTENTION, r, e) || add_half(list, s, layer, HALF_MLP, r, e))
            return -1;
    return add_half(list, s, -1, HALF_ATTENTION, r, e);
}

static int write_json(const struct calibrate_state *s, const struct model *m, const struct calibrate_options *o,
                      struct calibrate_result *r, struct error *e)
{
    struct json *j = json_new_object();
    char *path = io_join(s->folder, "calibration.json");
    json_add_string(j, "format", "pare calibration 1");
    json_add_string(j, "tool", o->tool);
    json_add_string(j, "model", arch_release_name(m->family, &m->params));
    json_add_string(j, "text", o->text);
    json_add_string(j, "run", s->run);
    json_add_u64(j, "chunks", o->tokens.chunks);
    json_add_u64(j, "ctx", o->tokens.ctx);
    int rc = add_files(json_add_array(j, "files"), s, m, r, e);
    char *text = json_print(j);
    if (!rc)
        rc = path && text ? io_write_all(path, text, strlen(text), e) : no_memory(e);
    json_free(j);
    free(text);
    free(path);
    return rc;
}

static int load_all(struct calibration *c, struct error *e)
{
    for (int layer = 0; layer < (int)c->n_layers; layer++)
        if (calibration_load(c, layer, HALF_ATTENTION, e) || calibration_load(c, layer, HALF_MLP, e))
            return -1;
    return 0;
}

/* Names of files that a pass leaves in its folder, whole or partial, begin so. */
static int is_ours(const char *name)
{
    static const char *const ours[] = {"layer-", "output.safetensors", "resume."};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strncmp(name, ours[i], strlen(ours[i])))
            return 1;
    return 0;
}

void calibrate_remove(const char *folder)
{
    char *done = io_join(folder, "calibration.json");
    DIR *dir = done && !io_kind(done) ? opendir(folder) : NULL;
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (is_ours(d->d_name))
            unlinkat(dirfd(dir), d->d_name, 0);
    if (dir) {
        closedir(dir);
        rmdir(folder);
    }
    free(done);
}

static void remove_file(const char *folder, const char *name)
{
    char *path = io_join(folder, name);
    if (path)
        unlink(path);
    free(path);
}

int calibrate_finish(const struct calibrate_state *s, const struct model *m, const struct calibrate_options *o,
                     struct calibrate_result *r, struct error *e)
{
    struct calibration *c = calibration_new(s->folder, m, o->tokens.chunks, o->tokens.ctx, 0, e);
    int rc = c ? load_all(c, e) || write_imatrix(c, o->text, e) || write_json(s, m, o, r, e) : -1;
    calibration_close(c);
    if (rc)
        return -1;
    remove_file(s->folder, "resume.hidden");
    remove_file(s->folder, "resume.lock");
    return 0;
}
