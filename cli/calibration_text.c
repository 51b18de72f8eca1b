/* SPDX-License-Identifier: MIT
 * Calibrations as text. */
#include "cli/calibration_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "convert/calibration_record.h"

struct spread { /* of one layer's experts */
    uint64_t none, few; /* experts without tokens; with fewer than record_few_tokens */
    uint64_t least, median, most;
    size_t top;         /* the expert with most tokens */
    double share;       /* its part of the gate mass */
};

static int by_tokens(const void *a, const void *b)
{
    const struct expert_record *u = a, *v = b;
    return (u->tokens > v->tokens) - (u->tokens < v->tokens);
}

/* sorted: room for all experts of a layer */
static struct spread spread_of(const struct calibration_record *r, size_t layer, struct expert_record *sorted)
{
    const size_t n = (size_t)r->params.n_routed_experts;
    const struct expert_record *use = r->use + layer * n;
    struct spread s = {.none = 0};
    double mass = 0;
    for (size_t x = 0; x < n; x++) {
        s.none += !use[x].tokens;
        s.few += use[x].tokens < record_few_tokens(r);
        s.top = use[x].tokens > use[s.top].tokens ? x : s.top;
        mass += use[x].gates;
    }
    s.share = mass > 0 ? use[s.top].gates / mass : 0;
    memcpy(sorted, use, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_tokens);
    s.least = sorted[0].tokens;
    s.median = sorted[n / 2].tokens;
    s.most = sorted[n - 1].tokens;
    return s;
}

static void add_layers(const struct calibration_record *r, struct expert_record *sorted, struct buffer *b)
{
    uint64_t few = 0, all = record_moe_layers(r) * r->params.n_routed_experts;
    buffer_printf(b, "\n%5s %14s %9s %9s %9s %12s %10s\n", "layer", "without tokens", "least", "median", "most", "most used", "gate mass");
    for (size_t i = 0; i < record_moe_layers(r); i++) {
        struct spread s = spread_of(r, i, sorted);
        buffer_printf(b, "%5" PRIu64 " %14" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "   expert %3zu %8.1f %%\n",
                      r->params.first_k_dense_replace + i, s.none, s.least, s.median, s.most, s.top, 100 * s.share);
        few += s.few;
    }
    if (few)
        buffer_printf(b, "warning: %" PRIu64 " of %" PRIu64 " experts have fewer than %" PRIu64 " tokens, a 32nd of their columns: more text helps\n",
                      few, all, record_few_tokens(r));
}

static int add_text(const char *folder, const struct calibration_record *r, struct buffer *b, struct error *e)
{
    char text[512];
    struct expert_record *sorted = malloc((size_t)r->params.n_routed_experts * sizeof *sorted);
    if (!sorted)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    escape_controls(r->model, text, sizeof text);
    buffer_printf(b, "%s: calibration of %s", folder, text);
    escape_controls(r->text, text, sizeof text);
    buffer_printf(b, " on %s, %" PRIu64 " chunks of %" PRIu64 " tokens", text, r->chunks, r->ctx);
    if (r->parts > 1)
        buffer_printf(b, ": part %" PRIu64 " of %" PRIu64 ", from chunk %" PRIu64 " of %" PRIu64, r->part, r->parts, r->first_chunk,
                      r->all_chunks);
    buffer_text(b, "\n");
    if (record_moe_layers(r))
        add_layers(r, sorted, b);
    free(sorted);
    return 0;
}

static int print_file(const char *folder, struct error *e)
{
    char *path = io_join(folder, "calibration.json"), *text = NULL;
    size_t n;
    int rc = path ? io_read_all(path, (uint64_t)1 << 26, &text, &n, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    rc = rc || print_text(text, n, e);
    free(text);
    free(path);
    return rc ? -1 : 0;
}

int print_calibration(const char *folder, int json, struct error *e)
{
    struct calibration_record r;
    struct buffer b = {0};
    int rc = record_read(folder, &r, NULL, e);
    if (!rc && json)
        rc = print_file(folder, e);
    else if (!rc && !(rc = add_text(folder, &r, &b, e)))
        rc = print_buffer(&b, e);
    buffer_clear(&b);
    record_clear(&r);
    return rc;
}
