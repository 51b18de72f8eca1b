/* SPDX-License-Identifier: MIT
 * The report of pare verify as JSON. Every number in it is a function of the models and the text alone: two runs give the
 * same bytes. */
#include <math.h>
#include <string.h>

#include "cli/report.h"

enum { VERSION = 1 };

/* The object that a dotted path's last word goes into; it is made on the way. */
static struct json *object_for(struct json *root, const char *path, const char **last)
{
    const char *dot = strchr(path, '.');
    char word[64];
    if (!dot) {
        *last = path;
        return root;
    }
    size_t n = (size_t)(dot - path);
    memcpy(word, path, n);
    word[n] = '\0';
    *last = dot + 1;
    struct json *o = (struct json *)json_get(root, word);
    return o ? o : json_add_object(root, word);
}

static void add_metrics(struct json *root, const struct report *r)
{
    for (const struct metric *m = metrics; m->path; m++) {
        const char *word;
        if (!metric_known(m, r->c))
            continue;
        struct json *o = object_for(root, m->path, &word);
        json_add_f64(o, word, metric_value(&r->summary, m));
    }
}

static void add_mtp(struct json *root, const struct report *r)
{
    const struct mtp_score *m = &r->c->mtp;
    struct json *o = json_add_object(root, "mtp");
    json_add_f64(o, "loss", m->loss_base);
    json_add_f64(o, "top1_agreement", m->agreement_base);
    if (m->loss_cand > 0) {
        json_add_f64(o, "candidate_loss", m->loss_cand);
        json_add_f64(o, "candidate_top1_agreement", m->agreement_cand);
    }
}

static void add_experts(struct json *o, const struct report *r, size_t layer)
{
    const struct expert_use *use = r->c->experts + layer * r->c->n_experts;
    struct json *list = json_add_array(o, "experts");
    for (size_t i = 0; i < r->c->n_experts; i++) {
        struct json *x = json_add_object(list, NULL);
        if (r->c->has_routing)
            json_add_u64(x, "tokens", use[i].tokens_base);
        if (r->c->has_hidden || !r->cand_name)
            json_add_f64(x, "gate", use[i].gate_base);
        if (r->cand_name) {
            json_add_u64(x, "candidate_tokens", use[i].tokens_cand);
            json_add_f64(x, "candidate_gate", use[i].gate_cand);
            if (use[i].output2 > 0)
                json_add_f64(x, "output_error", sqrt(use[i].error2 / use[i].output2));
        }
    }
}

static void add_alone(struct json *o, const struct alone_score *s)
{
    json_add_f64(o, "kld_alone", s->kld);
    json_add_f64(o, "kld_alone_stderr", s->kld_stderr);
}

/* What is no layer, and what belongs to all of them. */
static void add_by_layer(struct json *root, const struct report *r)
{
    struct json *o = json_add_object(root, "by_layer");
    json_add_u64(o, "chunks", r->c->by_layer);
    json_add_u64(o, "positions", r->c->alone_positions);
    add_alone(json_add_object(o, "embedding"), &r->c->alone[0]);
    add_alone(json_add_object(o, "output"), &r->c->alone[r->c->n_parts - 1]);
    json_add_f64(o, "kld", r->c->together.kld);
    json_add_f64(o, "kld_stderr", r->c->together.kld_stderr);
}

static void add_layers(struct json *root, const struct report *r)
{
    struct json *list = json_add_array(root, "layers");
    for (size_t i = 0; i < r->c->n_layers; i++) {
        const struct layer_error *l = &r->c->layers[i];
        struct json *o = json_add_object(list, NULL);
        json_add_u64(o, "layer", i);
        if (r->cand_name && r->c->has_hidden) {
            json_add_f64(o, "accumulated_error", l->accumulated);
            json_add_f64(o, "local_error", l->local);
        }
        if (r->c->alone_positions)
            add_alone(o, &r->c->alone[i + 1]);
        if (r->cand_name && r->c->has_routing && l->is_moe) {
            json_add_f64(o, "same_experts", l->same_set);
            json_add_f64(o, "expert_overlap", l->overlap);
        }
        if (l->is_moe)
            add_experts(o, r, i);
    }
}

static void add_confidence(struct json *root, const struct report *r)
{
    struct confidence_bin bins[CONFIDENCE_BINS];
    struct json *list = json_add_array(root, "kld_by_confidence");
    metrics_by_confidence(r->c, bins);
    for (int i = 0; i < CONFIDENCE_BINS; i++) {
        struct json *o = json_add_object(list, NULL);
        json_add_f64(o, "from", bins[i].from);
        json_add_f64(o, "to", bins[i].to);
        json_add_u64(o, "positions", bins[i].positions);
        json_add_f64(o, "kld", bins[i].kld);
    }
}

static void add_histogram(struct json *root, const struct report *r)
{
    size_t positions[HISTOGRAM_BINS];
    struct json *list = json_add_array(root, "kld_histogram");
    metrics_histogram(r->c, positions);
    for (int i = 0; i < HISTOGRAM_BINS; i++) {
        struct json *o = json_add_object(list, NULL);
        json_add_f64(o, "from", histogram_edges[i]);
        json_add_u64(o, "positions", positions[i]);
    }
}

/* Lists of means, a number for each chunk. */
static void add_chunks(struct json *root, const struct report *r)
{
    struct json *o = json_add_object(root, "by_chunk"), *base = json_add_array(o, "nll_base"), *kld = NULL, *cand = NULL, *top1 = NULL;
    if (r->cand_name) {
        kld = json_add_array(o, "kld");
        cand = json_add_array(o, "nll_candidate");
        top1 = json_add_array(o, "top1");
    }
    for (size_t i = 0; i < r->c->chunks; i++) {
        const struct chunk_means m = metrics_of_chunk(r->c, i);
        json_add_f64(base, NULL, m.nll_base);
        if (r->cand_name) {
            json_add_f64(kld, NULL, m.kld);
            json_add_f64(cand, NULL, m.nll_cand);
            json_add_f64(top1, NULL, m.top1);
        }
    }
}

static void add_choice(struct json *o, const struct choice *x)
{
    json_add_u64(o, "id", (uint64_t)x->id);
    json_add_f64(o, "p", (double)x->p);
    if (x->text)
        json_add_string(o, "text", x->text);
}

static void add_choices(struct json *o, const char *key, const struct choice *list)
{
    struct json *to = json_add_array(o, key);
    for (int i = 0; i < TOP && list[i].id >= 0; i++)
        add_choice(json_add_object(to, NULL), &list[i]);
}

static void add_closeups(struct json *root, const struct report *r)
{
    struct json *list = json_add_array(root, "worst_positions");
    for (size_t i = 0; i < r->c->n_closeups; i++) {
        const struct closeup *x = &r->c->closeups[i];
        struct json *o = json_add_object(list, NULL);
        json_add_u64(o, "chunk", x->chunk);
        json_add_u64(o, "position", x->position);
        json_add_f64(o, "kld", (double)x->kld);
        if (x->before)
            json_add_string(o, "before", x->before);
        if (x->after)
            json_add_string(o, "after", x->after);
        add_choice(json_add_object(o, "target"), &x->target);
        json_add_f64(o, "p_candidate", (double)x->p_cand);
        add_choices(o, "base", x->base);
        add_choices(o, "candidate", x->cand);
    }
}

static void add_tensors(struct json *root, const struct report *r)
{
    struct json *list = json_add_array(root, "tensors");
    for (size_t i = 0; i < r->n_tensors; i++) {
        const struct diff_row *t = &r->tensors[i];
        char name[TENSOR_NAME];
        struct json *o;
        if (!t->in_a || !t->in_b)
            continue;
        o = json_add_object(list, NULL);
        json_add_string(o, "tensor", role_gguf_name(t->role, t->layer, name));
        json_add_string(o, "type", t->type_b);
        json_add_f64(o, "rms", t->rms);
        json_add_f64(o, "relative_rms", t->rms_a > 0 ? t->rms / t->rms_a : 0);
        json_add_f64(o, "max", t->max);
        if (t->rms > 0 && t->rms_a > 0)
            json_add_f64(o, "sqnr_db", diff_sqnr(t));
    }
}

static void add_gates(struct json *root, const struct report *r)
{
    static const char *const words[] = {"passed", "failed", "undecided"};
    struct json *list = json_add_array(root, "gates");
    for (size_t i = 0; i < r->n_gates; i++) {
        const struct gate_result *g = &r->gates[i];
        struct json *o = json_add_object(list, NULL);
        json_add_string(o, "gate", g->option);
        json_add_f64(o, "limit", g->limit);
        json_add_f64(o, "value", g->value);
        json_add_f64(o, "stderr", g->standard_error);
        json_add_string(o, "outcome", words[g->outcome]);
    }
}

/* As it will run; nothing of what stays exact. */
static void add_rounding(struct json *root, const struct report *r)
{
    const struct pass_rounding *judged = r->cand_name ? &r->c->cand : &r->c->base;
    if (judged->act)
        json_add_string(root, "act", judged->act->name);
    if (judged->cache)
        json_add_string(root, "kv", judged->cache->name);
    if (r->cand_name && r->c->base.act)
        json_add_string(root, "act_base", r->c->base.act->name);
}

struct json *report_json(const struct report *r)
{
    struct json *root = json_new_object();
    json_add_u64(root, "version", VERSION);
    json_add_string(root, "base_name", r->base_name);
    if (r->cand_name)
        json_add_string(root, "candidate_name", r->cand_name);
    if (r->base_bytes)
        json_add_u64(root, "base_bytes", r->base_bytes);
    if (r->cand_bytes)
        json_add_u64(root, "candidate_bytes", r->cand_bytes);
    json_add_string(root, "settings", r->settings);
    json_add_string(root, "tokens_xxh3_128", r->tokens_hash);
    json_add_u64(root, "chunks", r->c->chunks);
    json_add_u64(root, "ctx", r->c->ctx);
    add_rounding(root, r);
    add_metrics(root, r);
    if (r->c->is_bound) {
        const double n = r->c->n_scores ? (double)r->c->n_scores : 1;
        struct json *o = json_add_object(root, "untold");
        json_add_f64(o, "base_probability", r->c->tail_base / n);
        json_add_f64(o, "candidate_probability", r->c->tail_cand / n);
        json_add_u64(o, "targets", r->c->untold_targets);
    }
    if (r->predicted_kl > 0)
        json_add_f64(root, "predicted_kl", r->predicted_kl);
    if (r->c->has_mtp)
        add_mtp(root, r);
    add_layers(root, r);
    if (r->c->alone_positions)
        add_by_layer(root, r);
    add_chunks(root, r);
    if (r->cand_name) {
        add_confidence(root, r);
        add_histogram(root, r);
        add_closeups(root, r);
    }
    if (r->tensors)
        add_tensors(root, r);
    add_gates(root, r);
    return root;
}
