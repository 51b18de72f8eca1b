/* SPDX-License-Identifier: MIT
 * Which experts a text used, as `pare calibrate` saw it: sets of the hottest, and how much of a text a set covers. A set that was chosen on one
 * text says little about others until it was looked at on one. */
#ifndef PARE_CONVERT_EXPERT_PROFILE_H
#define PARE_CONVERT_EXPERT_PROFILE_H

#include "convert/calibration.h"
#include "convert/expert_set.h"

/* Whether a text names such a set: "hot:N", the N experts of each layer with the most gate mass, "hot:P%", as many of the hottest as have P % of
 * it, or "cold:..", all but those. */
int expert_set_is_profiled(const char *text);

/* Fills the set. Layers that the profile does not have, an MTP layer's, keep all experts. ERR_USAGE for what is no such text. */
int expert_set_add_profiled(struct expert_set *s, const struct model *m, const struct calibration *profile, const char *text, struct error *e);

/* How much of a calibration's text experts of a set serve; fractions, over all layers that the calibration has. */
struct expert_coverage {
    double choices; /* of the experts that tokens were sent to */
    double gates;   /* of the weight that these had in the output */
    double tokens;  /* of tokens, all of whose experts of a layer are in the set */
    double least;   /* the least of `choices` of any one layer, */
    int layer;      /* and which */
};
int expert_coverage(const struct expert_set *s, const struct calibration *c, struct expert_coverage *out, struct error *e);

#endif
