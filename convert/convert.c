/* SPDX-License-Identifier: MIT
 * Conversion: checks, journal, stream, finish.
 *
 * Order is what makes it safe. Journal header durable, then partial files; units durable, then their records; all units
 * recorded, then the old manifest removed, files renamed, manifest written, journal removed. A run that ends anywhere in
 * between finds enough to go on. */
#include "convert/convert.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/coding.h"
#include "base/hash.h"
#include "convert/calibrate.h"
#include "convert/consume.h"
#include "convert/identity.h"
#include "convert/provenance.h"
#include "convert/sequential.h"
#include "convert/target_checkpoint.h"
#include "convert/unit.h"

struct run {
    const struct plan *plan;
    const struct convert_options *options;
    const struct stream_hooks *hooks;
    struct convert_result *result;
    struct identity identity;
    struct journal journal;
    struct outputs outputs;
    struct keeper keeper;
    struct consumer consumer;
    struct stream_state state;
    uint64_t bytes_done, units_done; /* durable when the run began */
    int keep;                        /* what lies there is an earlier run's, not ours to remove */
};

static int refuse(const char *path, enum error_code code, const char *what, struct error *e)
{
    error_set(e, code, ERROR_NO_OFFSET, "%s", what);
    return error_at_file(e, path);
}

/* Bytes of the disk that a partial file holds already: it will be gone on with or replaced. */
static uint64_t held_by_partial(const char *path)
{
    struct stat st;
    char *partial = io_append(path, ".partial");
    uint64_t held = partial && !stat(partial, &st) ? (uint64_t)st.st_blocks * 512 : 0;
    free(partial);
    return held;
}

/* Whether the output is what the source consists of: a shard, or a side file of a folder; or the imatrix. */
static int is_of_source(const struct plan *p, const struct stat *out)
{
    const struct source *s = p->model->source;
    static const char *const side[] = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                                       "chat_template.jinja", "model.safetensors.index.json",
                                       "inference/config_671B_v3.2.json"};
    const struct io_file *imatrix = p->options.imatrix ? imatrix_file(p->options.imatrix) : NULL;
    int found = imatrix && imatrix->dev == (uint64_t)out->st_dev && imatrix->ino == (uint64_t)out->st_ino;
    for (size_t i = 0; i < s->n_files; i++)
        found |= s->files[i].dev == (uint64_t)out->st_dev && s->files[i].ino == (uint64_t)out->st_ino;
    for (size_t i = 0; s->is_folder && i < sizeof side / sizeof *side; i++) {
        struct stat st;
        char *path = io_join(s->path, side[i]);
        found |= path && !stat(path, &st) && st.st_dev == out->st_dev && st.st_ino == out->st_ino;
        free(path);
    }
    return found;
}

static int check_file(const struct plan *p, const char *path, int force, struct error *e)
{
    struct stat st;
    if (stat(path, &st))
        return errno == ENOENT || errno == ENOTDIR ? 0 : io_error(e, "look at", path, ERROR_NO_OFFSET);
    if (is_of_source(p, &st))
        return refuse(path, ERR_USAGE, "the output is one of the source's files", e);
    if (!S_ISREG(st.st_mode))
        return refuse(path, ERR_USAGE, "the output exists and is no regular file", e);
    return force ? 0 : refuse(path, ERR_USAGE, "the output exists (--force replaces it)", e);
}

static char *journal_path(const struct plan *p, const char *path)
{
    char *run = plan_run_name(p, path), *name = run ? io_append(run, ".journal") : NULL;
    free(run);
    return name;
}

/* A finish that was stopped between its renaming and the journal's removal left a final file of our own. */
static int is_unfinished_finish(const char *file, const char *journal)
{
    char *partial = io_append(file, ".partial");
    int ours = partial && !io_kind(partial) && io_kind(journal) == 1;
    free(partial);
    return ours;
}

/* An output folder: none of the source's, and no other shards in it, which engines that look for any would load as well. */
static int check_folder(const struct plan *p, const char *path, struct error *e)
{
    struct stat st, source;
    if (stat(path, &st))
        return errno == ENOENT ? 0 : io_error(e, "look at", path, ERROR_NO_OFFSET);
    if (!S_ISDIR(st.st_mode))
        return refuse(path, ERR_USAGE, "the output exists and is no folder", e);
    if (!stat(p->model->source->path, &source) && source.st_dev == st.st_dev && source.st_ino == st.st_ino)
        return refuse(path, ERR_USAGE, "the output is the source's folder", e);
    DIR *d = opendir(path);
    char other[300] = "";
    if (!d)
        return io_error(e, "list", path, ERROR_NO_OFFSET);
    for (const struct dirent *entry; (entry = readdir(d));) {
        size_t n = strlen(entry->d_name);
        int ours = 0;
        if (n < 12 || strcmp(entry->d_name + n - 12, ".safetensors"))
            continue;
        for (size_t i = 0; !ours && i < p->n_files; i++) {
            char *name = plan_file_name(p, path, i);
            ours = name && !strcmp(io_base_name(name), entry->d_name);
            free(name);
        }
        if (!ours)
            snprintf(other, sizeof other, "%s", entry->d_name);
    }
    closedir(d);
    if (!other[0])
        return 0;
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the output folder holds a shard of something else, '%.250s'", other);
    return error_at_file(e, path);
}

static int check_files(const struct plan *p, const struct convert_options *o, uint64_t *held, struct error *e)
{
    char *journal = journal_path(p, o->path);
    int rc = !journal ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : p->target->form ? check_folder(p, o->path, e) : 0;
    *held = 0;
    for (size_t i = p->file_from; !rc && i < p->file_to; i++) {
        char *file = plan_file_name(p, o->path, i);
        rc = file ? check_file(p, file, o->force || is_unfinished_finish(file, journal), e)
                  : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
        *held += file ? held_by_partial(file) : 0;
        free(file);
    }
    free(journal);
    /* a split output has no file of the plain name, but its manifest would stand beside one */
    return rc || (p->n_files > 1 && !p->target->form && check_file(p, o->path, o->force, e)) ? -1 : 0;
}

/* Whether no file that a manifest lists is there any more. One that cannot be read may list anything. */
static int is_orphan(const char *manifest)
{
    struct manifest *m = io_kind(manifest) == 1 ? manifest_load(manifest, NULL) : NULL;
    char *folder = io_folder(manifest);
    int orphan = m && folder;
    for (size_t i = 0; orphan && i < m->n_files; i++) {
        char *path = io_join(folder, m->files[i].name);
        orphan = path && !io_kind(path);
        free(path);
    }
    manifest_free(m);
    free(folder);
    return orphan;
}

/* A manifest may belong to files of other names: the split form of this output, or the single one. One whose files are gone
 * is replaced. */
static int check_manifest(const struct plan *p, const struct convert_options *o, struct error *e)
{
    char *manifest = provenance_path(p, o->path), *journal = journal_path(p, o->path);
    int rc = 0;
    if (!manifest || !journal)
        rc = error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    else
        rc = check_file(p, manifest, o->force || io_kind(journal) == 1 || is_orphan(manifest), e);
    free(manifest);
    free(journal);
    return rc;
}

int convert_check_output(const struct plan *p, const struct convert_options *o, struct error *e)
{
    uint64_t space, held;
    char a[SIZE_TEXT], b[SIZE_TEXT];
    if (check_files(p, o, &held, e) || check_manifest(p, o, e) || io_free_space(o->path, &space, e))
        return -1;
    /* shards that an interrupted run consumed are counted in the peak and gone already */
    if (space + held >= p->disk_peak || (p->options.consume && p->model->source->n_consumed))
        return 0;
    error_set(e, ERR_IO, ERROR_NO_OFFSET, "too little disk: %s are needed, %s are free", size_text(p->disk_peak, a),
              size_text(space + held, b));
    return error_at_file(e, o->path);
}

int convert_is_done(const struct plan *p, const struct convert_options *o)
{
    char *path = provenance_path(p, o->path), hash[HASH_TEXT], recipe[RECIPE_TEXT];
    struct manifest *m = path && io_kind(path) == 1 ? manifest_load(path, NULL) : NULL;
    int done = m && m->recipe && recipe_text(&p->options.recipe, recipe) && !strcmp(m->recipe, recipe) && !identity_plan_hash(p, hash) &&
               !strcmp(m->plan_hash, hash);
    for (size_t i = p->file_from; done && i < p->file_to; i++) {
        struct stat st;
        char *file = plan_file_name(p, o->path, i);
        done = file && !stat(file, &st) && i - p->file_from < m->n_files && (uint64_t)st.st_size == m->files[i - p->file_from].bytes;
        free(file);
    }
    manifest_free(m);
    free(path);
    return done;
}

static int state_init(struct run *r, struct error *e)
{
    const struct plan *p = r->plan;
    const struct source *s = p->model->source;
    struct stream_state *st = &r->state;
    chains_init(&st->output);
    chains_init(&st->source);
    st->output.with_crc = p->target->with_crc;
    st->done = calloc(p->n_units + 1, 1);
    st->unit_hash = calloc(p->n_units + 1, sizeof *st->unit_hash);
    st->output.list = calloc(p->n_tensors + 1, sizeof *st->output.list);
    st->source.list = calloc(s->n_tensors + 1, sizeof *st->source.list);
    if (!st->done || !st->unit_hash || !st->output.list || !st->source.list)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < p->n_tensors; i++)
        st->output.list[i].bytes = p->tensors[i].out.bytes;
    for (size_t i = 0; i < s->n_tensors; i++)
        st->source.list[i].bytes = s->tensors[i].bytes;
    if (places_init(&st->places, p, e))
        return -1;
    if (r->options->rehash && !(st->expected = calloc(s->n_tensors + 1, HASH_TEXT)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    return 0;
}

static void state_clear(struct run *r)
{
    struct stream_state *st = &r->state;
    chains_clear(&st->output, r->plan->n_tensors);
    chains_clear(&st->source, r->plan->model->source->n_tensors);
    places_clear(&st->places);
    free(st->done);
    free(st->unit_hash);
    free(st->output.list);
    free(st->source.list);
    free(st->expected);
}

static void take_hash(struct chain *list, size_t n, const struct journal_record *j)
{
    if (j->a < n)
        list[j->a] = (struct chain){.done = 1, .bytes = list[j->a].bytes, .fed = list[j->a].bytes, .high = j->b, .low = j->c, .crc = (uint32_t)j->d};
}

/* One record of an earlier run. */
static void take_record(void *context, const struct journal_record *j)
{
    struct run *r = context;
    const struct plan *p = r->plan;
    if (j->kind == JOURNAL_UNIT && j->a < p->n_units) {
        struct unit_output out[UNIT_OUTPUTS];
        struct unit u = unit_at(p, j->a);
        const uint64_t bytes = unit_bytes(out, unit_outputs(p, &u, out));
        if (p->options.compress && j->b > coding_bound((size_t)bytes))
            return;
        r->bytes_done += r->state.done[j->a] ? 0 : bytes;
        if (p->options.compress)
            r->state.places.size[j->a] = j->b;
        r->units_done += !r->state.done[j->a];
        r->state.done[j->a] = 1;
        r->state.unit_hash[j->a] = j->c;
    } else if (j->kind == JOURNAL_OUTPUT && !r->options->rehash) {
        take_hash(r->state.output.list, p->n_tensors, j);
    } else if (j->kind == JOURNAL_SOURCE && !r->options->rehash) {
        take_hash(r->state.source.list, p->model->source->n_tensors, j);
    } else if (j->kind == JOURNAL_SOURCE && j->a < p->model->source->n_tensors) {
        hash_text(j->b, j->c, r->state.expected[j->a]);
    }
}

static int begin_anew(struct run *r, struct error *e)
{
    /* without a partial file a header that is damaged can only be one that was never written: the next run relies on it */
    outputs_abandon(&r->outputs);
    if (io_sync_folder(r->journal.path, e))
        return -1;
    char *text = identity_text(&r->identity);
    int rc = text ? journal_begin(&r->journal, text, r->plan->unit_to - r->plan->unit_from, r->plan->part_bytes, e)
                  : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(text);
    if (rc)
        return -1;
    r->keep = 0;
    return outputs_create(&r->outputs, e);
}

static int differs(struct run *r, struct error *e)
{
    struct error why;
    if (!identity_compare(&r->identity, r->journal.identity, &why))
        return 0;
    why.text[sizeof why.text - 100] = '\0'; /* room for the frame */
    error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "an interrupted run lies here that differs: %s (--restart throws it away)",
              why.text);
    return error_at_file(e, r->journal.path);
}

/* The folder of a checkpoint, made durable before anything is in it. */
static int make_folder(const struct run *r, struct error *e)
{
    const char *folder = r->options->path;
    if (!r->plan->target->form)
        return 0;
    if (!mkdir(folder, 0777))
        return io_sync_folder(folder, e);
    return errno == EEXIST ? 0 : io_error(e, "make the folder", folder, ERROR_NO_OFFSET);
}

/* 1: an earlier run is gone on with; 0: nothing of use lies here; -1. The journal is open and locked but for -1 with a
 * journal of another process. */
static int open_journal(struct run *r, struct error *e)
{
    char *path = journal_path(r->plan, r->options->path);
    int found = !path ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : make_folder(r, e) ? -1 : journal_open(&r->journal, path, e);
    free(path);
    r->keep = found != 0;
    if (found < 0 && r->journal.fd >= 0 && e->code == ERR_FORMAT) {
        /* its header is durable before any partial file exists: without one nothing can be lost */
        if (r->options->restart || !outputs_any(&r->outputs))
            return 0;
        snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text), " (--restart throws the run away)");
    }
    if (found <= 0)
        return found;
    return r->options->restart ? 0 : differs(r, e) ? -1 : 1;
}

/* Only then can final names already hold what the partial files were. */
static int all_units_done(const struct run *r)
{
    for (uint64_t i = r->plan->unit_from; i < r->plan->unit_to; i++)
        if (!r->state.done[i])
            return 0;
    return 1;
}

static void forget_records(struct run *r)
{
    const struct source *s = r->plan->model->source;
    memset(r->state.done, 0, r->plan->n_units);
    r->bytes_done = r->units_done = 0;
    for (size_t i = 0; i < r->plan->n_tensors; i++)
        r->state.output.list[i] = (struct chain){.bytes = r->state.output.list[i].bytes};
    for (size_t i = 0; i < s->n_tensors; i++)
        r->state.source.list[i] = (struct chain){.bytes = r->state.source.list[i].bytes};
}

static int find_earlier(struct run *r, struct error *e)
{
    int found = open_journal(r, e);
    if (found > 0)
        found = journal_each(&r->journal, take_record, r, e) ? -1 : 1;
    /* before the first unit is recorded the partial files may be anything; later they can only have been removed by hand */
    if (found > 0 && !r->units_done)
        found = 0;
    else if (found > 0)
        found = outputs_present(&r->outputs, all_units_done(r), e);
    if (!found)
        forget_records(r);
    if (found >= 0 && r->plan->model->source->n_consumed && !(found && r->units_done))
        return refuse(r->plan->model->source->path, ERR_USAGE,
                      "shards of the source were consumed by another conversion: their weights are gone", e);
    return found;
}

/* Whether the source is what it was when the run was planned; shards that this run consumed aside. The keeper asks before it
 * records anything: a later run, with the old file put back, would trust bytes that were read from the changed one. */
static int sources_unchanged(void *run, struct error *e)
{
    const struct run *r = run;
    const struct source *s = r->plan->model->source;
    for (size_t i = 0; i < s->n_files; i++) {
        int gone = s->files[i].readable < s->files[i].size || (r->consumer.gone && r->consumer.gone[i]);
        if (!gone && io_unchanged(&s->files[i], e))
            return -1;
    }
    return r->plan->options.imatrix ? io_unchanged(imatrix_file(r->plan->options.imatrix), e) : 0;
}

static int after_record(void *run, const struct journal_record *records, size_t n, struct error *e)
{
    struct run *r = run;
    return r->plan->options.consume ? consumer_durable(&r->consumer, records, n, e) : 0;
}

static int start(struct run *r, struct error *e)
{
    struct journal_record record = journal_start_record();
    int found = find_earlier(r, e);
    if (found < 0)
        return -1;
    r->result->resumed = found && r->units_done;
    r->result->records_damaged = r->journal.damaged;
    if (!found && begin_anew(r, e))
        return -1;
    if (journal_append(&r->journal, &record, 1, e))
        return -1;
    if (r->plan->options.consume && consumer_init(&r->consumer, r->plan, r->state.done, e))
        return -1;
    r->keeper = (struct keeper){.outputs = &r->outputs, .journal = &r->journal, .every = r->plan->options.sync_every,
                                .bounded = r->plan->options.consume, .before = sources_unchanged, .durable = after_record,
                                .context = r, .bytes = r->bytes_done, .units = r->units_done};
    return 0;
}

static int is_sequential(const struct plan *p)
{
    return p->options.sequential.tokens.chunks > 0;
}

/* Whether an earlier run stopped between its last unit and its end: then nothing is left to walk through layers for. */
static int everything_done(const struct run *r)
{
    int done = all_units_done(r);
    for (size_t i = 0; done && i < r->plan->n_tensors; i++)
        done = r->state.output.list[i].done;
    return done;
}

static int run_sequential(struct run *r, struct error *e)
{
    char *partial = io_append(r->options->path, ".partial");
    int rc = partial ? sequential_run(r->plan, partial, r->options->tool, &r->outputs, &r->keeper, &r->state, r->hooks, !r->result->resumed, e)
                     : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(partial);
    return rc;
}

/* All runs' units, in one pass over the source. */
static int work(struct run *runs, size_t n, const struct stream_hooks *hooks, struct error *e)
{
    struct error why = {0}, later;
    struct rung rungs[STREAM_RUNGS];
    const struct plan *p = runs[0].plan;
    size_t started = 0;
    int rc = 0;
    for (; !rc && started < n; started += !rc) {
        struct run *r = &runs[started];
        rungs[started] = (struct rung){r->plan, &r->outputs, &r->keeper, &r->state};
        for (size_t i = r->plan->file_from; i < r->plan->file_to; i++)
            r->state.bytes += r->plan->files[i].header.size;
        rc = keeper_start(&r->keeper, &why);
    }
    if (!rc)
        rc = is_sequential(p) && !everything_done(&runs[0]) ? run_sequential(&runs[0], &why)
                                                            : stream_run(rungs, n, p->unit_from, p->unit_to, hooks, &why);
    /* of bad input nothing more is kept; any other end keeps what is done */
    int keep = !rc || (why.code != ERR_FORMAT && why.code != ERR_UNSUPPORTED);
    for (size_t i = 0; i < started; i++)
        if (keeper_stop(&runs[i].keeper, keep, &later) && !rc) {
            why = later;
            rc = -1;
        }
    if (rc && e)
        *e = why;
    return rc;
}

/* From all units durable to the final names. */
static int finish(struct run *r, struct error *e)
{
    char *manifest = provenance_path(r->plan, r->options->path);
    int rc = manifest ? 0 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && io_kind(manifest) == 1) {
        unlink(manifest); /* never an old manifest beside a new file */
        rc = io_sync_folder(manifest, e);
    }
    free(manifest);
    /* a folder without its configuration and index is no checkpoint yet: they come last */
    const struct target *target = r->plan->target;
    if (rc || (target->finish && target->finish(r->plan, r->options->tool, &r->state, &r->outputs, e)) || outputs_finish(&r->outputs, e) ||
        (target->form && sides_write(r->plan, r->options->path, e)) ||
        provenance_save(r->plan, r->options, &r->outputs, &r->state, e))
        return -1;
    /* before the journal goes, which alone knows of the folder */
    if (is_sequential(r->plan))
        calibrate_remove(r->plan->options.sequential.folder);
    if (journal_remove(&r->journal, e))
        return -1;
    /* last: without the stand-ins the source cannot be opened, so no journal may be left that asks for it */
    return r->plan->options.consume ? consumer_finish(&r->consumer, e) : 0;
}

/* After a failure: a new run of which nothing is durable leaves nothing. */
static void leave(struct run *r)
{
    struct error ignored;
    if (r->journal.fd < 0)
        return; /* another process's, or none */
    r->result->bytes_durable = r->keeper.bytes;
    r->result->resumable = r->keep || r->keeper.units > 0;
    if (r->result->resumable)
        return;
    outputs_abandon(&r->outputs);
    if (is_sequential(r->plan))
        calibrate_remove(r->plan->options.sequential.folder);
    journal_remove(&r->journal, &ignored);
    if (r->plan->target->form)
        rmdir(r->options->path); /* unless something else is in it */
}

static void fill_result(const struct run *r)
{
    struct convert_result *result = r->result;
    for (size_t i = r->plan->file_from; r->outputs.files && i < r->plan->file_to; i++)
        result->bytes_written += r->outputs.files[i].bytes;
    result->units_reused = r->state.units_reused;
    result->blocks_carried = r->state.blocks_carried;
    result->blocks_not_carried = r->state.blocks_not_carried;
    result->units_redone = r->state.units_redone;
    result->cost = r->state.cost;
    result->shards_removed = r->consumer.removed;
    result->bytes_freed = r->consumer.freed;
}

/* Everything before the first unit. */
static int prepare(struct run *r, struct error *e)
{
    const struct plan *p = r->plan;
    *r->result = (struct convert_result){.units = p->unit_to - p->unit_from};
    return state_init(r, e) || identity_make(&r->identity, p, r->options->tool, e) || outputs_init(&r->outputs, p, r->options->path, e) ||
                   provenance_expect(p, &r->state, e) || start(r, e)
               ? -1
               : 0;
}

static void end(struct run *r, int failed)
{
    fill_result(r);
    if (failed && r->outputs.files)
        leave(r);
    journal_close(&r->journal);
    if (r->outputs.files)
        outputs_clear(&r->outputs);
    consumer_clear(&r->consumer);
    identity_clear(&r->identity);
    state_clear(r);
}

/* What one run must not share with others. */
static int check_together(const struct conversion *c, size_t n, struct error *e)
{
    const struct plan *p = c[0].plan;
    if (n < 1 || n > STREAM_RUNGS)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%zu outputs in one pass: 1 to %d are possible", n, STREAM_RUNGS);
    for (size_t i = 1; i < n; i++)
        if (stream_same_units(p, c[i].plan, e))
            return -1;
    if (n > 1 && (p->options.consume || is_sequential(p)))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--consume and --sequential are for one output");
    return 0;
}

int convert_run(const struct conversion *c, size_t n, const struct stream_hooks *hooks, struct error *e)
{
    struct run runs[STREAM_RUNGS];
    struct error why = {0};
    size_t begun = 0, finished = 0;
    if (check_together(c, n, e))
        return -1;
    int rc = 0;
    for (; !rc && begun < n; begun++) {
        runs[begun] = (struct run){.plan = c[begun].plan, .options = c[begun].options, .result = c[begun].result, .hooks = hooks, .journal = {.fd = -1}};
        rc = prepare(&runs[begun], &why);
    }
    rc = rc || work(runs, n, hooks, &why) ? -1 : 0;
    for (; !rc && finished < n; finished += !rc)
        rc = finish(&runs[finished], &why);
    for (size_t i = 0; i < begun; i++)
        end(&runs[i], i >= finished);
    if (rc && e)
        *e = why;
    return rc;
}
