/* SPDX-License-Identifier: MIT
 * Identity: making, storing, comparing. */
#include "convert/identity.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/fold.h"
#include "convert/importance.h"

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
}

__attribute__((format(printf, 3, 4))) static int add(struct identity *id, const char *key, const char *format, ...)
{
    char text[RECIPE_TEXT];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (id->n == id->room)
        return -1;
    struct identity_pair *pair = &id->pairs[id->n++];
    pair->key = arena_copy(&id->arena, key, strlen(key));
    pair->value = arena_copy(&id->arena, text, strlen(text));
    return pair->key && pair->value ? 0 : -1;
}

static void hash_headers(const struct plan *p, struct hash *h)
{
    for (size_t i = 0; i < p->n_files; i++)
        hash_add(h, p->files[i].header.data, p->files[i].header.size);
    for (size_t i = 0; i < p->n_sides; i++) {
        hash_add(h, p->sides[i].name, strlen(p->sides[i].name) + 1);
        hash_add(h, p->sides[i].text.data, p->sides[i].text.size);
    }
}

/* What headers do not say, or not all of them: names, types, and where each tensor's units begin and end. */
static void hash_units(const struct plan *p, struct hash *h)
{
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        uint64_t v[] = {t->first_unit, t->unit_rows, t->out.file, t->out.offset, t->out.bytes, (uint64_t)t->weight.role};
        for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
            uint8_t bytes[8];
            for (int b = 0; b < 8; b++)
                bytes[b] = (uint8_t)(v[k] >> 8 * b);
            hash_add(h, bytes, sizeof bytes);
        }
        hash_add(h, t->out.name, strlen(t->out.name) + 1);
        hash_add(h, t->out.type->name, strlen(t->out.type->name) + 1);
    }
}

static int add_layout(struct identity *id, const struct plan *p)
{
    char header[HASH_TEXT], units[HASH_TEXT];
    struct hash *h = hash_new(), *u = hash_new();
    if (!h || !u) {
        hash_free(h);
        hash_free(u);
        return -1;
    }
    hash_headers(p, h);
    hash_units(p, u);
    hash_finish(h, header);
    hash_finish(u, units);
    return add(id, "headers (names, template, vocabulary, shapes)", "%s", header) || add(id, "units", "%s", units);
}

int identity_plan_hash(const struct plan *p, char out[HASH_TEXT])
{
    struct hash *h = hash_new();
    if (!h)
        return -1;
    hash_headers(p, h);
    hash_units(p, h);
    hash_finish(h, out);
    return 0;
}

static int add_file(struct identity *id, const struct source *s, size_t i, struct error *e)
{
    const struct io_file *f = &s->files[i];
    char key[300], hash[HASH_TEXT];
    if (hash_range(f, 0, source_header_size(s, i), hash, e))
        return -1;
    snprintf(key, sizeof key, "source file %s", io_base_name(f->path));
    return add(id, key, "%" PRIu64 " bytes, modified at %" PRId64 ".%09" PRId64 ", header %s", f->size,
               f->mtime_ns / 1000000000, f->mtime_ns % 1000000000, hash)
               ? no_memory(e)
               : 0;
}

int identity_make(struct identity *id, const struct plan *p, const char *tool, struct error *e)
{
    const struct source *s = p->model->source;
    char recipe[RECIPE_TEXT], importance[IMPORTANCE_TEXT], feedback[FEEDBACK_TEXT], fold[FOLD_TEXT];
    id->room = s->n_files + 12;
    if (!(id->pairs = arena_array(&id->arena, id->room, sizeof *id->pairs)))
        return no_memory(e);
    if (add(id, "tool", "%s", tool) || add(id, "target", "%s", p->target->name) ||
        !recipe_text(&p->options.recipe, recipe) || add(id, "recipe", "%s", recipe) ||
        add(id, "output", "%zu files, %" PRIu64 " bytes", p->n_files, p->total) ||
        add(id, "part", "%d of %d", p->options.part, p->options.parts) || add_layout(id, p) ||
        (p->options.imatrix && add(id, "imatrix", "%s", importance_text(p, importance))) ||
        (p->options.fold && add(id, "fold", "%s", fold_text(p->options.fold, fold))))
        return no_memory(e);
    if (p->options.calib && add(id, "calibration", "%s", feedback_text(p->options.calib, &p->options.feedback, feedback)))
        return no_memory(e);
    for (size_t i = 0; i < s->n_files; i++)
        if (add_file(id, s, i, e))
            return -1;
    return 0;
}

void identity_clear(struct identity *id)
{
    arena_clear(&id->arena);
    *id = (struct identity){.n = 0};
}

char *identity_text(const struct identity *id)
{
    struct json *root = json_new_object();
    for (size_t i = 0; i < id->n; i++)
        json_add_string(root, id->pairs[i].key, id->pairs[i].value);
    char *text = root && json_count(root) == id->n ? json_print(root) : NULL;
    json_free(root);
    return text;
}

int identity_compare(const struct identity *now, const struct json *then, struct error *e)
{
    const struct json *v = json_child(then);
    const char *key = NULL, *was = NULL, *is = NULL;
    size_t differences = 0;
    /* both are in the order of their making; whatever follows an added or missing file then differs too */
    for (size_t i = 0; i < now->n || v; i++, v = v ? json_next(v) : NULL) {
        const char *then_key = v ? json_key(v) : NULL, *then_value = v ? json_string(v) : NULL;
        const struct identity_pair *pair = i < now->n ? &now->pairs[i] : NULL;
        if (pair && then_value && !strcmp(pair->key, then_key) && !strcmp(pair->value, then_value))
            continue;
        if (differences++)
            continue;
        int same_key = pair && then_key && !strcmp(pair->key, then_key);
        key = pair ? pair->key : then_key;
        is = pair ? pair->value : "not there";
        was = same_key && then_value ? then_value : pair ? "not there" : then_value ? then_value : "?";
    }
    if (!differences)
        return 0;
    if (differences == 1)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s was '%s', now it is '%s'", key, was, is);
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "%s was '%s', now it is '%s', and %zu more differ", key, was, is,
                     differences - 1);
}
