/* SPDX-License-Identifier: MIT
 * Fuzz target: verify/server_kinds.h, verify/told.h. The input is a server's answer, read as each kind's. What passes has tokens of the
 * vocabulary, each once, probabilities that are some, and a finite bound that is not below 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "verify/told.h"

enum { VOCAB = 4096, POSITIONS = 4 };

static void must_judge(const struct told_entry *list, size_t n)
{
    int32_t ids[] = {1, 2, 3, 7, 4095};
    double log_p[] = {-0.5, -1.5, -3, -800, -30}, left[2];
    const struct base_list base = {sizeof ids / sizeof *ids, ids, log_p};
    struct position p = {0};
    size_t untold = 0;
    const double kl = told_bound(&base, list, n, left);
    must(isfinite(kl) && kl >= 0 && left[0] >= 0 && left[0] <= 1 && left[1] >= 0 && left[1] <= 1);
    told_best(list, n, &p);
    must(p.cand_top.n > 0 && p.cand_top.n <= TOP);
    for (int k = 1; k < p.cand_top.n; k++)
        must(p.cand_top.logit[k - 1] >= p.cand_top.logit[k]);
    for (int32_t id = 0; id < 10; id++) {
        const double log_q = told_target(list, n, id, &untold);
        must(log_q <= 0 && log_q >= -745);
    }
}

static void must_read(const struct server_kind *kind, const struct json *answer, size_t i)
{
    struct told t = {0};
    const char *what;
    struct told_entry *list = kind->read(answer, i, &t) ? NULL : told_check(&t, VOCAB, &what);
    if (list) {
        must(t.n > 0);
        for (size_t k = 0; k < t.n; k++) {
            must(list[k].id >= 0 && list[k].id < VOCAB && (!k || list[k].id > list[k - 1].id));
            must(list[k].log_p <= 0 && list[k].log_p >= -745);
        }
        must_judge(list, t.n);
    }
    free(list);
    told_clear(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    char *body = malloc(size + 1);
    must(body != NULL);
    memcpy(body, data, size);
    body[size] = '\0';
    struct json *answer = told_parse(body, size, &e);
    free(body);
    if (!answer)
        fuzz_must_say(&e);
    for (const struct server_kind *k = server_kinds; answer && k->name; k++)
        for (size_t i = 0; i < POSITIONS; i++)
            must_read(k, answer, i);
    json_free(answer);
    return 0;
}
