/* SPDX-License-Identifier: MIT
 * Close-ups: a short list, sorted by insertion. */
#include "verify/closeups.h"

#include <stdlib.h>
#include <string.h>

#include "model/forward/det_math.h"
#include "model/unicode.h"

enum { BEFORE = 40, AFTER = 8 }; /* tokens of text around */

int closeup_before(const struct closeup *x, const struct closeup *y)
{
    if (x->kld != y->kld)
        return x->kld > y->kld;
    return x->chunk != y->chunk ? x->chunk < y->chunk : x->position < y->position;
}

void closeup_clear(struct closeup *x)
{
    free(x->target.text);
    free(x->before);
    free(x->after);
    for (int i = 0; i < TOP; i++) {
        free(x->base[i].text);
        free(x->cand[i].text);
    }
    *x = (struct closeup){0};
}

void closeup_insert(struct comparison *c, struct closeup *x)
{
    size_t i = c->n_closeups;
    if (i == CLOSEUPS) {
        if (!closeup_before(x, &c->closeups[i - 1])) {
            closeup_clear(x);
            return;
        }
        closeup_clear(&c->closeups[--i]);
    } else {
        c->n_closeups++;
    }
    for (; i && closeup_before(x, &c->closeups[i - 1]); i--)
        c->closeups[i] = c->closeups[i - 1];
    c->closeups[i] = *x;
    *x = (struct closeup){0};
}

static void choices(const struct top_list *top, const struct softmax_sum *sum, struct choice to[TOP])
{
    for (int i = 0; i < TOP; i++)
        to[i] = i < top->n ? (struct choice){top->id[i], (float)det_exp((double)top->logit[i] - softmax_log(sum)), NULL} : (struct choice){-1, 0, NULL};
}

void closeup_offer(struct comparison *c, const struct score *s, const struct position *p)
{
    struct closeup x = {.chunk = s->chunk, .position = s->position, .kld = s->kld, .target = {s->target, s->p_base, NULL}, .p_cand = s->p_cand};
    if (!(s->kld > 0) || (c->n_closeups == CLOSEUPS && !closeup_before(&x, &c->closeups[CLOSEUPS - 1])))
        return;
    choices(&p->base_top, &p->base, x.base);
    choices(&p->cand_top, &p->cand, x.cand);
    closeup_insert(c, &x);
}

/* Text of n tokens: bytes that are no UTF-8, as when a character is cut, are repaired. NULL when out of memory. */
static char *text_of(const struct tokenizer *t, const int32_t *ids, size_t n)
{
    struct buffer raw = {0};
    char *text = NULL;
    for (size_t i = 0; i < n; i++)
        tokenizer_piece(t, ids[i], &raw);
    if (!raw.failed && (text = malloc(3 * raw.size + 1)))
        text[utf8_repair(raw.data ? raw.data : "", raw.size, text)] = '\0';
    buffer_clear(&raw);
    return text;
}

static int tell_choice(const struct tokenizer *t, struct choice *x)
{
    return x->id >= 0 && !(x->text = text_of(t, &x->id, 1));
}

int closeups_tell(struct comparison *c, const int32_t *tokens, const struct tokenizer *t, struct error *e)
{
    int failed = 0;
    for (size_t k = 0; k < c->n_closeups; k++) {
        struct closeup *x = &c->closeups[k];
        const int32_t *chunk = tokens + (x->chunk - c->first_chunk) * c->ctx;
        size_t at = x->position + 1, first = at > BEFORE ? at - BEFORE : 1, end = at + 1 + AFTER < c->ctx ? at + 1 + AFTER : c->ctx;
        failed |= !(x->before = text_of(t, chunk + first, at - first)) || !(x->after = text_of(t, chunk + at + 1, end - at - 1)) ||
                  tell_choice(t, &x->target);
        for (int i = 0; i < TOP && !failed; i++)
            failed |= tell_choice(t, &x->base[i]) || tell_choice(t, &x->cand[i]);
    }
    return failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for the texts of the worst positions") : 0;
}
