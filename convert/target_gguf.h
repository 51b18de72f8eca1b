/* SPDX-License-Identifier: MIT
 * Target gguf: architecture deepseek2 (V2 to V3.1) or deepseek32 (V3.2), MLA split into attn_k_b and attn_v_b, experts
 * stacked, as llama.cpp's converter writes it.
 * Source: llama.cpp conversion/deepseek.py, conversion/base.py, gguf-py. */
#ifndef PARE_CONVERT_TARGET_GGUF_H
#define PARE_CONVERT_TARGET_GGUF_H

#include "convert/plan.h"
#include "formats/gguf_meta.h"

int target_gguf_build(struct plan *p, struct error *e);
/* "m.gguf" -> "m-00001-of-00003.gguf", as gguf-split names them. */
char *target_gguf_file_name(const char *path, size_t i, size_t n);

/* What the file will hold, beside the model's own parameters. */
struct gguf_choices {
    const char *arch; /* general.architecture */
    int with_mtp, with_indexer;
    int layers; /* of the file */
};

/* Adds every key of the file, in the order of llama.cpp's converter (gguf_keys.c). p->tensors must be complete: the size
 * label counts them. */
int gguf_keys_add(struct plan *p, const struct gguf_choices *c, struct gguf_meta *m, struct error *e);

/* A model's name taken apart as llama.cpp's converter does ("DeepSeek-V3-0324" -> "DeepSeek V3 0324", basename "DeepSeek",
 * version "V3-0324"). Empty where there is none. */
enum { NAME_PART = 256 };
struct name_parts {
    char title[NAME_PART], basename[NAME_PART], finetune[NAME_PART], version[NAME_PART];
};
void model_name_split(const char *name, struct name_parts *out);
/* Name of the folder or file that a model lies in; of a pack, what it was made from. Returns out. */
const char *source_base_name(const struct source *s, char out[NAME_PART]);

#endif
