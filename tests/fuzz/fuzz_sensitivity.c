/* SPDX-License-Identifier: MIT
 * Fuzz target: convert/measured.h. The input is sensitivity.json. What is read has finite gains and predictions, and is the same when it is
 * written and read again. */
#include <math.h>
#include <string.h>

#include "convert/gains.h"
#include "tests/fuzz/fuzz.h"

static void must_equal(const struct measured *a, const struct measured *b)
{
    must(a->n == b->n && a->n_whole == b->n_whole && a->gain_tokens == b->gain_tokens);
    for (size_t i = 0; i < a->n; i++) {
        const struct measured_weight *v = &a->weights[i], *w = &b->weights[i];
        must(v->role == w->role && v->layer == w->layer && v->slabs == w->slabs && v->n_types == w->n_types && v->kl == w->kl);
        for (size_t k = 0; k < v->n_types; k++)
            for (size_t x = 0; x < v->slabs; x++)
                must((float)v->types[k].error[x] == (float)measured_errors(w, v->types[k].type)[x]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct measured m, again;
    struct error e = {0};
    fuzz_file("sensitivity.json", data, size);
    if (measured_read(&m, fuzz_folder(), "s", "g", &e)) {
        fuzz_must_say(&e);
        measured_clear(&m);
        return 0;
    }
    const struct gains_curve curve = gains_curve(&m);
    must(curve.power > 0 && isfinite(curve.scale));
    for (size_t i = 0; i < m.n; i++) {
        must(!i || m.weights[i - 1].layer < m.weights[i].layer || m.weights[i - 1].role < m.weights[i].role);
        must(isfinite(gains_of(&m, m.weights[i].role, m.weights[i].layer)) && isfinite(measured_coarse(&m.weights[i])));
    }
    must(!measured_write(&m, fuzz_folder(), &e) && !measured_read(&again, fuzz_folder(), "s", "g", &e));
    must_equal(&m, &again);
    measured_clear(&again);
    measured_clear(&m);
    return 0;
}
