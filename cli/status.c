/* SPDX-License-Identifier: MIT
 * pare status: how far a conversion is, from its journal; works while it runs and after it was stopped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli/cli.h"
#include "convert/journal.h"
#include "formats/manifest.h"

static const struct option_row rows[] = {
    OPTION_JSON,
    OPTION_END,
};
static const struct option_table table = {
    .command = "status",
    .operands = "OUT",
    .summary = "tell how far a conversion to OUT is",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
    .epilog = "OUT is what convert's -o said (of a part: OUT.part-2-of-8), or a journal.\n"
              "Only what is durable counts: a resumed run begins there.",
};

struct status {
    const char *state; /* "running", "interrupted", "complete" */
    uint64_t units, units_done, bytes, bytes_done;
    uint64_t pid, started, updated; /* of the last process; seconds since 1970 */
    uint64_t at_start;              /* bytes durable when it began */
    uint64_t damaged;               /* records of the journal */
    double rate;                    /* bytes per second of that process; 0: not known yet */
};

static void take(void *context, const struct journal_record *r)
{
    struct status *s = context;
    if (r->kind == JOURNAL_START) {
        s->pid = r->a;
        s->started = s->updated = r->b;
        s->at_start = s->bytes_done;
    } else if (r->kind == JOURNAL_PROGRESS) {
        s->updated = r->a;
        s->bytes_done = r->b < s->bytes ? r->b : s->bytes;
        s->units_done = r->c < s->units ? r->c : s->units;
        s->at_start = r->d;
    }
}

static int read_journal(const char *path, struct status *s, struct error *e)
{
    struct journal j;
    int running;
    if (journal_look(&j, path, &running, e))
        return -1;
    *s = (struct status){.state = running ? "running" : "interrupted", .units = j.units, .bytes = j.bytes};
    int rc = journal_each(&j, take, s, e);
    s->damaged = j.damaged;
    if (s->updated > s->started && s->bytes_done > s->at_start)
        s->rate = (double)(s->bytes_done - s->at_start) / (double)(s->updated - s->started);
    journal_close(&j);
    return rc;
}

static void print_time(struct buffer *b, const char *what, uint64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    char text[64] = "?";
    if (gmtime_r(&t, &tm))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
    buffer_printf(b, "%s %s", what, text);
}

static int print_status(const char *out, const struct status *s, struct error *e)
{
    struct buffer b = {0};
    char done[SIZE_TEXT], all[SIZE_TEXT], rate[SIZE_TEXT];
    if (!strcmp(s->state, "complete")) {
        buffer_printf(&b, "%s: complete\n", out);
        return print_buffer(&b, e);
    }
    buffer_printf(&b, "%s: %s, %d %%: %s of %s, %" PRIu64 " of %" PRIu64 " units are durable\n", out, s->state,
                  s->bytes ? (int)(100 * (double)s->bytes_done / (double)s->bytes) : 100, size_text(s->bytes_done, done),
                  size_text(s->bytes, all), s->units_done, s->units);
    if (s->pid) {
        buffer_printf(&b, "process %" PRIu64 "%s, ", s->pid, strcmp(s->state, "running") ? " has ended" : "");
        print_time(&b, "started", s->started);
        print_time(&b, ", last recorded", s->updated);
        buffer_text(&b, "\n");
    }
    if (s->rate > 0) {
        uint64_t left = (uint64_t)((double)(s->bytes - s->bytes_done) / s->rate);
        buffer_printf(&b, "%s/s; left: %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "\n", size_text((uint64_t)s->rate, rate),
                      left / 3600, left / 60 % 60, left % 60);
    }
    if (s->damaged)
        buffer_printf(&b, "%" PRIu64 " records of the journal are damaged; their work will be done again\n", s->damaged);
    if (strcmp(s->state, "running"))
        buffer_text(&b, "the same convert command goes on from there\n");
    return print_buffer(&b, e);
}

static int print_status_json(const char *out, const struct status *s, struct error *e)
{
    struct json *root = json_new_object();
    json_add_string(root, "output", io_base_name(out));
    json_add_string(root, "state", s->state);
    if (strcmp(s->state, "complete")) {
        json_add_u64(root, "units", s->units);
        json_add_u64(root, "units_done", s->units_done);
        json_add_u64(root, "bytes", s->bytes);
        json_add_u64(root, "bytes_done", s->bytes_done);
        json_add_u64(root, "process", s->pid);
        json_add_u64(root, "started", s->started);
        json_add_u64(root, "updated", s->updated);
        json_add_f64(root, "bytes_per_second", s->rate);
        json_add_u64(root, "damaged_records", s->damaged);
    }
    return print_json(root, e);
}

/* A journal by its own name, or that of an output; an output without one is complete when its manifest is there. */
static int find(const char *out, struct status *s, struct error *e)
{
    size_t n = strlen(out);
    const int folder = io_kind(out) == 2;
    char *journal = n > 8 && !strcmp(out + n - 8, ".journal") ? strdup(out) : folder ? io_join(out, "pare.journal") : io_append(out, ".journal");
    char *manifest = manifest_path(out, folder);
    int rc = -1;
    if (!journal || !manifest) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    } else if (io_kind(journal)) {
        rc = read_journal(journal, s, e);
    } else if (io_kind(manifest) == 1) {
        *s = (struct status){.state = "complete"};
        rc = 0;
    } else {
        error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "there is no conversion to this output: no journal, and no manifest");
        error_at_file(e, out);
    }
    free(journal);
    free(manifest);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    struct status s;
    const char *out = o->operands[0];
    if (find(out, &s, e))
        return -1;
    return options_get(o, "json") ? print_status_json(out, &s, e) : print_status(out, &s, e);
}

const struct command cmd_status = {&table, run};
