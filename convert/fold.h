/* SPDX-License-Identifier: MIT
 * Fold: exact symmetries of the model, used to make its weights easier to quantize. Neighbouring matrices are scaled against each
 * other and inner channels take another order; what the model computes stays the same up to the rounding of F32, and the output is an
 * ordinary file that every engine loads.
 *
 *   up-down  column i of an MLP's down times s_i, row i of its up divided by s_i: every dense MLP, shared and routed expert by itself
 *   permute  inner channels of such an MLP in another order: rows of gate and up, columns of down
 *   v-o      column d of o_proj times s_d, the row of a head's v_b that feeds it divided by s_d
 *   norms    a norm's weight j divided by s_j, column j of all that reads the normed vector times s_j: attn_norm -> q_a or q,
 *            kv_a_mqa, the indexer's k and proj; q_a_norm -> q_b, the indexer's q_b; kv_a_norm -> v_b, rows of k_b; ffn_norm -> gate
 *            and up of every MLP and the router
 *
 * The vectors follow from weights and importance alone (fold_choice.h), are made when a tensor that needs them comes up, and are the
 * same for any number of threads, memory and parts. */
#ifndef PARE_CONVERT_FOLD_H
#define PARE_CONVERT_FOLD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "convert/plan.h"

enum fold_flags {
    FOLD_UP_DOWN = 1 << 0,
    FOLD_PERMUTE = 1 << 1,
    FOLD_V_O = 1 << 2,
    FOLD_NORMS = 1 << 3,
    FOLD_ALL = FOLD_UP_DOWN | FOLD_PERMUTE | FOLD_V_O | FOLD_NORMS,
};

/* "up-down,v-o", "none" or "all". ERR_USAGE names what is neither. */
int fold_parse(const char *list, unsigned *flags, struct error *e);
/* The same text back. */
enum { FOLD_TEXT = 48 };
const char *fold_text(unsigned flags, char out[FOLD_TEXT]);

/* The state of a run: vectors that were made, as many as fold_memory says. */
struct fold;

/* NULL with ERR_MEMORY. The plan must outlive it. */
struct fold *fold_new(const struct plan *p, struct error *e);
void fold_free(struct fold *f); /* NULL is allowed; all slabs have been put back */

/* Bytes that folding takes at most, for all threads together and for each. 0 for a plan without. */
uint64_t fold_memory(const struct plan *p, uint64_t *per_thread);

/* What happens to a slab W [rows][cols] of a tensor:
 *   W'[i][j] = rows[r] * W[r][c] * cols[c]    with r = row_from[i], c = col_from[j]
 * NULL: ones, or the order as it is. The inputs of the folded slab are x'[j] = x[c] / cols[c]. So, with D = diag(cols) and the
 * permutation P that takes column c to j, mean squares become P D^-2 h and a Hessian P D^-1 H D^-1 P'. */
struct fold_slab {
    const float *rows, *cols;
    const uint32_t *row_from, *col_from;
    struct fold_vector *held[2]; /* fold.c's: what the pointers point into */
};

/* Fills *out for slab `slab` of a tensor of the plan; waits when another thread is at it. Put back whatever was got. Thread-safe. Errors
 * are those of reading weights. */
int fold_get(struct fold *f, const struct plan_tensor *t, uint64_t slab, struct fold_slab *out, struct error *e);
void fold_put(struct fold *f, struct fold_slab *s);

/* Rows of a slab, as they were read, become what is to be encoded. Rows that come from elsewhere in the slab are read.
 *   x       [n_rows][cols], rows row0 .. of the slab
 *   out     [n_rows][cols]
 *   amax    a bound on the magnitudes of x; of out afterwards
 * Returns x when nothing is done to this slab, out, or NULL with *e set. Thread-safe. */
const float *fold_rows(struct fold *f, const struct plan_tensor *t, uint64_t slab, uint64_t row0, uint64_t n_rows, const float *x,
                       float *out, float *amax, struct error *e);

/* Mean squares of a slab's inputs become those of the folded slab's, in place: w [cols], followed by room for as many. */
int fold_importance(struct fold *f, const struct plan_tensor *t, uint64_t slab, float *w, struct error *e);

#endif
