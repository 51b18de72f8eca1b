/* SPDX-License-Identifier: MIT
 * The smaller parsers against seeds of their fuzz targets (tests/fuzz/corpus): unknown versions and values are errors, never
 * skipped; sizes lie in what they are sizes of; and each refusal says what is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/recipe.h"
#include "formats/manifest.h"
#include "model/arch.h"
#include "model/quantization.h"
#include "tests/seal.h"
#include "tests/tap.h"
#include "verify/part.h"

/* Each returns 0 when it accepts the file. */
static int try_manifest(const char *path, struct error *e)
{
    size_t n;
    char *text = read_file(path, &n), *sealed = text ? manifest_sealed(text, &n) : NULL;
    const char *copy = tmp_path("x.manifest.json");
    if (sealed)
        write_file(copy, sealed, n);
    struct manifest *m = sealed ? manifest_load(copy, e) : NULL;
    manifest_free(m);
    free(sealed);
    free(text);
    return m ? 0 : -1;
}

/* As it stands: its last line is the hash of other bytes. */
static int try_changed(const char *path, struct error *e)
{
    size_t n;
    char *text = read_file(path, &n), *sealed = text ? manifest_sealed(text, &n) : NULL, *name = sealed ? strstr(sealed, "nano") : NULL;
    const char *copy = tmp_path("x.manifest.json");
    if (name) {
        name[0] ^= 1;
        write_file(copy, sealed, n);
    }
    struct manifest *m = name ? manifest_load(copy, e) : NULL;
    manifest_free(m);
    free(sealed);
    free(text);
    return m ? 0 : -1;
}

static int try_part(const char *path, struct error *e)
{
    struct comparison c;
    struct part_info info;
    int rc = part_merge(&path, 1, &c, &info, e);
    comparison_clear(&c);
    part_info_clear(&info);
    return rc;
}

static int try_config(const char *path, struct error *e)
{
    struct arch_params p;
    size_t n;
    char *text = read_file(path, &n);
    const struct family *f = text ? arch_from_config(text, n, NULL, 0, &p, e) : NULL;
    struct quantization q = {.method = NULL};
    int rc = f ? quantization_read(&q, text, n, NULL, 0, e) : -1;
    quantization_clear(&q);
    free(text);
    return rc;
}

static int try_gguf(const char *path, struct error *e)
{
    struct arch_params p;
    struct source *s = source_open(path, e);
    const struct family *f = s ? arch_from_gguf(s->meta, &p, e) : NULL;
    source_close(s);
    return f ? 0 : -1;
}

static const struct {
    const char *target, *seed;
    int (*try)(const char *path, struct error *e);
    enum error_code code;
    const char *text; /* NULL: accepted */
} rows[] = {
    {"manifest", "one", try_manifest, 0, NULL},
    {"manifest", "large", try_manifest, 0, NULL},
    {"manifest", "one", try_changed, ERR_FORMAT, "not those of its own hash"},
    {"manifest", "plan", try_manifest, 0, NULL},
    {"manifest", "plan-short", try_manifest, ERR_FORMAT, "hash of the plan is none"},
    {"manifest", "version-3", try_manifest, ERR_UNSUPPORTED, "version that is not known"},
    {"manifest", "no-tool", try_manifest, ERR_FORMAT, "does not name the tool"},
    {"manifest", "beyond-file", try_manifest, ERR_FORMAT, "ends behind its file"},
    {"manifest", "bytes-2-53", try_manifest, ERR_FORMAT, "ends behind its file"},
    {"manifest", "sources", try_manifest, 0, NULL},
    {"manifest", "sources-without-files", try_manifest, 0, NULL},
    {"manifest", "beyond-source-file", try_manifest, ERR_FORMAT, "ends behind its file"},
    {"manifest", "part-2", try_manifest, 0, NULL},
    {"manifest", "part-4", try_manifest, ERR_FORMAT, "which part it is"},
    {"manifest", "file-1", try_manifest, ERR_FORMAT, "lacks name, type, place or hash"},
    {"manifest", "short-hash", try_manifest, ERR_FORMAT, "lacks name, type, place or hash"},
    {"manifest", "path", try_manifest, ERR_FORMAT, "no plain name"},
    {"manifest", "rank-9", try_manifest, ERR_FORMAT, "no valid shape"},
    {"part", "whole", try_part, 0, NULL},
    {"part", "no-candidate", try_part, 0, NULL},
    {"part", "version-1", try_part, ERR_FORMAT, "of another version"},
    {"part", "missing-chunk", try_part, ERR_FORMAT, "have 1 of 2 chunks"},
    {"part", "ctx-huge", try_part, ERR_FORMAT, "chunk 0 of the part is malformed"},
    {"part", "experts-huge", try_part, ERR_FORMAT, "chunk 0 of the part is malformed"},
    {"part", "huge-numbers", try_part, ERR_FORMAT, "chunk 0 of the part is malformed"},
    {"part", "negative", try_part, ERR_FORMAT, "chunk 0 of the part is malformed"},
    {"part", "too-many-scores", try_part, ERR_FORMAT, "chunk 0 of the part is malformed"},
    {"part", "total-huge", try_part, ERR_FORMAT, "have 1 of 16777216 chunks"},
    {"part", "layers-513", try_part, ERR_FORMAT, "missing or absurd"},
    {"part", "dense-above-layers", try_part, ERR_FORMAT, "missing or absurd"},
    {"part", "used-above-experts", try_part, ERR_FORMAT, "missing or absurd"},
    {"config", "v3", try_config, 0, NULL},
    {"config", "huge-tiles", try_config, ERR_FORMAT, "weight_block_size"},
    {"config", "compressed-mixed", try_config, 0, NULL},
    {"config", "gptq-dynamic", try_config, 0, NULL},
    {"config", "awq", try_config, 0, NULL},
    {"config", "int8-block", try_config, 0, NULL},
    {"config", "compressed-tensor", try_config, ERR_UNSUPPORTED, "by a strategy that is not read: 'tensor'"},
    {"config", "compressed-3-bits", try_config, ERR_UNSUPPORTED, "whole weights of 3 bits, symmetric, in groups of 128"},
    {"config", "compressed-pattern", try_config, ERR_UNSUPPORTED, "a target's pattern is not read: '('"},
    {"config", "compressed-format", try_config, ERR_UNSUPPORTED, "a format that is not read: 'marlin-24'"},
    {"config", "awq-gemv", try_config, ERR_UNSUPPORTED, "AWQ of a version that is not read: 'gemv'"},
    {"config", "other-method", try_config, ERR_FORMAT, "by a method that is not read: 'bitsandbytes'"},
    {"config", "other-scoring", try_config, ERR_FORMAT, "unknown value of 'scoring_func'"},
    {"config", "other-topk", try_config, ERR_FORMAT, "unknown value of 'topk_method'"},
    {"config", "other-rope", try_config, ERR_FORMAT, "unknown rope scaling"},
    {"config", "layers-2-32", try_config, ERR_FORMAT, "num_hidden_layers 4294967296"},
    {"config", "other-family", try_config, ERR_UNSUPPORTED, "LlamaForCausalLM"},
    {"gguf", "dense", try_gguf, 0, NULL},
    {"gguf", "yarn", try_gguf, 0, NULL},
    {"gguf", "gating-3", try_gguf, ERR_FORMAT, "unknown value of 'deepseek2.expert_gating_func'"},
    {"gguf", "rope-linear", try_gguf, ERR_FORMAT, "unknown value of 'deepseek2.rope.scaling.type'"},
    {"gguf", "norm-as-u32", try_gguf, ERR_FORMAT, "no truth value in key 'deepseek2.expert_weights_norm'"},
    {"gguf", "yarn-nan", try_gguf, ERR_FORMAT, "rope scaling is not finite"},
    {"gguf", "layers-513", try_gguf, ERR_FORMAT, "num_hidden_layers 513"},
    {"gguf", "heads-0", try_gguf, ERR_FORMAT, "num_attention_heads 0"},
};

static void seeds(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128], line[1024];
        struct error e = {0};
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s/%s", rows[i].target, rows[i].seed);
        int rc = rows[i].try(path, &e);
        if (!rows[i].text)
            ok(!rc, "%s '%s' is accepted", rows[i].target, rows[i].seed);
        else
            ok(rc && e.code == rows[i].code && strstr(e.text, rows[i].text), "%s '%s': refused, '%s'", rows[i].target,
               rows[i].seed, rows[i].text);
        error_line(&e, line, sizeof line);
        if (rc)
            note("%s", line);
    }
}

static void overrides(void)
{
    static const char *const wrong[] = {",=Q8_0", "ffn_up,,ffn_gate=Q8_0", "ffn_up,=Q8_0", ",ffn_up=Q8_0", "=Q8_0", "ffn_up",
                                        "ffn_up=", "ffn_up=F16=F32", "ffn_up=F8_E4M3"};
    struct recipe r;
    struct error e = {0};
    ok(!recipe_open(&r, "q8_0", 0, &e) && !recipe_override(&r, "ffn_up,ffn_gate=f16", &e) && r.n_rules == 1 &&
           r.rules[0].roles == (UINT64_C(1) << ROLE_FFN_UP | UINT64_C(1) << ROLE_FFN_GATE),
       "an override of 2 roles sets both");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ok(recipe_override(&r, wrong[i], &e) && e.code == ERR_USAGE, "the override '%s' is refused", wrong[i]);
    ok(r.n_rules == 1, "and adds no rule");
    recipe_clear(&r);
}

int main(void)
{
    seeds();
    overrides();
    return done();
}
