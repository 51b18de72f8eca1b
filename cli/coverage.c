/* SPDX-License-Identifier: MIT
 * Coverage of a choice of experts. */
#include "cli/coverage.h"

#include "convert/expert_profile.h"

struct profiled { /* one text */
    const char *option, *folder;
    int chosen; /* the experts were chosen on it */
    struct expert_coverage c;
};

static void add_line(const struct profiled *t, struct buffer *b)
{
    buffer_printf(b, "on the text of %s: %.2f %% of all choices, %.2f %% of gate mass, all of a token's experts %.2f %% of the time; least in layer %d, %.2f %%%s\n",
                  t->folder, 100 * t->c.choices, 100 * t->c.gates, 100 * t->c.tokens, t->c.layer, 100 * t->c.least,
                  t->chosen ? " (chosen on it)" : "");
}

static void add_object(const struct profiled *t, struct json *list)
{
    struct json *j = json_add_object(list, NULL);
    json_add_string(j, "option", t->option);
    json_add_string(j, "folder", t->folder);
    json_add_bool(j, "chosen_on_it", t->chosen);
    json_add_f64(j, "choices", t->c.choices);
    json_add_f64(j, "gate_mass", t->c.gates);
    json_add_f64(j, "tokens", t->c.tokens);
    json_add_f64(j, "least", t->c.least);
    json_add_u64(j, "least_layer", (uint64_t)t->c.layer);
}

int add_coverage(const struct options *o, const struct planned *p, struct buffer *b, struct json *root, struct error *e)
{
    struct profiled texts[] = {{.option = "profile"}, {.option = "coverage"}};
    struct expert_set set = {.has = NULL};
    struct json *list = NULL;
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof texts / sizeof *texts; i++) {
        struct profiled *t = &texts[i];
        struct calibration *c = NULL;
        if (!(t->folder = options_get(o, t->option)))
            continue;
        t->chosen = !i && expert_set_is_profiled(p->options.pack.experts);
        rc = (!set.has && expert_set_read(&set, p->in.model, p->options.pack.experts, p->options.pack.profile, e)) ||
                     !(c = calibration_open(t->folder, p->in.model, e)) || expert_coverage(&set, c, &t->c, e)
                 ? -1
                 : 0;
        calibration_close(c);
        if (!rc && root && !list)
            list = json_add_array(root, "coverage");
        if (!rc && list)
            add_object(t, list);
        if (!rc && b && !root)
            add_line(t, b);
    }
    expert_set_clear(&set);
    return rc;
}
