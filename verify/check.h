/* SPDX-License-Identifier: MIT
 * Check: values of a model (NaN, infinity, scales, all-zero matrices) and hashes of files against a manifest. Structure is
 * checked by opening: source_open and model_open refuse what is damaged. What engines ask for is verify/engine.h's. */
#ifndef PARE_VERIFY_CHECK_H
#define PARE_VERIFY_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "formats/manifest.h"
#include "model/model.h"

struct finding {
    const char *tensor; /* or file */
    const char *text;
};

struct check_report {
    struct arena arena;
    struct finding *findings; /* in model order, whatever the threads did; at most CHECK_MAX are kept */
    size_t n_findings;        /* kept */
    uint64_t n_problems;      /* all */
    uint64_t matrices, bytes; /* looked at */
    const char **notes;       /* worth knowing, nothing wrong; at most CHECK_NOTES are kept */
    size_t n_notes;
    unsigned parallel;        /* of engines that divide matrices: bits 1, 2, 4 .. of the numbers of devices; 0: not asked */
};
enum { CHECK_MAX = 1000, CHECK_NOTES = 32 };

struct check_hooks { /* as stream_hooks: one thread at a time; may be NULL */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    int (*stop)(void *context);
    void *context;
};

/* Adds findings to *r (zeroed before the first use). 0 also when there are findings; -1 when the check itself could not be
 * done (I/O, memory, interrupted). */
int check_values(const struct model *m, int threads, const struct check_hooks *hooks, struct check_report *r,
                 struct error *e);
/* Only the scales of quantized weights: zero, subnormal, negative where none may be, NaN or infinite. */
int check_scales(const struct model *m, int threads, const struct check_hooks *hooks, struct check_report *r, struct error *e);
/* `folder` is where the manifest's files lie. A file that is missing, too short or too long is a finding, and so is one of the
 * source's that the manifest, unless it is a part's, does not list: nothing vouches for it. */
int check_hashes(const struct manifest *m, const struct source *s, const char *folder, int threads,
                 const struct check_hooks *hooks, struct check_report *r, struct error *e);
/* For those who look at other things: add one. 0, or -1 when out of memory. */
int check_add_finding(struct check_report *r, const char *tensor, const char *text, struct error *e);
int check_add_note(struct check_report *r, const char *text, struct error *e);
void check_report_clear(struct check_report *r);

#endif
