/* SPDX-License-Identifier: MIT
 * Model cards: one line of one file. */
#include "cli/card.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/io.h"

enum { MAX_CARD = 1 << 20 };
static const char mark[] = "Quality:";

/* The mark at the beginning of a line, or NULL. */
static char *find_line(char *card)
{
    char *at = strstr(card, mark);
    while (at && at != card && at[-1] != '\n')
        at = strstr(at + 1, mark);
    return at;
}

static void add_quality(const struct report *r, const char *text, struct buffer *b)
{
    const struct summary *s = &r->summary;
    buffer_printf(b, "%s KL divergence %.6f +- %.6f nats against %s, perplexity %.4f +- %.4f against %.4f, same best token %.2f %%,", mark, s->kld,
                  s->kld_stderr, r->base_name, s->cand_ppl, s->cand_ppl_stderr, s->base_ppl, 100 * s->top1);
    buffer_printf(b, " over %.0f positions of %s.", s->positions, text);
}

int card_write(const char *folder, const struct report *r, const char *text, struct error *e)
{
    char *path = io_join(folder, "README.md"), *card = NULL, *at;
    struct buffer b = {0};
    size_t n;
    int rc = path ? io_read_all(path, MAX_CARD, &card, &n, e) : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (!rc && !(at = find_line(card))) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--card: the card has no line that begins with '%s'", mark);
        rc = error_at_file(e, path);
    } else if (!rc) {
        const char *rest = at + strcspn(at, "\n");
        buffer_add(&b, card, (size_t)(at - card));
        add_quality(r, text, &b);
        buffer_text(&b, rest);
        rc = b.failed ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : io_write_all(path, b.data, b.size, e);
    }
    buffer_clear(&b);
    free(card);
    free(path);
    return rc;
}
