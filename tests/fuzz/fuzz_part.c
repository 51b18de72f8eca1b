/* SPDX-License-Identifier: MIT
 * Fuzz target: verify/part.h. The input is a part of a verification; a second one may follow behind a NUL. What merges,
 * saved as one part and merged again, is the same. */
#include <math.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "verify/metrics.h"
#include "verify/part.h"

/* Bit by bit, but a NaN has no one form. */
static void must_equal(const struct comparison *a, const struct comparison *b)
{
    must(a->chunks == b->chunks && a->ctx == b->ctx && a->total_chunks == b->total_chunks && a->n_dense == b->n_dense);
    must(a->n_layers == b->n_layers && a->n_experts == b->n_experts && a->experts_used == b->experts_used);
    must(a->n_scores == b->n_scores && a->has_candidate == b->has_candidate && a->has_mtp == b->has_mtp);
    for (size_t i = 0; i < a->n_scores; i++) {
        const struct score *s = &a->scores[i], *t = &b->scores[i];
        must(s->chunk == t->chunk && s->position == t->position && s->target == t->target && s->top_base == t->top_base);
        must(s->nll_base == t->nll_base && s->kld == t->kld && s->p_cand == t->p_cand && s->same_top5 == t->same_top5);
        must(s->chunk < a->chunks && s->position < a->ctx && s->same_top5 <= 5 && s->routing_changed <= 1);
    }
    for (size_t i = 0; i < a->n_layers; i++)
        must(a->layers[i].is_moe == b->layers[i].is_moe && (a->layers[i].local == b->layers[i].local ||
                                                            isnan(a->layers[i].local)));
    for (size_t i = 0; i < a->n_layers * a->n_experts; i++)
        must(a->experts[i].tokens_base == b->experts[i].tokens_base && a->experts[i].error2 == b->experts[i].error2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t first = end ? (size_t)(end - data) : size;
    const char *paths[] = {fuzz_file("1.json", data, first), fuzz_path("2.json")}, *merged = fuzz_path("merged.json");
    struct comparison c, again;
    struct part_info info, info_again;
    struct error e = {0};
    struct summary s;
    if (end)
        fuzz_file("2.json", end + 1, size - first - 1);
    if (part_merge(paths, end ? 2 : 1, &c, &info, &e)) {
        fuzz_must_say(&e);
    } else {
        must(!metrics_summarize(&c, &s));
        must(!part_save(&c, &info, merged, &e) && !part_merge(&merged, 1, &again, &info_again, &e));
        must_equal(&c, &again);
        comparison_clear(&again);
        part_info_clear(&info_again);
    }
    comparison_clear(&c);
    part_info_clear(&info);
    return 0;
}
