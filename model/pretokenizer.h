/* SPDX-License-Identifier: MIT
 * Pre-tokenizers: how text is cut into words before byte-level BPE. GGUF stores only a name for one. */
#ifndef PARE_MODEL_PRETOKENIZER_H
#define PARE_MODEL_PRETOKENIZER_H

#include <stddef.h>

enum { PRETOKENIZER_STEPS = 8 };

enum pretokenizer_kind {
    STEP_END,
    STEP_SPLIT,  /* cut at every match of `pattern`, the match a piece of its own ("Isolated") */
    STEP_DIGITS, /* every digit a piece of its own */
};

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    const char *pattern; /* regular expression with Unicode properties; NULL for STEP_DIGITS */
};

/* Steps in order, each applied to the pieces of the one before. */
struct pretokenizer {
    const char *name; /* tokenizer.ggml.pre */
    struct pretokenizer_step steps[PRETOKENIZER_STEPS];
};
extern const struct pretokenizer pretokenizers[]; /* ends with a row whose name is NULL */

/* The row with exactly these n steps, or NULL. */
const struct pretokenizer *pretokenizer_find(const struct pretokenizer_step *steps, size_t n);

#endif
