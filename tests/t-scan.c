/* SPDX-License-Identifier: MIT
 * The scan for NaN and infinity: its index and the largest magnitude before it, at every place around its chunks. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "quant/scan.h"
#include "tests/tap.h"

enum { N = 10000 };

int main(void)
{
    static float x[N];
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const size_t places[] = {0, 1, 7, 4094, 4095, 4096, 4097, 8191, 8192, N - 1};
    uint64_t state = 1;
    float amax = -1, want = 0;
    int wrong = 0, wrong_amax = 0;

    plan(7);
    ok(scan_finite(x, 0, &amax) == 0 && amax == 0, "no numbers: 0, largest magnitude 0");
    for (size_t i = 0; i < N; i++)
        x[i] = rng_gauss(&state);
    x[5000] = -70;
    ok(scan_finite(x, N, &amax) == N && amax == 70, "10,000 numbers: none bad, the largest magnitude is that of -70");
    x[5000] = -FLT_MAX;
    ok(scan_finite(x, N, &amax) == N && amax == FLT_MAX, "FLT_MAX is no infinity");
    x[5000] = 0;
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        size_t at = places[p];
        float was = x[at];
        want = 0;
        for (size_t i = 0; i < at; i++)
            want = fmaxf(want, fabsf(x[i]));
        for (int b = 0; b < 4; b++) {
            x[at] = bad[b];
            wrong += scan_finite(x, N, &amax) != at;
            wrong_amax += amax != want;
        }
        x[at] = was;
    }
    ok(!wrong, "NaN and infinity of both signs at 10 places: their index");
    ok(!wrong_amax, "and the largest magnitude before them");
    x[9000] = NAN;
    x[9001] = NAN;
    x[200] = INFINITY;
    ok(scan_finite(x, N, &amax) == 200, "of three the first");
    ok(scan_finite(x, 200, &amax) == 200, "what stands behind the end is not looked at");
    return done();
}
