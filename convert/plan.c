/* SPDX-License-Identifier: MIT
 * Plan: what all targets share: the tensor list, units and memory. */
#include "convert/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/coding.h"
#include "base/io.h"
#include "base/memory.h"
#include "convert/consume.h"
#include "convert/fold.h"
#include "convert/importance.h"
#include "convert/sequential.h"
#include "convert/unit.h"
#include "formats/coded.h"
#include "formats/gguf.h"
#include "formats/manifest.h"

/* Weights of a unit, unless the rows of one FP8 tile are more. Part of the plan's identity: see unit.h. */
enum { UNIT_FLOATS = 1 << 20 };
/* Of a header: a tensor's name and place at most, and what any file begins with. */
enum { NAME_BYTES = 256, NO_HEAD = 4096 };
/* Of a thread: its stack and the allocator's slack. Of the run: the keeper, its records, the manifest's text. */
enum { THREAD_BYTES = 256 << 10, FIXED_BYTES = 4 << 20, TEAM_BYTES = 32 << 10 };

const struct target *target_find(const char *name)
{
    for (const struct target *t = targets; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

struct plan_tensor *plan_add(struct plan *p, const struct weight *w, const struct quant_type *type, const struct tensor *out, struct error *e)
{
    if (p->n_tensors == p->tensor_room) {
        size_t room = p->tensor_room ? 2 * p->tensor_room : 1024;
        struct plan_tensor *more = realloc(p->tensors, room * sizeof *more);
        if (!more) {
            error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
            return NULL;
        }
        p->tensors = more;
        p->tensor_room = room;
    }
    struct plan_tensor *t = &p->tensors[p->n_tensors++];
    *t = (struct plan_tensor){.weight = *w, .type = type, .out = *out};
    t->out.name = arena_copy(&p->arena, out->name, strlen(out->name));
    if (!t->out.name) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    if (tensor_size(&t->out, &t->out.bytes, e)) {
        error_at_tensor(e, out->name);
        return NULL;
    }
    return t;
}

/* A byte: of tensors that are copied, and of nothing else. */
static const struct quant_type bytes_type = {.name = "bytes", .gguf_id = -1, .block_len = 1, .block_bytes = 1};

struct plan_tensor *plan_add_verbatim(struct plan *p, const struct tensor *source, const struct weight *w, const char *name, struct error *e)
{
    const struct weight bytes = {.role = w->role, .layer = w->layer, .slabs = 1, .rows = source->bytes, .cols = 1};
    struct tensor out = *source;
    out.name = name;
    struct plan_tensor *t = plan_add(p, &bytes, &bytes_type, &out, e);
    if (t)
        t->verbatim = source;
    return t;
}

struct plan_file *plan_add_file(struct plan *p, size_t first, size_t n, struct error *e)
{
    struct plan_file *files = realloc(p->files, (p->n_files + 1) * sizeof *files);
    if (!files) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    p->files = files;
    p->files[p->n_files] = (struct plan_file){.first = first, .n = n};
    return &p->files[p->n_files++];
}

const struct quant_type *plan_fitting_type(struct plan *p, const struct weight *w, const struct quant_type *wanted, const char **note,
                                           struct error *e)
{
    const struct quant_type *t;
    char text[160];
    if (w->cols % wanted->block_len == 0)
        return wanted;
    if (!(t = type_fallback(wanted)) || w->cols % t->block_len)
        t = quant_type_find("F16");
    int n = snprintf(text, sizeof text, "rows of %" PRIu64 " are no multiple of %s's block of %" PRIu32, w->cols, wanted->name,
                     wanted->block_len);
    if (p->options.recipe.no_fallback) {
        error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "%s, and --no-fallback allows no other type", text);
        return NULL;
    }
    snprintf(text + n, sizeof text - (size_t)n, ": %s instead", t->name);
    *note = arena_copy(&p->arena, text, strlen(text));
    if (!*note)
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return *note ? t : NULL;
}

/* Bytes of a tensor and of those that are made with it, names and places included. */
static uint64_t bytes_together(const struct plan *p, size_t i)
{
    uint64_t bytes = p->tensors[i].out.bytes + NAME_BYTES;
    for (i++; i < p->n_tensors && p->tensors[i].units == UNITS_OF_PREVIOUS; i++)
        bytes += p->tensors[i].out.bytes + NAME_BYTES;
    return bytes;
}

int plan_cut_files(struct plan *p, uint64_t head, struct error *e)
{
    uint64_t size = head, max = p->options.split_max;
    size_t first = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        if (max && i > first && t->units != UNITS_OF_PREVIOUS && size + bytes_together(p, i) > max) {
            if (!plan_add_file(p, first, i - first, e))
                return -1;
            first = i;
            size = NO_HEAD;
        }
        size += t->out.bytes + NAME_BYTES;
    }
    return plan_add_file(p, first, p->n_tensors - first, e) ? 0 : -1;
}

uint64_t plan_tensor_bytes(const struct plan *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->n_tensors; i++)
        bytes += p->tensors[i].out.bytes;
    return bytes;
}

char *plan_file_name(const struct plan *p, const char *path, size_t i)
{
    if (p->files[i].name)
        return io_join(path, p->files[i].name);
    return p->n_files == 1 && !p->target->form ? strdup(path) : p->target->file_name(path, i, p->n_files);
}

char *plan_run_name(const struct plan *p, const char *path)
{
    char suffix[64] = "";
    char *whole = p->target->form ? io_join(path, "pare") : strdup(path);
    if (p->options.parts > 1)
        snprintf(suffix, sizeof suffix, ".part-%d-of-%d", p->options.part, p->options.parts);
    char *name = whole ? io_append(whole, suffix) : NULL;
    free(whole);
    return name;
}

/* Rows that are decoded together: whole FP8 tile rows, so that each scale is read once, and whole tiles and words of zeros of what is
 * written. Of the halves of kv_b a head is a unit. */
static uint64_t decoded_rows(const struct plan *p, const struct plan_tensor *t)
{
    const struct weight *w = &t->weight;
    if (t->verbatim)
        return UNIT_FLOATS;
    uint64_t rows = UNIT_FLOATS / w->cols, tile = p->model->quantization.row_step;
    if ((t->units != UNITS_OWN && !t->layout) || (w->from_kv_b && w->role == ROLE_ATTN_K_B))
        return w->rows;
    if (t->layout && tile < PART_ROWS)
        tile = PART_ROWS;
    if (tile)
        rows = rows < tile ? tile : rows - rows % tile;
    return rows < 1 ? 1 : rows > w->rows ? w->rows : rows;
}

/* Rows of a unit: all where a part runs across rows, or where all must be known before the first is encoded. */
static uint64_t unit_rows(const struct plan_tensor *t)
{
    return t->layout && (t->layout->whole || t->layout->suffix[PART_GLOBAL]) ? t->weight.rows : t->slice_rows;
}

void plan_size_units(struct plan *p)
{
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct plan_tensor *t = &p->tensors[i];
        t->slice_rows = decoded_rows(p, t);
        t->unit_rows = unit_rows(t);
    }
}

static void number_units(struct plan *p)
{
    plan_size_units(p);
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct plan_tensor *t = &p->tensors[i];
        t->first_unit = p->n_units;
        p->n_units += unit_count(t);
    }
}

/* The files of this part: every file belongs to the part in whose share of the bytes its middle lies. */
static int choose_part(struct plan *p, struct error *e)
{
    uint64_t at = 0;
    int part = p->options.part - 1, parts = p->options.parts;
    if (parts > 1 && p->n_files < (size_t)parts)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET,
                         "%d parts of %zu output file%s: --split-max-size must give as many files as parts", parts, p->n_files,
                         p->n_files == 1 ? "" : "s");
    p->file_from = p->n_files;
    for (size_t i = 0; i < p->n_files; i++) {
        int owner = (int)((double)(at + p->files[i].bytes / 2) / (double)p->total * parts);
        /* as many files as parts: one each, however unequal */
        if (p->n_files == (size_t)parts)
            owner = (int)i;
        at += p->files[i].bytes;
        if (owner != part)
            continue;
        p->file_from = i < p->file_from ? i : p->file_from;
        p->file_to = i + 1;
        p->part_bytes += p->files[i].bytes;
    }
    if (p->file_to <= p->file_from)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "part %d of %d has no file: the files are too unequal", part + 1, parts);
    const struct plan_file *last = &p->files[p->file_to - 1];
    size_t end = last->first + last->n;
    p->unit_from = p->files[p->file_from].n ? p->tensors[p->files[p->file_from].first].first_unit : 0;
    p->unit_to = end < p->n_tensors ? p->tensors[end].first_unit : p->n_units;
    return 0;
}

/* What the source's own manifest takes while it is read (convert/provenance.c): text, tree and entries. */
static uint64_t manifest_memory(const struct source *s)
{
    char *path = NULL;
    struct io_file f;
    uint64_t bytes = 0;
    if (!manifest_find(s->path, s->is_folder, &path, NULL) && path && !io_open(&f, path, NULL)) {
        bytes = 6 * f.size + s->n_tensors * HASH_TEXT;
        io_close(&f);
    }
    free(path);
    return bytes;
}

/* Bytes of error feedback: the largest curvature, of which there is one, and a sweeper of each worker. */
static uint64_t feedback_memory(const struct plan *p, int threads, uint64_t *per_worker)
{
    uint64_t curvature = 0;
    *per_worker = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        if (!feedback_applies(p->options.calib, &t->weight, t->type))
            continue;
        uint64_t made = hessian_bytes(p->options.calib, &t->weight, threads), sweeper = sweep_bytes(t->type, (size_t)t->weight.cols);
        curvature = made > curvature ? made : curvature;
        *per_worker = sweeper > *per_worker ? sweeper : *per_worker;
    }
    /* each worker that makes one has a team of threads for it */
    return curvature + (curvature ? (uint64_t)threads * (uint64_t)threads * TEAM_BYTES : 0);
}

/* What a run with this many threads takes beside what it keeps anyway. */
static uint64_t working_memory(const struct plan *p, int threads)
{
    uint64_t sweeper, curvature = feedback_memory(p, threads, &sweeper), units = (p->worker_bytes + sweeper) * (uint64_t)threads + curvature;
    const struct sequential_memory m = sequential_memory(p, threads);
    return m.activations + (units > m.moments ? units : m.moments);
}

/* The text of a pack's manifest, which grows by doubling. */
static uint64_t pack_memory(const struct plan *p)
{
    uint64_t most = 0;
    for (size_t i = 0; i < p->n_files; i++)
        most = p->files[i].reserved > most ? p->files[i].reserved : most;
    return 2 * most;
}

/* Chooses threads so that everything fits the bound. */
static int fit_memory(struct plan *p, struct error *e)
{
    uint64_t peak, now, choosing, bound = p->options.memory;
    struct unit_room room = unit_room(p);
    process_memory(&peak, &now);
    p->worker_bytes = sizeof(float) * (room.floats + room.turned + room.folded + room.importance) + room.encoded + room.blocks + room.scratch + THREAD_BYTES;
    p->worker_bytes += p->options.compress ? 2 * coding_bound(room.encoded) : 0; /* the library takes as much again */
    p->worker_bytes += room.compared ? sizeof(float) * room.floats + room.blocks : 0;
    now += fold_memory(p, &choosing);
    p->worker_bytes += choosing;
    /* what the run itself keeps: hashes of source and output tensors, units done and their hashes; at its end the manifest */
    now += (p->model->source->n_tensors + p->n_tensors) * (128 + sizeof(struct manifest_tensor)) + p->n_units * (p->options.compress ? 17 : 9) +
           coded_memory(p->model->source, p->options.threads) + manifest_memory(p->model->source) + pack_memory(p) + FIXED_BYTES;
    p->threads = p->options.threads;
    while (p->threads > 1 && now + working_memory(p, p->threads) > bound)
        p->threads--;
    uint64_t need = now + working_memory(p, p->threads);
    p->peak_memory = need > peak ? need : peak;
    if (need <= bound)
        return 0;
    char a[SIZE_TEXT], b[SIZE_TEXT];
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--memory %s is too little: %s are needed with one thread",
                     size_text(bound, a), size_text(need, b));
}

static const char *note_missed(struct plan *p, const char *first)
{
    char text[RULE_TEXT + 80];
    size_t n = 0;
    for (size_t i = 0; i < p->options.recipe.n_rules; i++)
        n += !p->hits[i].tensors && !p->hits[i].overridden;
    int length = snprintf(text, sizeof text, "%s matches nothing", first);
    if (n > 1)
        length += snprintf(text + length, sizeof text - (size_t)length, ", nor do %zu more", n - 1);
    return arena_copy(&p->arena, text, (size_t)length);
}

/* A rule without effect is a mistake that nobody would see. */
static int check_rules(struct plan *p, struct error *e)
{
    const struct recipe *r = &p->options.recipe;
    char text[RULE_TEXT];
    const char *missed = NULL;
    for (size_t i = 0; i < r->n_rules; i++) {
        if (p->hits[i].tensors || p->hits[i].overridden)
            continue;
        recipe_rule_text(r, &r->rules[i], text);
        if (!r->rules[i].may_miss)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s matches no tensor that earlier rules leave to it", text);
        missed = missed ? missed : arena_copy(&p->arena, text, strlen(text));
    }
    if (missed && !(p->notes[p->n_notes++] = note_missed(p, missed)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return 0;
}

struct plan *plan_new(const struct model *m, const struct target *t, const struct plan_options *o, struct error *e)
{
    struct plan *p = calloc(1, sizeof *p);
    if (!p) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        return NULL;
    }
    if (t->recipes != RECIPE_PACK && model_require_whole(m, e)) {
        free(p);
        return NULL;
    }
    p->model = m;
    p->target = t;
    p->options = *o;
    for (size_t i = 0; i < m->n_notes; i++)
        p->notes[p->n_notes++] = m->notes[i];
    if (!(p->hits = arena_array(&p->arena, o->recipe.n_rules, sizeof *p->hits))) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        goto fail;
    }
    if (t->build(p, e) || check_rules(p, e) || importance_plan(p, e))
        goto fail;
    number_units(p);
    for (size_t i = 0; i < p->n_files; i++)
        p->total += p->files[i].bytes;
    if (choose_part(p, e) || fit_memory(p, e) || consume_plan(p, e))
        goto fail;
    return p;
fail:
    plan_free(p);
    return NULL;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_files; i++)
        buffer_clear(&p->files[i].header);
    for (size_t i = 0; i < p->n_sides; i++)
        buffer_clear(&p->sides[i].text);
    free(p->sides);
    free(p->tensors);
    free(p->files);
    arena_clear(&p->arena);
    free(p);
}
