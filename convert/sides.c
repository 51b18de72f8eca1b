/* SPDX-License-Identifier: MIT
 * Side files of a checkpoint folder or pack: index and configuration of what is written, a model card, and what the source has beside
 * its weights. They are complete when the plan is made, so that its identity covers them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "convert/target_checkpoint.h"
#include "convert/target_source.h"

enum { MAX_SIDE_FILE = 128 << 20 };
static const char config_name[] = "config.json", index_name[] = "model.safetensors.index.json", card_name[] = "README.md",
                  template_name[] = "chat_template.jinja";

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

/* An empty side file of this name, or NULL. */
static struct buffer *add_side(struct plan *p, const char *name, struct error *e)
{
    struct side_file *sides = realloc(p->sides, (p->n_sides + 1) * sizeof *sides);
    const char *copy = arena_copy(&p->arena, name, strlen(name));
    p->sides = sides ? sides : p->sides;
    if (!sides || !copy) {
        no_memory(e);
        return NULL;
    }
    p->sides[p->n_sides] = (struct side_file){.name = copy};
    return &p->sides[p->n_sides++].text;
}

static int add_json(struct plan *p, const char *name, const struct json *root, struct error *e)
{
    char *text = json_print(root);
    struct buffer *b = text ? add_side(p, name, e) : NULL;
    if (b)
        buffer_text(b, text);
    free(text);
    return b && !b->failed ? 0 : no_memory(e);
}

/* ---- config.json */

static int parse_config(const struct source *s, struct json **root, struct error *e)
{
    char *text;
    size_t n;
    int found = source_side_file(s, config_name, MAX_SIDE_FILE, &text, &n, e);
    if (found <= 0)
        return found ? -1 : error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the source has no config.json");
    *root = json_parse(text, n, e);
    free(text);
    return *root ? 0 : error_at_file(e, config_name);
}

/* The source's own, true of the output: its quantization (which `keeps_quantization` leaves as it is), its MTP layers. */
static int add_config(struct plan *p, int keeps_quantization, struct error *e)
{
    const struct arch_params *a = &p->model->params;
    const struct checkpoint_form *form = p->target->form;
    uint64_t mtp = p->options.mtp == MTP_DROP ? 0 : a->num_nextn_predict_layers, was;
    struct json *root = NULL, *config = NULL;
    int rc = parse_config(p->model->source, &root, e);
    if (!rc) {
        if (!keeps_quantization) {
            json_remove(root, "quantization_config");
            json_remove(root, "compression_config");
        }
        const struct json *v = json_get(root, "num_nextn_predict_layers");
        if (v && (json_u64(v, &was) || was != mtp)) {
            json_remove(root, "num_nextn_predict_layers");
            json_add_u64(root, "num_nextn_predict_layers", mtp);
        }
        if (p->model->family->has_indexer && !json_get(root, "index_topk")) { /* the release has them in a file of its own */
            json_add_u64(root, "index_n_heads", a->index_n_heads);
            json_add_u64(root, "index_head_dim", a->index_head_dim);
            json_add_u64(root, "index_topk", a->index_topk);
        }
        if (form && form->describe)
            rc = (config = json_add_object(root, "quantization_config")) ? form->describe(p, config, e) : no_memory(e);
    }
    if (!rc)
        rc = add_json(p, config_name, root, e);
    if (!rc && form && form->extra)
        rc = add_json(p, form->extra, config, e);
    json_free(root);
    return rc;
}

/* ---- index */

static int add_index(struct plan *p, struct error *e)
{
    struct json *root = json_new_object();
    struct json *meta = json_add_object(root, "metadata"), *map;
    json_add_u64(meta, "total_size", plan_tensor_bytes(p));
    map = json_add_object(root, "weight_map");
    char *names = malloc((p->n_files + 1) * TENSOR_NAME), *file;
    for (size_t i = 0; names && i < p->n_files; i++) {
        if ((file = plan_file_name(p, "", i))) {
            snprintf(names + i * TENSOR_NAME, TENSOR_NAME, "%s", io_base_name(file));
            free(file);
        } else {
            free(names);
            names = NULL;
        }
    }
    for (size_t i = 0; names && i < p->n_tensors; i++)
        json_add_string(map, p->tensors[i].out.name, names + p->tensors[i].out.file * TENSOR_NAME);
    int rc = names && root && json_count(map) == p->n_tensors ? add_json(p, index_name, root, e) : no_memory(e);
    free(names);
    json_free(root);
    return rc;
}

/* ---- model card */

static int add_card(struct plan *p, struct error *e)
{
    const struct plan_options *o = &p->options;
    char recipe[RECIPE_TEXT], feedback[FEEDBACK_TEXT], size[SIZE_TEXT];
    struct buffer *b = add_side(p, card_name, e);
    uint64_t weights = 0, bytes = 0;
    if (!b || !recipe_text(&o->recipe, recipe))
        return no_memory(e);
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        bytes += t->out.bytes;
        weights += t->units == UNITS_OF_PREVIOUS ? 0 : t->weight.rows * t->weight.cols;
    }
    const char *name = io_base_name(p->model->source->path);
    buffer_printf(b, "# %s, %s %s\n\n", *name ? name : p->model->family->name, p->target->name, o->recipe.name);
    buffer_printf(b, "| | |\n|---|---|\n| architecture | %s |\n", p->model->family->architecture);
    buffer_printf(b, "| layout | %s |\n| recipe | `%s` |\n", p->target->name, recipe);
    buffer_printf(b, "| size | %s, %.3f bits per weight |\n", size_text(bytes, size), 8 * (double)bytes / (double)weights);
    buffer_printf(b, "| tensor-parallel sizes | %s |\n", p->parallel);
    if (o->calib)
        buffer_printf(b, "| calibration | %s |\n", feedback_text(o->calib, &o->feedback, feedback));
    if (o->imatrix)
        buffer_printf(b, "| importance | %s |\n", io_base_name(o->imatrix->path));
    buffer_text(b, "\nMade with pare in one pass from the released weights. `pare.manifest.json` has the hash of every tensor, "
                   "here and in the\nsource; `pare check .` proves them.\n\n"
                   "Quality: not measured yet (`pare verify SOURCE . --text FILE --card` puts it here).\n");
    return b->failed ? no_memory(e) : 0;
}

/* ---- copies */

/* What a folder has beside weights and what is made anew: configurations, tokenizers, templates, code, the licence. */
static int is_copied(const struct plan *p, const char *name)
{
    static const char *const ends[] = {".json", ".jinja", ".py", ".txt", ".model"};
    static const char *const made[] = {config_name, index_name, "pare.manifest.json", "quantize_config.json", "quant_config.json"};
    size_t n = strlen(name);
    if (name[0] == '.' || !io_name_is_plain(name) || (p->options.chat_template && !strcmp(name, template_name)))
        return 0;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (!strcmp(name, made[i]))
            return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return 1;
    return !strncmp(name, "LICENSE", 7);
}

static int copy_file(struct plan *p, const char *name, struct error *e)
{
    char *text;
    size_t n;
    int found = source_side_file(p->model->source, name, MAX_SIDE_FILE, &text, &n, e);
    if (found <= 0)
        return found;
    struct buffer *b = add_side(p, name, e);
    if (b)
        buffer_add(b, text, n);
    free(text);
    return b && !b->failed ? 0 : no_memory(e);
}

static int add_copies(struct plan *p, int (*is_wanted)(const struct plan *p, const char *name), struct error *e)
{
    const char **names;
    size_t n;
    if (source_side_names(p->model->source, &p->arena, &names, &n, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (is_wanted(p, names[i]) && copy_file(p, names[i], e))
            return -1;
    if (p->options.chat_template) {
        struct buffer *b = add_side(p, template_name, e);
        if (b)
            buffer_text(b, p->options.chat_template);
        return b && !b->failed ? 0 : no_memory(e);
    }
    return 0;
}

int sides_make(struct plan *p, struct error *e)
{
    if (p->target->form->experts_only)
        return add_card(p, e);
    return add_config(p, 0, e) || (p->n_files > 1 && add_index(p, e)) || add_card(p, e) || add_copies(p, is_copied, e) ? -1 : 0;
}

/* A pack takes the model card along as well, and what explains tensors that are as they were. */
static int is_packed(const struct plan *p, const char *name)
{
    return is_copied(p, name) || !strcmp(name, card_name);
}

static int is_packed_as_released(const struct plan *p, const char *name)
{
    return is_packed(p, name) || !strncmp(name, SOURCE_SHARDS, strlen(SOURCE_SHARDS)) || !strcmp(name, config_name) || !strcmp(name, index_name) || !strcmp(name, "quantize_config.json") ||
           !strcmp(name, "quant_config.json");
}

/* Headers of a checkpoint's shards, by which --to source makes them again; those of a pack's own source. */
static int add_shard_headers(struct plan *p, struct error *e)
{
    const struct source *s = p->model->source;
    char name[TENSOR_NAME];
    for (size_t i = 0; s->is_folder && i < s->n_files; i++) {
        const uint64_t n = source_header_size(s, i);
        char *header = malloc((size_t)n + 1);
        int rc = header ? io_read(&s->files[i], 0, header, (size_t)n, e) : no_memory(e);
        snprintf(name, sizeof name, SOURCE_SHARDS "%s", io_base_name(s->files[i].path));
        struct buffer *b = rc ? NULL : add_side(p, name, e);
        if (b)
            buffer_add(b, header, (size_t)n);
        free(header);
        if (!b || b->failed)
            return rc ? -1 : no_memory(e);
    }
    return 0;
}

int sides_make_packed(struct plan *p, int as_released, int keeps_quantization, struct error *e)
{
    static const char second[] = "inference/config_671B_v3.2.json", gptq[] = "quantize_config.json";
    if (!as_released)
        return add_config(p, keeps_quantization, e) || (keeps_quantization && copy_file(p, gptq, e)) || add_copies(p, is_packed, e) ? -1 : 0;
    return add_copies(p, is_packed_as_released, e) || copy_file(p, second, e) || add_shard_headers(p, e) ? -1 : 0;
}

static int is_of_source(const struct plan *p, const char *name)
{
    (void)p;
    return strncmp(name, SOURCE_SHARDS, strlen(SOURCE_SHARDS)) != 0;
}

int sides_make_source(struct plan *p, struct error *e)
{
    return add_copies(p, is_of_source, e);
}

/* The folder of a side file that lies deeper than `folder`. */
static int make_folder_of(const char *folder, const char *path, struct error *e)
{
    char *deeper = io_folder(path);
    int rc = !deeper ? no_memory(e) : strlen(deeper) <= strlen(folder) || !mkdir(deeper, 0777) || errno == EEXIST ? 0
                                    : io_error(e, "make the folder", deeper, ERROR_NO_OFFSET);
    free(deeper);
    return rc;
}

int sides_write(const struct plan *p, const char *folder, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < p->n_sides; i++) {
        char *path = io_join(folder, p->sides[i].name);
        rc = path && !make_folder_of(folder, path, e) ? io_write_all(path, p->sides[i].text.data ? p->sides[i].text.data : "", p->sides[i].text.size, e) : path ? -1 : no_memory(e);
        free(path);
    }
    return rc;
}
