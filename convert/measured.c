/* SPDX-License-Identifier: MIT
 * sensitivity.json: in memory, reading, writing. */
#include "convert/measured.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"

static const uint64_t max_file = (uint64_t)1 << 28;
#define MOST 1e30 /* of any number, so that none becomes infinite */
static const char file_name[] = "sensitivity.json", format_name[] = "pare sensitivity 1";

static int no_memory(struct error *e)
{
    return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for sensitivities");
}

/* The first that is not before (layer, role). */
static size_t place_of(const struct measured *m, enum tensor_role role, int layer)
{
    size_t from = 0, to = m->n;
    while (from < to) {
        size_t i = from + (to - from) / 2;
        const struct measured_weight *w = &m->weights[i];
        if (w->layer < layer || (w->layer == layer && w->role < role))
            from = i + 1;
        else
            to = i;
    }
    return from;
}

struct measured_weight *measured_find(const struct measured *m, enum tensor_role role, int layer)
{
    size_t i = place_of(m, role, layer);
    return i < m->n && m->weights[i].role == role && m->weights[i].layer == layer ? &m->weights[i] : NULL;
}

struct measured_weight *measured_add(struct measured *m, enum tensor_role role, int layer, size_t slabs, struct error *e)
{
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 256;
        struct measured_weight *more = arena_array(&m->arena, room, sizeof *more);
        if (!more) {
            no_memory(e);
            return NULL;
        }
        if (m->n)
            memcpy(more, m->weights, m->n * sizeof *more);
        m->weights = more;
        m->room = room;
    }
    double *output = arena_array(&m->arena, slabs, sizeof *output), *coarse = arena_array(&m->arena, slabs, sizeof *coarse);
    if (!output || !coarse) {
        no_memory(e);
        return NULL;
    }
    struct measured_weight *w = &m->weights[place_of(m, role, layer)];
    memmove(w + 1, w, (size_t)(m->weights + m->n++ - w) * sizeof *w);
    *w = (struct measured_weight){.role = role, .layer = layer, .slabs = slabs, .output = output, .coarse = coarse, .kl = -1};
    return w;
}

double *measured_errors(const struct measured_weight *w, const struct quant_type *type)
{
    for (size_t i = 0; i < w->n_types; i++)
        if (w->types[i].type == type)
            return w->types[i].error;
    return NULL;
}

double *measured_add_type(struct measured *m, struct measured_weight *w, const struct quant_type *type, struct error *e)
{
    struct measured_type *more = arena_array(&m->arena, w->n_types + 1, sizeof *more);
    double *error = arena_array(&m->arena, w->slabs, sizeof *error);
    if (!more || !error) {
        no_memory(e);
        return NULL;
    }
    if (w->n_types)
        memcpy(more, w->types, w->n_types * sizeof *more);
    more[w->n_types++] = (struct measured_type){type, error};
    w->types = more;
    return error;
}

double measured_coarse(const struct measured_weight *w)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < w->slabs; i++) {
        off += w->coarse[i];
        all += w->output[i];
    }
    return all > 0 ? off / all : 0;
}

void measured_clear(struct measured *m)
{
    arena_clear(&m->arena);
    *m = (struct measured){.n = 0};
}

/* ---- reading */

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "no sensitivities of this version: %s (remove the file to measure again)", what);
}

static int read_numbers(const struct json *list, double *out, size_t n, struct error *e)
{
    size_t i = 0;
    if (json_type(list) != JSON_ARRAY || json_count(list) != n)
        return bad(e, "a list of another length than there are experts or heads");
    for (const struct json *v = json_child(list); v; v = json_next(v), i++)
        if (json_f64(v, &out[i]) || !(out[i] >= 0 && out[i] <= MOST))
            return bad(e, "an error that is no number from 0 on, or too large");
    return 0;
}

static int read_types(struct measured *m, struct measured_weight *w, const struct json *j, struct error *e)
{
    for (const struct json *v = json_child(j); v; v = json_next(v)) {
        const struct quant_type *type = quant_type_find(json_key(v));
        if (!type || measured_errors(w, type))
            return bad(e, "a type that there is not, or is there twice");
        double *error = measured_add_type(m, w, type, e);
        if (!error || read_numbers(v, error, w->slabs, e))
            return -1;
    }
    return 0;
}

static int read_weight(struct measured *m, const struct json *j, int gains, struct error *e)
{
    const char *name = json_string(json_get(j, "role"));
    enum tensor_role role = name ? role_find(name) : ROLE_COUNT;
    const struct json *output = json_get(j, "output"), *kl = json_get(j, "kl");
    double layer;
    if (role == ROLE_COUNT || json_f64(json_get(j, "layer"), &layer) || !(layer >= -1 && layer < 1 << 20) || measured_find(m, role, (int)layer))
        return bad(e, "a matrix without role and layer, or one that is there twice");
    struct measured_weight *w = measured_add(m, role, (int)layer, json_count(output), e);
    if (!w || read_numbers(output, w->output, w->slabs, e) || read_numbers(json_get(j, "coarse"), w->coarse, w->slabs, e) ||
        read_types(m, w, json_get(j, "types"), e))
        return -1;
    if (kl && gains && (json_f64(kl, &w->kl) || !(w->kl >= 0 && w->kl <= MOST) || json_f64(json_get(j, "off"), &w->off) || !(w->off >= 1 / MOST)))
        return bad(e, "a divergence that is no number from 0 on, or of no error");
    return 0;
}

static int read_gains(struct measured *m, const struct json *j, struct error *e)
{
    const struct json *whole = json_get(j, "whole");
    if (json_u64(json_get(j, "tokens"), &m->gain_tokens) || json_u64(json_get(j, "streams"), &m->gain_streams) || json_count(whole) > MEASURED_WHOLES)
        return bad(e, "gains without tokens and streams");
    for (const struct json *v = json_child(whole); v; v = json_next(v)) {
        struct measured_whole *w = &m->whole[m->n_whole++];
        if (json_f64(json_get(v, "level"), &w->level) || json_f64(json_get(v, "kl"), &w->kl) || !(w->level >= 1 / MOST && w->level <= MOST) || !(w->kl >= 0 && w->kl <= MOST))
            return bad(e, "a level without its divergence");
    }
    return 0;
}

static int read_root(struct measured *m, const struct json *root, const char *settings, const char *gain_settings, struct error *e)
{
    const char *format = json_string(json_get(root, "format")), *of = json_string(json_get(root, "settings"));
    const struct json *gains = json_get(root, "gains");
    const char *gains_of = json_string(json_get(gains, "settings"));
    if (!format || strcmp(format, format_name) || !of)
        return bad(e, "another format");
    if (strcmp(of, settings))
        return 0;
    const int same = gains_of && !strcmp(gains_of, gain_settings);
    if (same && read_gains(m, gains, e))
        return -1;
    for (const struct json *v = json_child(json_get(root, "weights")); v; v = json_next(v))
        if (read_weight(m, v, same, e))
            return -1;
    return 0;
}

int measured_read(struct measured *m, const char *folder, const char *settings, const char *gain_settings, struct error *e)
{
    char *path = io_join(folder, file_name);
    struct json *root = NULL;
    *m = (struct measured){.n = 0};
    int rc = path ? 0 : no_memory(e);
    if (!rc && io_kind(path)) {
        rc = (root = json_parse_file(path, max_file, e)) ? read_root(m, root, settings, gain_settings, e) : -1;
        if (rc)
            error_at_file(e, path);
    }
    json_free(root);
    free(path);
    snprintf(m->settings, sizeof m->settings, "%s", settings);
    snprintf(m->gain_settings, sizeof m->gain_settings, "%s", gain_settings);
    return rc;
}

/* ---- writing */

static void add_numbers(struct json *parent, const char *key, const double *v, size_t n)
{
    struct json *list = json_add_array(parent, key);
    for (size_t i = 0; i < n; i++)
        json_add_f64(list, NULL, (double)(float)v[i]);
}

static void add_weight(struct json *list, const struct measured_weight *w)
{
    struct json *j = json_add_object(list, NULL), *types;
    json_add_string(j, "role", roles[w->role].name);
    json_add_f64(j, "layer", w->layer);
    if (w->kl >= 0) {
        json_add_f64(j, "kl", w->kl);
        json_add_f64(j, "off", w->off);
    }
    add_numbers(j, "output", w->output, w->slabs);
    add_numbers(j, "coarse", w->coarse, w->slabs);
    types = json_add_object(j, "types");
    for (size_t i = 0; i < w->n_types; i++)
        add_numbers(types, w->types[i].type->name, w->types[i].error, w->slabs);
}

int measured_write(const struct measured *m, const char *folder, struct error *e)
{
    struct json *root = json_new_object(), *gains, *list;
    char *path = io_join(folder, file_name), *text;
    json_add_string(root, "format", format_name);
    json_add_string(root, "settings", m->settings);
    gains = json_add_object(root, "gains");
    json_add_string(gains, "settings", m->gain_settings);
    json_add_u64(gains, "tokens", m->gain_tokens);
    json_add_u64(gains, "streams", m->gain_streams);
    list = json_add_array(gains, "whole");
    for (int i = 0; i < m->n_whole; i++) {
        struct json *j = json_add_object(list, NULL);
        json_add_f64(j, "level", m->whole[i].level);
        json_add_f64(j, "kl", m->whole[i].kl);
    }
    list = json_add_array(root, "weights");
    for (size_t i = 0; i < m->n; i++)
        add_weight(list, &m->weights[i]);
    text = json_print_line(root);
    int rc = path && text ? io_write_all(path, text, strlen(text), e) : no_memory(e);
    json_free(root);
    free(text);
    free(path);
    return rc;
}
