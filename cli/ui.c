/* SPDX-License-Identifier: MIT
 * What the commands share: opening, printing, progress, interruption. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/cli.h"
#include "formats/manifest.h"

int is_part_of_model(const struct source *s)
{
    char *config = s->is_folder ? io_join(s->path, "config.json") : NULL, *manifest = s->is_folder ? manifest_path(s->path, 1) : NULL;
    int part = config && manifest && !io_kind(config) && io_kind(manifest) == 1;
    free(config);
    free(manifest);
    return part;
}

int open_model(const char *path, struct opened *o, struct error *e)
{
    *o = (struct opened){.source = source_open(path, e)};
    if (!o->source)
        return -1;
    if (!(o->model = model_open(o->source, e))) {
        close_model(o);
        return -1;
    }
    return 0;
}

void close_model(struct opened *o)
{
    model_close(o->model);
    source_close(o->source);
    *o = (struct opened){0};
}

int print_text(const char *text, size_t n, struct error *e)
{
    if (fwrite(text, 1, n, stdout) != n || fflush(stdout))
        return error_set(e, ERR_IO, ERROR_NO_OFFSET, "cannot write to standard output: %s", strerror(errno));
    return 0;
}

int print_buffer(struct buffer *b, struct error *e)
{
    int rc = b->failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory")
             : b->size ? print_text(b->data, b->size, e)
                       : 0;
    buffer_clear(b);
    return rc;
}

/* Source: https://no-color.org */
int print_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && *term && strcmp(term, "dumb");
}

int print_json(struct json *root, struct error *e)
{
    char *text = root ? json_print(root) : NULL;
    int rc = text ? print_text(text, strlen(text), e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(text);
    json_free(root);
    return rc;
}

void print_notes(const char *command, const char *const *notes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "pare %s: note: %s\n", command, notes[i]);
}

void display_start(struct display *d, const char *verb, uint64_t total, int quiet)
{
    *d = (struct display){.terminal = isatty(STDERR_FILENO), .quiet = quiet};
    progress_start(&d->progress, verb, total);
}

void display_update(void *display, uint64_t done, uint64_t total)
{
    struct display *d = display;
    char line[160];
    if (d->quiet || !progress_due(&d->progress, d->terminal ? 1.0 / 6 : 10.0))
        return;
    d->progress.total = total;
    progress_line(&d->progress, done, d->terminal ? 16 : 0, line, sizeof line);
    fprintf(stderr, d->terminal ? "\r%-79s" : "%s\n", line);
    d->shown = 1;
}

void display_end(struct display *d)
{
    if (d->shown && d->terminal)
        fprintf(stderr, "\r%-79s\r", "");
}

static volatile sig_atomic_t got_signal;

static void remember(int signal_number)
{
    got_signal = signal_number;
}

void catch_interrupts(void)
{
    struct sigaction a = {.sa_handler = remember};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

int interrupted(void *unused)
{
    (void)unused;
    return got_signal != 0;
}

int threads_option(const struct options *o, int *threads, struct error *e)
{
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    if (options_int(o, "threads", 1, 1024, &n, e))
        return -1;
    *threads = (int)n;
    return 0;
}
