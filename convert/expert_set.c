/* SPDX-License-Identifier: MIT
 * Expert sets: reading them, and holding them against the model. */
#include "convert/expert_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/expert_profile.h"

enum { MAX_FILE = 16 << 20 };

struct span {
    uint64_t from, to;
};

static int bad(const char *text, struct error *e)
{
    return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--experts '%.100s' is no list such as \"3-5:0-15,17;7\"", text);
}

/* Experts of layers that have them, by role: layer and expert exist. */
static int add(struct expert_set *s, const struct model *m, const struct span *layers, const struct span *experts, struct error *e)
{
    for (uint64_t layer = layers->from; layer <= layers->to; layer++) {
        if (layer >= s->layers || !role_in_layer(ROLE_FFN_GATE_EXPS, m->family, &m->params, (int)layer, 0))
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--experts: layer %" PRIu64 " has no routed experts", layer);
        if (experts->to >= s->experts)
            return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--experts: expert %" PRIu64 ", but there are %" PRIu64 " from 0 on",
                             experts->to, s->experts);
        memset(s->has + layer * s->experts + experts->from, 1, (size_t)(experts->to - experts->from + 1));
    }
    return 0;
}

/* "3" or "3-7" at *at, which moves behind it. */
static int read_span(const char **at, struct span *r)
{
    char *end;
    if (**at < '0' || **at > '9')
        return -1;
    r->from = r->to = strtoull(*at, &end, 10);
    if (*end == '-') {
        const char *second = end + 1;
        if (*second < '0' || *second > '9')
            return -1;
        r->to = strtoull(second, &end, 10);
    }
    *at = end;
    return r->to < r->from || r->to > INT32_MAX ? -1 : 0;
}

/* One "LAYERS" or "LAYERS:EXPERTS" at *at. */
static int read_entry(struct expert_set *s, const struct model *m, const char **at, const char *text, struct error *e)
{
    struct span layers, experts = {0, s->experts - 1};
    if (read_span(at, &layers))
        return bad(text, e);
    if (**at != ':')
        return add(s, m, &layers, &experts, e);
    do {
        ++*at;
        if (read_span(at, &experts))
            return bad(text, e);
        if (add(s, m, &layers, &experts, e))
            return -1;
    } while (**at == ',');
    return 0;
}

static int read_list(struct expert_set *s, const struct model *m, const char *text, struct error *e)
{
    for (const char *at = text;; at++) {
        if (read_entry(s, m, &at, text, e))
            return -1;
        if (!*at)
            return 0;
        if (*at != ';')
            return bad(text, e);
    }
}

static int read_layer(struct expert_set *s, const struct model *m, const struct json *v, struct error *e)
{
    const char *key = json_key(v);
    struct span layers, experts;
    if (read_span(&key, &layers) || *key || json_type(v) != JSON_ARRAY)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "'%.60s' is no layer with a list of experts", json_key(v));
    for (const struct json *x = json_child(v); x; x = json_next(x)) {
        if (json_u64(x, &experts.from))
            return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "an expert of layer '%.60s' is no number", json_key(v));
        experts.to = experts.from;
        if (add(s, m, &layers, &experts, e))
            return -1;
    }
    return 0;
}

static int read_file(struct expert_set *s, const struct model *m, const char *path, struct error *e)
{
    struct json *root = json_parse_file(path, MAX_FILE, e);
    int rc = root ? 0 : -1;
    if (root && json_type(root) != JSON_OBJECT)
        rc = error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "no object with a list of experts for each layer");
    for (const struct json *v = rc ? NULL : json_child(root); v && !rc; v = json_next(v))
        rc = read_layer(s, m, v, e);
    json_free(root);
    return rc ? error_at_file(e, path) : 0;
}

static void take_all(struct expert_set *s, const struct model *m)
{
    for (uint64_t layer = 0; layer < s->layers; layer++)
        if (role_in_layer(ROLE_FFN_GATE_EXPS, m->family, &m->params, (int)layer, 0))
            memset(s->has + layer * s->experts, 1, (size_t)s->experts);
}

/* Counts; what is wanted must be there. */
static int look_for_them(struct expert_set *s, const struct model *m, int given, struct error *e)
{
    uint64_t of = 0;
    for (uint64_t layer = 0; layer < s->layers; layer++)
        for (uint64_t x = 0; x < s->experts; x++) {
            unsigned char *has = &s->has[layer * s->experts + x];
            int there = model_stored(m, ROLE_FFN_GATE_EXPS, (int)layer, (int)x) != NULL;
            if (*has && !there && given)
                return error_set(e, ERR_UNSUPPORTED, ERROR_NO_OFFSET, "--experts: the source does not have expert %" PRIu64 " of layer %" PRIu64,
                                 x, layer);
            *has &= (unsigned char)there;
            s->n += *has;
            of += role_in_layer(ROLE_FFN_GATE_EXPS, m->family, &m->params, (int)layer, 0) != 0;
        }
    s->all = s->n == of;
    return s->n ? 0 : error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "no routed expert is left to write");
}

int expert_set_read(struct expert_set *s, const struct model *m, const char *text, const struct calibration *profile, struct error *e)
{
    *s = (struct expert_set){.layers = arch_all_layers(&m->params), .experts = m->params.n_routed_experts};
    if (!(s->has = calloc((size_t)(s->layers * s->experts) + 1, 1)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!text)
        take_all(s, m);
    else if (expert_set_is_profiled(text) && !profile)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--experts %.60s asks for --profile DIR, by 'pare calibrate'", text);
    else if (expert_set_is_profiled(text) ? expert_set_add_profiled(s, m, profile, text, e) : text[0] == '@' ? read_file(s, m, text + 1, e) : read_list(s, m, text, e))
        return -1;
    return look_for_them(s, m, text != NULL, e);
}

void expert_set_clear(struct expert_set *s)
{
    free(s->has);
    s->has = NULL;
}

int expert_set_has(const struct expert_set *s, int layer, uint64_t expert)
{
    return layer >= 0 && (uint64_t)layer < s->layers && s->has[(uint64_t)layer * s->experts + expert];
}
