/* SPDX-License-Identifier: MIT
 * Gains: from a matrix's output error to the model's KL divergence, measured. One pass of the original model over some tokens carries many
 * streams: behind layer i a stream is born for each matrix of that layer (all its experts or heads), whose weights alone were off
 * by their coarse error, and goes on through the rest of the original model beside the others, so that weights are read once for
 * all. At the head each is held against the unperturbed stream, over all positions. The embedding's stream begins before
 * layer 0; of the output only the head differs. Beside them walk three models in which every matrix is off, by an eighth, a third
 * and once its coarse error. They tell the power p by which KL grows with the error: 1 for small errors of a smooth model, less where
 * they flip the decisions of routers, whose number goes with the error's size and not its square. So KL = (sum of gain * error)^p, and of one
 * matrix alone gain = KL^(1/p) / error.
 *
 * Where only some layers are measured, matrices of one kind share a stream (attention; gate and up; down; shared experts), and other layers
 * get what lies between, on a log scale. */
#ifndef PARE_CONVERT_GAINS_H
#define PARE_CONVERT_GAINS_H

#include "convert/measured.h"
#include "convert/stream.h"
#include "model/forward/forward.h"

struct gains_options {
    struct forward_tokens tokens;
    int threads, group_routing;
    uint64_t memory;     /* for activations; beyond it they go to files in `scratch` */
    const char *scratch;
    int layers;          /* how many are measured; 0: all, each matrix by itself */
};

enum { GAIN_LAYERS_ALL = 8, GAIN_LAYERS = 5 }; /* models with so many layers are measured whole; of others so many layers */

/* Measures what is missing of the weights in *m, which have their coarse errors: kl, whole, gain_tokens, gain_streams. Hooks count
 * layers. */
int gains_measure(const struct model *model, struct measured *m, const struct gains_options *o, const struct stream_hooks *hooks, struct error *e);

/* Whether so many layers' gains are all there. */
int gains_complete(const struct model *model, const struct measured *m, int layers);

/* What a matrix's error, as a part of its output, is multiplied with before all are added up; 0 for what was never measured. */
double gains_of(const struct measured *m, enum tensor_role role, int layer);

/* KL = scale * sum^power. */
struct gains_curve {
    double scale, power;
};
struct gains_curve gains_curve(const struct measured *m);
double gains_predict(const struct gains_curve *c, double sum);

#endif
