/* SPDX-License-Identifier: MIT
 * Close-ups: the worst positions of a comparison with the best tokens of both models and the text around them. */
#ifndef PARE_VERIFY_CLOSEUPS_H
#define PARE_VERIFY_CLOSEUPS_H

#include "model/tokenizer.h"
#include "verify/compare.h"

/* Whether x comes before y: the larger divergence, else the earlier position. */
int closeup_before(const struct closeup *x, const struct closeup *y);
/* Takes a position in if it is among the worst. */
void closeup_offer(struct comparison *c, const struct score *s, const struct position *p);
/* The same of a finished one, whose texts it takes over (or frees). */
void closeup_insert(struct comparison *c, struct closeup *x);
void closeup_clear(struct closeup *x);

/* Gives them their texts. tokens [chunks][ctx] of the comparison's chunks. ERR_MEMORY. */
int closeups_tell(struct comparison *c, const int32_t *tokens, const struct tokenizer *t, struct error *e);

#endif
