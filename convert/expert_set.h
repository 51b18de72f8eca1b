/* SPDX-License-Identifier: MIT
 * Sets of routed experts, as --experts names them:
 *
 *   3-5:0-15,17;7     experts 0 to 15 and 17 of layers 3 to 5, all of layer 7
 *   @FILE             JSON: {"3": [0, 1, 17], "7": [..]}
 *   hot:16, cold:90%  by what a text used (expert_profile.h) */
#ifndef PARE_CONVERT_EXPERT_SET_H
#define PARE_CONVERT_EXPERT_SET_H

#include <stdint.h>

#include "base/error.h"
#include "model/model.h"

struct calibration;

struct expert_set {
    unsigned char *has; /* [layers][experts] */
    uint64_t layers, experts, n;
    int all; /* of the model */
};

/* NULL text: all. profile: of hot and cold sets, else NULL. ERR_USAGE (of a file ERR_FORMAT) for what is no list, for layers without routed experts and experts that do not exist;
 * ERR_UNSUPPORTED for experts that the model, a pack of only some, does not have. Clear it in either case. */
int expert_set_read(struct expert_set *s, const struct model *m, const char *text, const struct calibration *profile, struct error *e);
void expert_set_clear(struct expert_set *s);
int expert_set_has(const struct expert_set *s, int layer, uint64_t expert);

#endif
