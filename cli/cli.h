/* SPDX-License-Identifier: MIT
 * What the commands share. cli/ is the only room that prints or exits. */
#ifndef PARE_CLI_CLI_H
#define PARE_CLI_CLI_H

#include "base/error.h"
#include "base/options.h"
#include "base/progress.h"
#include "formats/source.h"
#include "model/model.h"

#define PARE_VERSION "0.1.0"

struct command {
    const struct option_table *table;
    /* options are parsed; returns 0 or -1 with *e set (ERR_CHECK: the answer is "no", already printed) */
    int (*run)(const struct options *o, struct error *e);
};
extern const struct command cmd_inspect, cmd_check, cmd_diff, cmd_plan, cmd_convert, cmd_manifest, cmd_tokenize, cmd_verify, cmd_merge,
    cmd_status, cmd_imatrix, cmd_calibrate, cmd_report, cmd_man, cmd_completion;

/* What help, manual pages and completions are made of, beside each command's table. */
struct command_row {
    const char *title; /* printed before the group's first command */
    const struct command *command;
};
extern const struct command_row commands[]; /* ends with a row without a command */
const struct command *command_find(const char *name);
extern const char pare_summary[];
struct exit_row {
    int status;
    const char *meaning;
};
extern const struct exit_row exits[]; /* ends with a row without a meaning */

/* A source and the model in it. */
struct opened {
    struct source *source;
    struct model *model;
};
int open_model(const char *path, struct opened *o, struct error *e);
/* Whether a source is a folder of tensors for an engine that has the configuration elsewhere, which a conversion left: no model, but tensors
 * and hashes. */
int is_part_of_model(const struct source *s);
void close_model(struct opened *o); /* safe on a zeroed one */

/* Prints to stdout, all or an error: a full disk or a closed pipe must not look like success. */
int print_text(const char *text, size_t n, struct error *e);
int print_buffer(struct buffer *b, struct error *e); /* and clears it */
int print_colours(void); /* whether stdout is a terminal that shows colours, and NO_COLOR does not forbid them */
struct json;
int print_json(struct json *root, struct error *e);  /* and frees it */

/* Notes for the user on stderr: "pare convert: note: ...". */
void print_notes(const char *command, const char *const *notes, size_t n);

/* A progress display on stderr: a bar on a terminal, at most 6 times a second; else a line every 10 seconds. */
struct display {
    struct progress progress;
    int terminal, quiet, shown;
};
void display_start(struct display *d, const char *verb, uint64_t total, int quiet);
void display_update(void *display, uint64_t done, uint64_t total); /* fits the hooks of convert/ and verify/ */
void display_end(struct display *d);

/* From now on Ctrl-C and SIGTERM are remembered instead of killing; interrupted() fits the hooks. */
void catch_interrupts(void);
int interrupted(void *unused);

/* --threads, default: the processors that this process may use. */
int threads_option(const struct options *o, int *threads, struct error *e);

#define OPTION_THREADS {'j', "threads", "N", "worker threads (default: all processors)"}
#define OPTION_JSON    {0, "json", NULL, "print JSON (schemas/)"}
#define OPTION_QUIET   {'q', "quiet", NULL, "no progress on stderr"}
#define OPTION_END     {0, NULL, NULL, NULL}

#endif
