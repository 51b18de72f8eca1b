/* SPDX-License-Identifier: MIT
 * Inside of base files: what their readers and writers share (base.h says what they are). */
#ifndef PARE_VERIFY_BASE_FILE_H
#define PARE_VERIFY_BASE_FILE_H

#include "base/arena.h"
#include "base/json.h"
#include "formats/source.h"
#include "verify/base.h"
#include "verify/base_sample.h"

enum base_part { BASE_LOGITS, BASE_IDS, BASE_CODES, BASE_LOG_SUMS, BASE_TARGETS, BASE_TOPS, BASE_THRESHOLDS, BASE_ROUTING,
                 BASE_PARTS }; /* in the order of the hash */
extern const char *const base_part_names[BASE_PARTS];

enum { BASE_HASH = 16 };

struct base_file {
    struct base_about about;
    struct arena arena;
    char *path;
    int32_t *tokens;
    /* ours */
    struct source *source;
    const struct tensor *parts[BASE_PARTS]; /* NULL: this form has none */
    uint8_t *hashes;                        /* [chunks][BASE_HASH] */
    size_t checked;                         /* chunk whose hash was compared last; SIZE_MAX: none */
    /* llama's */
    struct io_file file;
};

/* The list of tensors of our forms: shapes from *about. Fills at most BASE_PARTS + 4 of them. */
size_t base_tensors(const struct base_about *about, size_t about_bytes, struct tensor *list);

/* llama's form (base_llama.c). */
int base_llama_open(struct base_file *b, struct error *e);
int base_llama_score(struct base_file *b, size_t first, size_t n, const float *rows, int threads, struct position *positions, double *kld,
                     struct error *e);
int base_llama_list(struct base_file *b, size_t position, struct base_list *list, struct error *e);
uint64_t base_llama_header(const struct base_about *about);
uint64_t base_llama_record(size_t vocab); /* bytes of a position */
void base_llama_encode(const float *row, size_t vocab, uint16_t *record);

/* The candidate's side of a position, of its row of logits; returns ln of the softmax's denominator. */
double base_candidate(struct position *p, const float *row, size_t vocab);

/* A hash as it stands in a file. */
void base_hash_bytes(struct hash *h, uint8_t out[BASE_HASH]);

#endif
