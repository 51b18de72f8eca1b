/* SPDX-License-Identifier: MIT
 * Sequential conversion: half of a layer by half of a layer, attention then MLP. The inputs of a half are collected behind what is
 * quantized already (its own stream of hidden states), and its weights are rounded so that on these inputs they give what the
 * original weights give on the original ones: later layers make good what earlier ones did.
 *
 * Three passes walk side by side: the original model with the original states, the original weights with the states behind the
 * quantized layers, and the quantized model, read back from OUT.partial. What a half needs lies in OUT.calib for its moment; the
 * hidden states behind the last whole layer stay there until the end, so that an interrupted run goes on at its layer. */
#ifndef PARE_CONVERT_SEQUENTIAL_H
#define PARE_CONVERT_SEQUENTIAL_H

#include "convert/stream.h"

/* As stream_run, in this order. p->options.sequential says the tokens, p->options.calib is a
 * calibration_new for them that follows. `partial` is the output file,
 * whose header is written. anew: nothing of an earlier run is gone on
 * with. */
int sequential_run(const struct plan *p, const char *partial, const char *tool, struct outputs *out, struct keeper *keeper,
                   struct stream_state *state, const struct stream_hooks *hooks, int anew, struct error *e);

/* For plans: what the passes keep all the time (hidden states and what a layer makes of them; what is beyond their share of --memory
 * goes to files), and second moments at their most while a half is collected. */
struct sequential_memory {
    uint64_t activations, moments;
};
struct sequential_memory sequential_memory(const struct plan *p, int threads);

#endif
