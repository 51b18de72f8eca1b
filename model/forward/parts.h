/* SPDX-License-Identifier: MIT
 * Parts of a layer, shared between the files of model/forward only. All work on all streams of f; x is the normed input,
 * and the result is added to f->hidden. They return 0, or -1 with *e set. */
#ifndef PARE_MODEL_FORWARD_PARTS_H
#define PARE_MODEL_FORWARD_PARTS_H

#include "model/forward/forward.h"

int attention_add(struct forward *f, int layer, const struct panels *x, struct error *e);
int mlp_add(struct forward *f, int layer, const struct panels *x, struct error *e);

/* Routes every token: f->chosen and f->gates. */
int route_all(struct forward *f, int layer, const struct panels *x, struct error *e);

/* ERR_FORMAT, naming model, tensor, layer, chunk and token, when a hidden state is NaN or infinite behind the part of the
 * layer that ends with the given role. */
int check_finite(const struct forward *f, enum tensor_role role, int layer, struct error *e);

/* gate/up/down of one MLP: y = down(silu(gate x) * (up x)), for the matrices of one slab. `inner` is what an observer is told of
 * the inside, x aside. Panels of the right sizes are made and freed inside. */
int mlp_product(const struct forward *f, const struct weight w[3], uint64_t slab, const struct panels *x, struct panels *y,
                struct input_seen inner, struct error *e);

/* -1 with ERR_INTERRUPTED when the pass is to stop. */
int check_stop(const struct forward *f, struct error *e);

/* Tells the observer, if there is one. */
int observe(const struct forward *f, const struct input_seen *what, struct error *e);

/* What a product with a slab of w reads: x itself, or a copy that is rounded as the pass rounds for this weight. NULL on error. Clear the
 * copy (zeroed panels are safe) in either case. */
const struct panels *round_input(const struct forward *f, const struct weight *w, uint64_t slab, const struct panels *x, struct panels *copy,
                                 struct error *e);

/* f->rope_cos, rope_sin, softmax_scale. */
int rope_init(struct forward *f, struct error *e);
/* Rotates the pairs (rows 2j, 2j+1) of `rows` rows of one tile whose first token is at `position`. */
void rope_rotate(const struct forward *f, float *rows, size_t position);

/* V3.2: keys that each query may attend to, as bits. NULL mask: all (dense). [tiles][words per query row]... see indexer.c */
struct indexer_mask {
    uint8_t *allowed; /* [tiles][ctx padded][LANES]: 1 where query lane may see key j; NULL: everything */
    struct panels memory; /* its bytes; the caller clears it, also after an error */
};
int indexer_select(struct forward *f, int layer, const struct panels *x, const struct panels *q_a,
                   struct indexer_mask *mask, struct error *e);

/* Shorthand: the weight of a role that must exist; those of gate, up and down of an MLP whose gate has this role. */
int need_weight(const struct forward *f, enum tensor_role role, int layer, struct weight *w, struct error *e);
int need_three(const struct forward *f, enum tensor_role gate, int layer, struct weight w[3], struct error *e);
/* Reads a vector (norm weights, biases) into malloc'd floats. NULL on error. */
float *read_vector(const struct forward *f, enum tensor_role role, int layer, struct error *e);
/* to += from, all lanes. */
void panels_add(const struct forward *f, struct panels *to, const struct panels *from);

#endif
