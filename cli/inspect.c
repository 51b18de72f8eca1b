/* SPDX-License-Identifier: MIT
 * pare inspect: what is inside a source: family, hyper-parameters, tensors by role, totals per class. A source that is no
 * whole model (one shard, say) is listed by tensor; an imatrix or a calibration is shown as such. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/calibration_text.h"
#include "cli/cli.h"
#include "cli/imatrix_text.h"
#include "cli/inspect_pack.h"
#include "convert/calibration_record.h"
#include "formats/gguf_meta.h"

static const struct option_row rows[] = {
    {'a', "tensors", NULL, "list every tensor, or every entry of an imatrix"},
    OPTION_JSON,
    OPTION_END,
};
static const struct option_table table = {
    .command = "inspect",
    .operands = "PATH",
    .summary = "show what is inside a checkpoint, GGUF, pack, imatrix or calibration",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
};

struct totals { /* of a class, or of tensors that share role, type and shape */
    enum tensor_role role;
    const char *type;
    uint32_t n_dims;
    uint64_t dims[TENSOR_MAX_DIMS];
    uint64_t tensors, weights, bytes;
};

struct summary {
    struct totals classes[CLASS_COUNT], all;
    struct totals groups[4 * ROLE_COUNT];
    size_t n_groups;
};

static void add(struct totals *t, uint64_t weights, uint64_t bytes)
{
    t->tensors++;
    t->weights += weights;
    t->bytes += bytes;
}

/* `shape` of the weights, whatever the tensors' that hold them. */
static struct totals *group_of(struct summary *s, enum tensor_role role, const char *type, const struct tensor *shape)
{
    size_t i = 0;
    for (; i < s->n_groups; i++) {
        struct totals *g = &s->groups[i];
        if (g->role == role && !strcmp(g->type, type) && g->n_dims == shape->n_dims && !memcmp(g->dims, shape->dims, sizeof g->dims))
            return g;
    }
    if (i == sizeof s->groups / sizeof *s->groups)
        return &s->groups[i - 1]; /* more mixtures than anybody makes: the last line takes them */
    s->n_groups++;
    s->groups[i] = (struct totals){.role = role, .type = type, .n_dims = shape->n_dims};
    memcpy(s->groups[i].dims, shape->dims, sizeof shape->dims);
    return &s->groups[i];
}

static void add_stored(struct summary *s, const struct arch_params *p, enum tensor_role role, const struct stored *st)
{
    struct tensor shape = *st->tensor;
    uint64_t bytes = st->factor ? st->factor->bytes : 0;
    if (st->layout) {
        shape.n_dims = 2;
        role_shape(role, p, &shape.dims[0], &shape.dims[1]);
    }
    for (int i = 0; i < PART_COUNT; i++)
        bytes += st->parts[i] ? st->parts[i]->bytes : 0;
    if (st->slab_rows) { /* half of it is another role's */
        shape.dims[1] /= 2;
        bytes /= 2;
    }
    uint64_t weights = tensor_elements(&shape);
    add(group_of(s, role, stored_type(st), &shape), weights, bytes);
    add(&s->classes[roles[role].class], weights, bytes);
    add(&s->all, weights, bytes);
}

static void summarize(const struct model *m, struct summary *s)
{
    for (int role = 0; role < ROLE_COUNT; role++)
        for (int layer = -1; layer < (int)arch_all_layers(&m->params); layer++) {
            int each = roles[role].flags & ROLE_EXPERT && !m->source->meta ? (int)m->params.n_routed_experts : 1;
            for (int x = 0; x < each; x++) {
                const struct stored *st = model_stored(m, (enum tensor_role)role, layer, x);
                if (st)
                    add_stored(s, &m->params, (enum tensor_role)role, st);
            }
        }
}

static double bpw(const struct totals *t)
{
    return t->weights ? 8.0 * (double)t->bytes / (double)t->weights : 0;
}

static void print_params(const struct model *m, struct buffer *b)
{
    const struct arch_params *p = &m->params;
    buffer_printf(b, "layers %" PRIu64 " (%" PRIu64 " dense%s), hidden %" PRIu64 ", heads %" PRIu64 ", vocabulary %" PRIu64
                     ", context %" PRIu64 "\n",
                  p->num_hidden_layers, p->first_k_dense_replace, p->num_nextn_predict_layers ? ", + MTP" : "",
                  p->hidden_size, p->num_attention_heads, p->vocab_size, p->max_position_embeddings);
    buffer_printf(b, "experts %" PRIu64 " routed (%" PRIu64 " used, %" PRIu64 " of %" PRIu64 " groups) + %" PRIu64
                     " shared, width %" PRIu64 "; dense width %" PRIu64 "\n",
                  p->n_routed_experts, p->num_experts_per_tok, p->topk_group, p->n_group, p->n_shared_experts,
                  p->moe_intermediate_size, p->intermediate_size);
    buffer_printf(b, "MLA q_lora_rank %" PRIu64 ", kv_lora_rank %" PRIu64 ", head dims %" PRIu64 " nope + %" PRIu64
                     " rope, %" PRIu64 " value\n",
                  p->q_lora_rank, p->kv_lora_rank, p->qk_nope_head_dim, p->qk_rope_head_dim, p->v_head_dim);
    if (p->index_n_heads)
        buffer_printf(b, "indexer %" PRIu64 " heads of %" PRIu64 ", top %" PRIu64 "\n", p->index_n_heads, p->index_head_dim,
                      p->index_topk);
    if (p->rope.factor > 0)
        buffer_printf(b, "rope theta %g, YaRN factor %g over %" PRIu64 "\n", p->rope_theta, p->rope.factor,
                      p->rope.original_max_position_embeddings);
    else
        buffer_printf(b, "rope theta %g\n", p->rope_theta);
}

static void print_summary(const struct summary *s, struct buffer *b)
{
    char size[SIZE_TEXT], shape[SHAPE_TEXT];
    int wide = 8;
    for (size_t i = 0; i < s->n_groups; i++)
        wide = (int)strlen(s->groups[i].type) > wide ? (int)strlen(s->groups[i].type) : wide;
    buffer_printf(b, "\n%-24s %7s %-*s %-22s %10s %6s\n", "role", "tensors", wide, "type", "shape", "bytes", "bpw");
    for (size_t i = 0; i < s->n_groups; i++) {
        const struct totals *g = &s->groups[i];
        buffer_printf(b, "%-24s %7" PRIu64 " %-*s %-22s %10s %6.2f\n", roles[g->role].name, g->tensors, wide, g->type,
                      shape_text(g->dims, g->n_dims, shape), size_text(g->bytes, size), bpw(g));
    }
    buffer_printf(b, "\n%-24s %7s %31s %10s %6s\n", "class", "tensors", "weights", "bytes", "bpw");
    for (int i = 0; i <= CLASS_COUNT; i++) {
        const struct totals *c = i < CLASS_COUNT ? &s->classes[i] : &s->all;
        if (c->tensors)
            buffer_printf(b, "%-24s %7" PRIu64 " %31" PRIu64 " %10s %6.2f\n",
                          i < CLASS_COUNT ? role_class_names[i] : "total", c->tensors, c->weights,
                          size_text(c->bytes, size), bpw(c));
    }
}

static void print_tensors(const struct source *s, struct buffer *b)
{
    char shape[SHAPE_TEXT], name[512];
    buffer_printf(b, "\n%-56s %-8s %-22s %14s  %s\n", "tensor", "type", "shape", "bytes", "file");
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        escape_controls(t->name, name, sizeof name);
        buffer_printf(b, "%-56s %-8s %-22s %14" PRIu64 "  %s\n", name, t->type->name,
                      shape_text(t->dims, t->n_dims, shape), t->bytes, io_base_name(s->files[t->file].path));
    }
}

static void print_source(const struct source *s, const char *family, struct buffer *b)
{
    uint64_t bytes = 0;
    char size[SIZE_TEXT];
    for (size_t i = 0; i < s->n_files; i++)
        bytes += s->files[i].size;
    buffer_printf(b, "%s: %s, %s, %zu file%s, %zu tensors, %s\n", s->path, family, s->format->name, s->n_files,
                  s->n_files == 1 ? "" : "s", s->n_tensors, size_text(bytes, size));
}

static void json_totals(struct json *o, const struct totals *t)
{
    json_add_u64(o, "tensors", t->tensors);
    json_add_u64(o, "weights", t->weights);
    json_add_u64(o, "bytes", t->bytes);
    json_add_f64(o, "bits_per_weight", bpw(t));
}

static void json_dims(struct json *o, const uint64_t *dims, uint32_t n)
{
    struct json *list = json_add_array(o, "shape");
    for (uint32_t i = 0; i < n; i++)
        json_add_u64(list, NULL, dims[i]);
}

static void json_params(struct json *o, const struct arch_params *p)
{
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {
        {"vocab_size", p->vocab_size}, {"hidden_size", p->hidden_size}, {"intermediate_size", p->intermediate_size},
        {"moe_intermediate_size", p->moe_intermediate_size}, {"num_hidden_layers", p->num_hidden_layers},
        {"num_nextn_predict_layers", p->num_nextn_predict_layers},
        {"first_k_dense_replace", p->first_k_dense_replace}, {"num_attention_heads", p->num_attention_heads},
        {"q_lora_rank", p->q_lora_rank}, {"kv_lora_rank", p->kv_lora_rank}, {"qk_nope_head_dim", p->qk_nope_head_dim},
        {"qk_rope_head_dim", p->qk_rope_head_dim}, {"v_head_dim", p->v_head_dim},
        {"n_routed_experts", p->n_routed_experts}, {"n_shared_experts", p->n_shared_experts},
        {"num_experts_per_tok", p->num_experts_per_tok}, {"n_group", p->n_group}, {"topk_group", p->topk_group},
        {"index_n_heads", p->index_n_heads}, {"index_head_dim", p->index_head_dim}, {"index_topk", p->index_topk},
        {"max_position_embeddings", p->max_position_embeddings},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        json_add_u64(o, list[i].name, list[i].value);
    json_add_f64(o, "rms_norm_eps", p->rms_norm_eps);
    json_add_f64(o, "rope_theta", p->rope_theta);
    json_add_f64(o, "rope_factor", p->rope.factor);
    json_add_f64(o, "routed_scaling_factor", p->routed_scaling_factor);
    json_add_bool(o, "norm_topk_prob", p->norm_topk_prob);
    json_add_bool(o, "scale_fmt_ue8m0", p->scale_ue8m0);
    json_add_bool(o, "tie_word_embeddings", p->tie_word_embeddings);
}

static void json_summary(struct json *root, const struct model *m, const struct summary *s)
{
    struct json *list;
    json_add_string(root, "family", arch_release_name(m->family, &m->params));
    json_params(json_add_object(root, "params"), &m->params);
    list = json_add_array(root, "roles");
    for (size_t i = 0; i < s->n_groups; i++) {
        struct json *o = json_add_object(list, NULL);
        json_add_string(o, "role", roles[s->groups[i].role].name);
        json_add_string(o, "type", s->groups[i].type);
        json_dims(o, s->groups[i].dims, s->groups[i].n_dims);
        json_totals(o, &s->groups[i]);
    }
    list = json_add_array(root, "classes");
    for (int i = 0; i < CLASS_COUNT; i++)
        if (s->classes[i].tensors) {
            struct json *o = json_add_object(list, NULL);
            json_add_string(o, "class", role_class_names[i]);
            json_totals(o, &s->classes[i]);
        }
    json_totals(json_add_object(root, "total"), &s->all);
    list = json_add_array(root, "notes");
    for (size_t i = 0; i < m->n_notes; i++)
        json_add_string(list, NULL, m->notes[i]);
}

static void json_tensors(struct json *root, const struct source *s)
{
    struct json *list = json_add_array(root, "tensors");
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        struct json *o = json_add_object(list, NULL);
        json_add_string(o, "name", t->name);
        json_add_string(o, "type", t->type->name);
        json_dims(o, t->dims, t->n_dims);
        json_add_u64(o, "bytes", t->bytes);
        json_add_u64(o, "offset", t->offset);
        json_add_string(o, "file", io_base_name(s->files[t->file].path));
    }
}

static int show(const struct options *o, const struct source *s, const struct model *m, struct error *e)
{
    struct summary *sum = calloc(1, sizeof *sum);
    int json = options_get(o, "json") != NULL, list = !m || options_get(o, "tensors"), rc;
    if (!sum)
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (m)
        summarize(m, sum);
    if (json) {
        struct json *root = json_new_object();
        json_add_string(root, "path", io_base_name(s->path));
        json_add_string(root, "format", s->format->name);
        if (m)
            json_summary(root, m, sum);
        if (m)
            json_pack(root, m);
        if (list)
            json_tensors(root, s);
        rc = print_json(root, e);
    } else {
        struct buffer b = {0};
        print_source(s, m ? arch_release_name(m->family, &m->params) : "no whole model", &b);
        if (m) {
            print_params(m, &b);
            print_summary(sum, &b);
            print_pack(m, &b);
        }
        if (list)
            print_tensors(s, &b);
        rc = print_buffer(&b, e);
    }
    free(sum);
    return rc;
}

static int inspect_imatrix(const struct options *o, struct error *e)
{
    struct imatrix *m = imatrix_open(o->operands[0], e);
    int rc = m ? print_imatrix(m, options_get(o, "tensors") != NULL, options_get(o, "json") != NULL, e) : -1;
    imatrix_close(m);
    return rc;
}

static int run(const struct options *o, struct error *e)
{
    if (record_probe(o->operands[0]))
        return print_calibration(o->operands[0], options_get(o, "json") != NULL, e);
    if (imatrix_probe(o->operands[0]))
        return inspect_imatrix(o, e);
    struct source *s = source_open(o->operands[0], e);
    struct model *m = NULL;
    int rc = -1;
    if (!s)
        return -1;
    /* one shard is no model, and says so itself; everything else must be whole */
    int single = (!s->is_folder && !s->meta && !s->pack) || is_part_of_model(s);
    int other = s->meta && !gguf_find(s->meta, "general.architecture");
    if (single || other || (m = model_open(s, e))) {
        if (m)
            print_notes("inspect", m->notes, m->n_notes);
        rc = show(o, s, m, e);
    }
    model_close(m);
    source_close(s);
    return rc;
}

const struct command cmd_inspect = {&table, run};
