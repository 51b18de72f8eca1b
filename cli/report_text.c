/* SPDX-License-Identifier: MIT
 * The report of pare verify as text. */
#include "cli/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report_facts.h"

enum { WORST = 10, TEXT_COLUMNS = 80, TENSOR_COLUMNS = 30, TYPE_COLUMNS = 14 };

static void print_metrics(const struct report *r, struct buffer *b)
{
    for (const struct metric *m = metrics; m->path; m++) {
        char value[48], bar[48] = "";
        if (!m->label || !metric_known(m, r->c))
            continue;
        snprintf(value, sizeof value, m->format, metric_value(&r->summary, m));
        if (metric_stderr(&r->summary, m) > 0)
            snprintf(bar, sizeof bar, " +- %.6f", metric_stderr(&r->summary, m));
        buffer_printf(b, "%-34s %14s%s\n", r->c->is_bound && !strcmp(m->path, "kld.mean") ? "KL(base || candidate), at least" : m->label, value, bar);
    }
}

/* What a server did not tell. */
static void print_told(const struct report *r, struct buffer *b)
{
    const double n = r->c->n_scores ? (double)r->c->n_scores : 1;
    buffer_printf(b, "%-34s %14.4f\n%-34s %14.4f\n", "probability untold, of the base", r->c->tail_base / n, "   of the candidate", r->c->tail_cand / n);
    if (r->c->untold_targets)
        buffer_printf(b, "%-34s %14zu\n", "right tokens untold", r->c->untold_targets);
}

static void print_mtp(const struct report *r, struct buffer *b)
{
    const struct mtp_score *m = &r->c->mtp;
    buffer_printf(b, "%-34s %14.6f\n", "MTP: loss of the token after next", m->loss_base);
    buffer_printf(b, "%-34s %14.4f\n", "   best token as the main model's", m->agreement_base);
    if (m->loss_cand > 0)
        buffer_printf(b, "%-34s %14.6f\n%-34s %14.4f\n", "   loss of the candidate", m->loss_cand,
                      "   agreement of the candidate", m->agreement_cand);
}

static void print_confidence(const struct report *r, struct buffer *b)
{
    struct confidence_bin bins[CONFIDENCE_BINS];
    metrics_by_confidence(r->c, bins);
    buffer_text(b, "\nKL by the base's confidence (its largest probability)\n");
    for (int i = 0; i < CONFIDENCE_BINS; i++)
        if (bins[i].positions)
            buffer_printf(b, "   %.2f .. %.2f %10zu positions   %.6f\n", bins[i].from, bins[i].to, bins[i].positions,
                          bins[i].kld);
}

/* Errors where both models walked, routing where the base's is known. */
static void print_layers(const struct report *r, struct buffer *b)
{
    if (!r->c->has_hidden && !r->c->has_routing)
        return;
    buffer_printf(b, "\n%-6s", "layer");
    if (r->c->has_hidden)
        buffer_printf(b, " %12s %12s", "accumulated", "local");
    if (r->c->has_routing)
        buffer_printf(b, " %12s %12s", "same experts", "overlap");
    buffer_text(b, "\n");
    for (size_t i = 0; i < r->c->n_layers; i++) {
        const struct layer_error *l = &r->c->layers[i];
        if (!r->c->has_hidden && !l->is_moe)
            continue;
        buffer_printf(b, "%-6d", l->layer);
        if (r->c->has_hidden)
            buffer_printf(b, " %12.3e %12.3e", l->accumulated, l->local);
        if (l->is_moe && r->c->has_routing)
            buffer_printf(b, " %12.4f %12.4f", l->same_set, l->overlap);
        buffer_text(b, "\n");
    }
}

static void print_alone_row(const char *label, const struct alone_score *s, struct buffer *b)
{
    buffer_printf(b, "%-34s %14.6f +- %.6f\n", label, s->kld, s->kld_stderr);
}

/* What each part of the candidate costs where all others are the base's. */
static void print_alone(const struct report *r, struct buffer *b)
{
    const struct comparison *c = r->c;
    double sum = 0;
    char label[32];
    if (!c->alone_positions)
        return;
    snprintf(label, sizeof label, "%zu chunk%s", c->by_layer, c->by_layer == 1 ? "" : "s");
    buffer_printf(b, "\n%-34s %14s\n", "KL of one part of the candidate", label);
    for (size_t p = 0; p < c->n_parts; sum += c->alone[p++].kld) {
        snprintf(label, sizeof label, "   layer %zu", p - 1);
        print_alone_row(!p ? "   embedding" : p + 1 < c->n_parts ? label : "   output", &c->alone[p], b);
    }
    buffer_printf(b, "%-34s %14.6f\n", "all of these added", sum);
    print_alone_row("the whole candidate", &c->together, b);
}

/* Worst first; equal ones in the order of the text. */
static int worse_position(const void *a, const void *b)
{
    const struct score *const *x = a, *const *y = b;
    if ((*x)->kld != (*y)->kld)
        return (*x)->kld > (*y)->kld ? -1 : 1;
    return *x < *y ? -1 : 1;
}

static void print_worst_positions(const struct report *r, struct buffer *b)
{
    const struct score **order = malloc((r->c->n_scores + 1) * sizeof *order);
    if (!order) {
        b->failed = 1;
        return;
    }
    for (size_t i = 0; i < r->c->n_scores; i++)
        order[i] = &r->c->scores[i];
    qsort(order, r->c->n_scores, sizeof *order, worse_position);
    buffer_printf(b, "\n%-8s %-8s %10s %10s %10s %10s\n", "chunk", "position", "KL", "target", "p base", "p cand");
    for (size_t i = 0; i < WORST && i < r->c->n_scores; i++)
        buffer_printf(b, "%-8" PRIu32 " %-8" PRIu32 " %10.4f %10" PRId32 " %10.4f %10.4f\n", order[i]->chunk,
                      order[i]->position, (double)order[i]->kld, order[i]->target, (double)order[i]->p_base,
                      (double)order[i]->p_cand);
    free(order);
}

struct expert_place {
    double error;
    size_t layer, expert;
    const struct expert_use *use;
};

static int worse_expert(const void *a, const void *b)
{
    const struct expert_place *x = a, *y = b;
    if (x->error != y->error)
        return x->error > y->error ? -1 : 1;
    return x->use < y->use ? -1 : 1;
}

static void print_worst_experts(const struct report *r, struct buffer *b)
{
    size_t all = r->c->n_layers * r->c->n_experts, n = 0;
    struct expert_place *order = malloc((all + 1) * sizeof *order);
    if (!order) {
        b->failed = 1;
        return;
    }
    for (size_t i = 0; i < all; i++) {
        const struct expert_use *u = &r->c->experts[i];
        if (u->output2 > 0)
            order[n++] = (struct expert_place){sqrt(u->error2 / u->output2), i / r->c->n_experts, i % r->c->n_experts, u};
    }
    qsort(order, n, sizeof *order, worse_expert);
    if (n)
        buffer_printf(b, "\n%-20s %12s %12s %14s\n", "worst experts", "tokens", "gate mass", "output error");
    for (size_t i = 0; i < WORST && i < n; i++)
        buffer_printf(b, "layer %-3zu expert %-3zu %12" PRIu64 " %12.2f %14.3e\n", order[i].layer, order[i].expert,
                      order[i].use->tokens_base, order[i].use->gate_base, order[i].error);
    free(order);
}

static double relative(const struct diff_row *t)
{
    return t->rms_a > 0 ? t->rms / t->rms_a : 0;
}

static int worse_tensor(const void *a, const void *b)
{
    const struct diff_row *const *x = a, *const *y = b;
    if (relative(*x) != relative(*y))
        return relative(*x) > relative(*y) ? -1 : 1;
    return *x < *y ? -1 : 1;
}

static void print_worst_tensors(const struct report *r, struct buffer *b)
{
    const struct diff_row **order = malloc((r->n_tensors + 1) * sizeof *order);
    if (!order) {
        b->failed = 1;
        return;
    }
    for (size_t i = 0; i < r->n_tensors; i++)
        order[i] = &r->tensors[i];
    qsort(order, r->n_tensors, sizeof *order, worse_tensor);
    buffer_printf(b, "\n%-*s %-*s %10s %10s %8s\n", TENSOR_COLUMNS, "worst tensors", TYPE_COLUMNS, "type", "rel. RMS", "largest", "SQNR dB");
    for (size_t i = 0; i < WORST && i < r->n_tensors; i++) {
        char name[TENSOR_NAME], shown[NAME_SHORT];
        name_shorten(role_gguf_name(order[i]->role, order[i]->layer, name), TENSOR_COLUMNS, shown);
        buffer_printf(b, "%s%*s %-*s %10.3e %10.3e", shown, (int)(TENSOR_COLUMNS - name_columns(shown)), "", TYPE_COLUMNS, order[i]->type_b, relative(order[i]),
                      order[i]->max);
        if (order[i]->rms > 0 && order[i]->rms_a > 0)
            buffer_printf(b, " %8.2f", diff_sqnr(order[i]));
        buffer_text(b, "\n");
    }
    free(order);
}

/* Each gate, and the verdict in words. */
static void print_gates(const struct report *r, int colour, struct buffer *b)
{
    struct outcomes all = {.n = r->n_gates};
    char text[OUTCOMES_TEXT];
    buffer_text(b, "\n");
    for (size_t i = 0; i < r->n_gates; i++) {
        const struct gate_result *g = &r->gates[i];
        buffer_printf(b, "gate %s %g: ", g->option, g->limit);
        outcome_print(g->outcome, colour, b);
        buffer_printf(b, " (%g", g->value);
        if (g->standard_error > 0)
            buffer_printf(b, " +- %g", g->standard_error);
        buffer_text(b, ")\n");
        all.of[g->outcome]++;
    }
    buffer_printf(b, "%s%s\n", outcomes_text(&all, text), r->strict && all.of[GATE_UNDECIDED] ? ", which --strict counts as failed" : "");
}

static void print_name(const char *what, const char *name, struct buffer *b)
{
    char text[NAME_SHORT];
    buffer_printf(b, "%-10s %s\n", what, name_shorten(name, TEXT_COLUMNS - 11, text));
}

/* As it will run; nothing of what stays exact. */
static void print_rounding(const char *whose, const struct pass_rounding *r, struct buffer *b)
{
    if (!r->act && !r->cache)
        return;
    buffer_printf(b, "rounded    %s:%s%s%s%s%s\n", whose, r->act ? " activations " : "", r->act ? r->act->name : "",
                  r->act && r->cache ? "," : "", r->cache ? " cache " : "", r->cache ? r->cache->name : "");
}

void report_text(const struct report *r, int colour, struct buffer *b)
{
    print_name("base", r->base_name, b);
    if (r->cand_name)
        print_name("candidate", r->cand_name, b);
    print_rounding(r->cand_name ? "base" : "model", &r->c->base, b);
    print_rounding("candidate", &r->c->cand, b);
    buffer_printf(b, "chunks     %zu of %zu tokens\n\n", r->c->chunks, r->c->ctx);
    print_metrics(r, b);
    if (r->c->is_bound)
        print_told(r, b);
    if (r->predicted_kl > 0)
        buffer_printf(b, "%-34s %14.6f\n", "mean KL, as it was planned", r->predicted_kl);
    if (r->c->has_mtp)
        print_mtp(r, b);
    if (r->cand_name) {
        print_confidence(r, b);
        print_layers(r, b);
        print_alone(r, b);
        print_worst_experts(r, b);
        print_worst_positions(r, b);
    }
    if (r->tensors)
        print_worst_tensors(r, b);
    if (r->n_gates)
        print_gates(r, colour, b);
}
