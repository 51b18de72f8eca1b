/* SPDX-License-Identifier: MIT
 * Calibration: identity, the folder, state between layers. */
#include "convert/calibrate_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    int n = snprintf(text, sizeof text, "%s %zu %zu %d part %zu of %zu\n", o->tool, o->tokens.chunks, o->tokens.ctx, o->group_routing,
                     o->part.i, o->part.n);
    hash_add(h, text, (size_t)n);
    hash_add(h, o->tokens.ids, o->tokens.chunks * o->tokens.ctx * sizeof *o->tokens.ids);
    hash_finish(h, out);
    return 0;
}

/* The norms tell models of one shape apart, and are little to read. */
static int hash_norms(const struct model *m, struct hash *h, struct error *e)
{
    static const enum tensor_role norms[] = {ROLE_OUTPUT_NORM, ROLE_ATTN_NORM, ROLE_FFN_NORM};
    struct weight w;
    int rc = 0;
    for (int layer = -1; !rc && layer < (int)m->params.num_hidden_layers; layer++)
        for (int i = 0; !rc && i < 3; i++) {
            if (!model_weight(m, norms[i], layer, &w))
                continue;
            float *row = malloc((size_t)w.cols * sizeof *row);
            void *scratch = malloc(weight_scratch(m, &w, 1) + 64);
            rc = row && scratch ? weight_read(m, &w, 0, 0, 1, row, scratch, NULL, e) : no_memory(e);
            if (!rc)
                hash_add(h, row, (size_t)w.cols * sizeof *row);
            free(row);
            free(scratch);
        }
    return rc;
}

static int hash_source(const struct model *m, char out[HASH_TEXT], struct error *e)
{
    struct hash *h = hash_new();
    if (!h)
        return no_memory(e);
    for (size_t i = 0; i < m->source->n_tensors; i++) {
        const struct tensor *t = &m->source->tensors[i];
        hash_add(h, t->name, strlen(t->name) + 1);
        hash_add(h, t->type->name, strlen(t->type->name) + 1);
        hash_add(h, t->dims, t->n_dims * sizeof *t->dims);
    }
    int rc = hash_norms(m, h, e);
    hash_finish(h, out);
    return rc;
}

int calibrate_identity(const struct model *m, const struct calibrate_options *o, struct calibration_record *r, struct error *e)
{
    const struct calibrate_part *p = &o->part;
    const struct forward_tokens *all = p->n ? &p->all : &o->tokens;
    struct hash *h = hash_new();
    *r = (struct calibration_record){
        .family = m->family, .params = m->params, .tool = o->tool, .model = arch_release_name(m->family, &m->params), .text = o->text,
        .chunks = o->tokens.chunks, .ctx = o->tokens.ctx, .part = p->n ? p->i : 1, .parts = p->n ? p->n : 1,
        .first_chunk = p->n ? p->first_chunk : 0, .all_chunks = all->chunks, .group_routing = o->group_routing};
    if (!h)
        return no_memory(e);
    hash_add(h, all->ids, all->chunks * all->ctx * sizeof *all->ids);
    hash_finish(h, r->tokens);
    return hash_run(m, o, r->run) ? no_memory(e) : hash_source(m, r->source, e);
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

/* ---- the folder */

/* Whether a file of a folder is one that a calibration makes. */
static int is_ours(const char *name)
{
    static const char *const whole[] = {".", "..", "calibration.json", "imatrix.gguf", "output.safetensors", "resume.hidden", "resume.lock",
                                        "tokens.safetensors", "sensitivity.json"};
    static const char *const begins[] = {"pare-scratch-", "layer-"};
    size_t n = strlen(name);
    if (n > 8 && !strcmp(name + n - 8, ".partial"))
        n -= 8;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strlen(whole[i]) == n && !strncmp(name, whole[i], n))
            return 1;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (!strncmp(name, begins[i], strlen(begins[i])))
            return 1;
    return 0;
}

static int refuse_folder(const char *folder, const char *what, const char *name, struct error *e)
{
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s%s", what, name);
    return error_at_file(e, folder);
}

static int check_contents(const char *folder, struct error *e)
{
    DIR *d = opendir(folder);
    char name[300] = "";
    if (!d)
        return io_error(e, "open the folder", folder, ERROR_NO_OFFSET);
    for (struct dirent *x = readdir(d); x && !*name; x = readdir(d))
        if (!is_ours(x->d_name))
            snprintf(name, sizeof name, "%s", x->d_name);
    closedir(d);
    return *name ? refuse_folder(folder, "the folder is for a calibration alone, but has ", name, e) : 0;
}

/* That nothing of the source lies there is seen from what the folder holds. */
static int make_folder(const char *folder, struct error *e)
{
    if (io_kind(folder) == 2)
        return check_contents(folder, e);
    if (io_kind(folder))
        return refuse_folder(folder, "a calibration is a folder, but this is ", "a file", e);
    return mkdir(folder, 0777) ? io_error(e, "make the folder", folder, ERROR_NO_OFFSET) : 0;
}

int calibrate_state_open(struct calibrate_state *s, const char *folder, int restart, struct error *e)
{
    s->lock = -1;
    s->folder = strdup(folder);
    s->hidden = io_join(folder, "resume.hidden");
    char *done = io_join(folder, "calibration.json");
    int rc = !s->folder || !s->hidden || !done ? no_memory(e) : make_folder(folder, e);
    if (!rc && io_kind(done) && !restart)
        rc = refuse_folder(folder, "a finished calibration lies here (--restart replaces it)", "", e);
    rc = rc || lock_folder(s, e);
    if (!rc && restart) { /* the mark of a finished folder goes first */
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

void calibrate_state_remove(struct calibrate_state *s)
{
    char *lock = io_join(s->folder, "resume.lock");
    unlink(s->hidden);
    if (lock)
        unlink(lock);
    free(lock);
}

/* ---- the hidden state: | header | panels | */

struct header {
    char magic[8];
    uint64_t layers; /* that are done */
    uint64_t floats, hash; /* XXH3-64 of the panels, tile after tile, each seeded by the one before */
    char run[32];
};
static const char magic[8] = "parecal1";

int calibrate_state_save(const struct calibrate_state *s, const char run[HASH_TEXT], const struct forward *f, int layer, struct error *e)
{
    const size_t tile = f->hidden.rows * LANES * sizeof(float);
    struct header h = {.layers = (uint64_t)layer + 1, .floats = f->tiles * f->hidden.rows * LANES};
    struct io_out out = {.fd = -1};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.run, run, sizeof h.run);
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

static int read_state(const struct calibrate_state *s, const char run[HASH_TEXT], const struct io_file *file, struct forward *f, struct error *e)
{
    const size_t tile = f->hidden.rows * LANES * sizeof(float);
    uint64_t hash = 0;
    struct header h;
    if (file->size < sizeof h || io_read(file, 0, &h, sizeof h, e) || memcmp(h.magic, magic, sizeof magic))
        return refuse(s, ERR_FORMAT, "this is no state of an interrupted calibration", e);
    if (memcmp(h.run, run, sizeof h.run))
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

int calibrate_state_load(const struct calibrate_state *s, const char run[HASH_TEXT], struct forward *f, struct error *e)
{
    struct io_file file;
    if (!io_kind(s->hidden))
        return 0;
    if (io_open(&file, s->hidden, e))
        return -1;
    int layers = read_state(s, run, &file, f, e);
    io_close(&file);
    return layers;
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
