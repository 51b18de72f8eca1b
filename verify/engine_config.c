/* SPDX-License-Identifier: MIT
 * Keys of config.json: the architecture, MTP layers, and a quantization_config that the engine knows, with all that it asks for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "verify/engine.h"

static const char config_name[] = "config.json";

/* What compressed-tensors' QuantizationArgs has; it refuses anything else. Source: compressed_tensors 0.20.1, quantization/quant_args.py. */
static const char *const args[] = {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure", "dynamic", "actorder",
                                   "scale_dtype", "zp_dtype", "observer", "observer_kwargs"};
static const char *const known_formats[] = {"dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "nvfp4-pack-quantized",
                                      "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision"};

static int is_one_of(const char *text, const char *const *list, size_t n)
{
    size_t i = 0;
    while (text && i < n && strcmp(text, list[i]))
        i++;
    return text && i < n;
}

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

/* Code of the checkpoint's own may know what the engine does not. */
static int check_model_type(struct engine_run *r)
{
    const char *type = json_string(json_get(r->config, "model_type"));
    if (is_one_of(type, r->engine->model_types, count(r->engine->model_types)))
        return 0;
    if (json_get(r->config, "auto_map"))
        return engine_note(r, "%s has no model type '%.40s': it runs the folder's own code (trust_remote_code)", r->engine->title, type ? type : "");
    return engine_finding(r, config_name, "%s has no model type '%.40s'", r->engine->title, type ? type : "");
}

static int check_architecture(struct engine_run *r)
{
    const struct json *list = json_get(r->config, "architectures");
    const char *name = json_string(json_child(list));
    if (r->engine->model_types)
        return check_model_type(r);
    if (!name)
        return engine_finding(r, config_name, "names no architecture in 'architectures', by which %s chooses its model", r->engine->title);
    if (!is_one_of(name, r->engine->architectures, count(r->engine->architectures)))
        return engine_finding(r, config_name, "%s has no model for the architecture '%.64s'", r->engine->title, name);
    return 0;
}

static int check_mtp(struct engine_run *r)
{
    const uint64_t there = r->model->params.num_nextn_predict_layers;
    uint64_t said;
    if (r->engine->passes_mtp)
        return there ? engine_note(r, "%s passes over the MTP layer: it warns of keys that it does not use", r->engine->title) : 0;
    if (json_u64(json_get(r->config, "num_nextn_predict_layers"), &said) || said == there)
        return 0;
    return engine_finding(r, config_name, "num_nextn_predict_layers is %" PRIu64 ", and the files have %" PRIu64 " MTP layers", said, there);
}

static int check_args(struct engine_run *r, const char *group, const char *which, const struct json *a)
{
    for (const struct json *v = json_child(a); v && json_type(a) == JSON_OBJECT; v = json_next(v))
        if (!is_one_of(json_key(v), args, sizeof args / sizeof *args) &&
            engine_finding(r, config_name, "compressed-tensors refuses the key '%.40s' in %s of %.40s", json_key(v), which, group))
            return -1;
    return 0;
}

/* INT4 with inputs rounded to FP8 and whatever else asks for more than any device has. */
static int note_inputs(struct engine_run *r, const struct json *group)
{
    const struct json *w = json_get(group, "weights"), *in = json_get(group, "input_activations");
    uint64_t bits = 0;
    if (json_u64(json_get(w, "num_bits"), &bits) || bits != 4 || json_type(in) != JSON_OBJECT || strcmp(r->engine->name, "vllm"))
        return 0;
    return engine_note(r, "vLLM runs INT4 weights with FP8 inputs on devices of compute capability 9.0 only");
}

static int check_compressed(struct engine_run *r)
{
    const char *format = json_string(json_get(r->quant, "format"));
    if (format && !is_one_of(format, known_formats, sizeof known_formats / sizeof *known_formats) &&
        engine_finding(r, config_name, "compressed-tensors has no format '%.40s'", format))
        return -1;
    for (const struct json *g = json_child(json_get(r->quant, "config_groups")); g; g = json_next(g)) {
        const char *own = json_string(json_get(g, "format")), *name = json_key(g) ? json_key(g) : "a group";
        if (check_args(r, name, "weights", json_get(g, "weights")) || check_args(r, name, "input_activations", json_get(g, "input_activations")) ||
            note_inputs(r, g))
            return -1;
        if (!own && (!format || !strcmp(format, "mixed-precision")) &&
            engine_finding(r, config_name, "%.40s has no format of its own, and the whole's is %s", name, format ? format : "not said"))
            return -1;
    }
    return 0;
}

/* Keys that other programs write by other names. */
static int has_key(const struct json *o, const char *key)
{
    static const char *const others[][2] = {{"bits", "w_bit"}, {"group_size", "q_group_size"}};
    if (json_get(o, key))
        return 1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(key, others[i][0]) && json_get(o, others[i][1]))
            return 1;
    return 0;
}

static int check_method(struct engine_run *r)
{
    const char *name = json_string(json_get(r->quant, "quant_method"));
    const struct engine_method *m = r->engine->methods;
    if (!name)
        name = r->quant == json_get(r->config, "compression_config") ? "compressed-tensors" : "(none named)";
    while (m->name && strcmp(m->name, name))
        m++;
    if (!m->name)
        return engine_finding(r, config_name, "%s has no quantization method '%.40s'", r->engine->title, name);
    r->method = m;
    for (size_t i = 0; i < sizeof m->needs / sizeof *m->needs && m->needs[i]; i++)
        if (!has_key(r->quant, m->needs[i]) && engine_finding(r, config_name, "quantization_config has no '%s', which %s asks for with %s",
                                                              m->needs[i], r->engine->title, name))
            return -1;
    return strcmp(name, "compressed-tensors") ? 0 : check_compressed(r);
}

int engine_check_config(struct engine_run *r)
{
    if (check_architecture(r) || check_mtp(r))
        return -1;
    if (r->quant)
        return check_method(r);
    if (r->model->quantization.method) /* read from quantize_config.json */
        return engine_finding(r, config_name, "has no quantization_config, and %s does not look for it elsewhere", r->engine->title);
    return 0;
}
