/* SPDX-License-Identifier: MIT
 * Entropy coding: what is decoded is what was coded, in about as many bits as its entropy, the same on every instruction set, and damage is
 * an error. */
#include <htscodecs/rANS_static4x16.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/coding.h"
#include "base/hash.h"
#include "tests/tap.h"

enum { MOST = 1 << 20 };

static uint64_t state = 1;
static uint32_t next(void)
{
    return (uint32_t)rng_next(&state);
}

/* A byte near 0 or near 128, like the codes of FP8 weights. */
static uint8_t skewed(void)
{
    uint32_t a = next() >> 24, b = next() >> 24, c = next() >> 24;
    return (uint8_t)((a + b + c) / 6 | (next() >> 31 << 7));
}

static double entropy(const uint8_t *in, size_t n)
{
    double count[256] = {0}, bits = 0;
    for (size_t i = 0; i < n; i++)
        count[in[i]]++;
    for (int i = 0; i < 256; i++)
        bits -= count[i] > 0 ? count[i] / (double)n * log2(count[i] / (double)n) : 0;
    return bits;
}

static void fill(uint8_t *in, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++)
        in[i] = kind == 0 ? skewed() : kind == 1 ? (uint8_t)(next() >> 24) : kind == 2 ? 7 : (uint8_t)(i % 4 == 3 ? 60 + next() % 3 : next() >> 24);
}

static void round_trips(void)
{
    static const size_t sizes[] = {0, 1, 2, 31, 32, 33, 1000, 4097, MOST - 3, MOST};
    static const char *const kinds[] = {"skewed", "random", "equal", "four-byte"};
    uint8_t *in = malloc(MOST), *back = malloc(MOST), *coded = malloc(coding_bound(MOST));
    for (int kind = 0; kind < 4; kind++)
        for (unsigned element = 1; element <= 4; element *= 2) {
            int right = 1;
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                size_t size = 0;
                fill(in, sizes[i], kind);
                memset(back, 0xaa, MOST);
                right &= !coding_encode(in, sizes[i], element, coded, &size, NULL) && size <= sizes[i] + CODING_MORE &&
                         !coding_decode(coded, size, back, sizes[i], NULL) && !memcmp(in, back, sizes[i]);
            }
            ok(right, "%s bytes as numbers of %u come back", kinds[kind], element);
        }
    free(in);
    free(back);
    free(coded);
}

static void near_entropy(void)
{
    uint8_t *in = malloc(MOST), *coded = malloc(coding_bound(MOST));
    size_t size = 0;
    fill(in, MOST, 0);
    double least = entropy(in, MOST);
    ok(!coding_encode(in, MOST, 1, coded, &size, NULL) && (double)size * 8 / MOST < least + 0.03,
       "skewed bytes take no more than their entropy and 0.03 bit each");
    fill(in, MOST, 1);
    ok(!coding_encode(in, MOST, 1, coded, &size, NULL) && size < MOST + 64, "random bytes hardly grow");
    free(in);
    free(coded);
}

static void every_instruction_set(void)
{
    static const int sets[] = {0, RANS_CPU_ENC_SSE4, RANS_CPU_ENC_AVX2, RANS_CPU_ENC_AVX512};
    uint8_t *in = malloc(MOST), *coded = malloc(coding_bound(MOST));
    uint64_t hash[4];
    fill(in, MOST, 0);
    for (int i = 0; i < 4; i++) {
        size_t size = 0;
        rans_set_cpu(sets[i]); /* of those that the machine has */
        coding_encode(in, MOST, 1, coded, &size, NULL);
        hash[i] = hash_64(coded, size, 0);
    }
    rans_set_cpu(0xffff);
    ok(hash[0] == hash[1] && hash[0] == hash[2] && hash[0] == hash[3], "the coded bytes are the same on every instruction set");
    ok(hash[0] == UINT64_C(0x6c099afc24e8ca5e), "and those of the release that packs were first made with");
    free(in);
    free(coded);
}

static void damage(void)
{
    uint8_t in[5000], back[5001], coded[8000];
    size_t size = 0;
    int wrong = 0, told = 0;
    struct error e;
    fill(in, sizeof in, 0);
    coding_encode(in, sizeof in, 1, coded, &size, NULL);
    ok(coding_decode(coded, size, back, sizeof in - 1, &e) && e.code == ERR_FORMAT, "fewer bytes than were coded are an error");
    ok(coding_decode(coded, size, back, sizeof in + 1, &e) && e.code == ERR_FORMAT, "so are more");
    for (size_t i = 0; i < size; i++)
        if (!coding_decode(coded, i, back, sizeof in, &e))
            wrong += memcmp(in, back, sizeof in) == 0;
    ok(!wrong, "no part of the coded bytes stands for the whole");
    for (size_t i = 0; i < 8 * size; i++) {
        coded[i / 8] ^= (uint8_t)(1 << i % 8);
        told += coding_decode(coded, size, back, sizeof in, &e) != 0;
        coded[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    ok(told > 0, "a flipped bit is an error or other bytes, and never more than there is room for");
}

int main(void)
{
    round_trips();
    near_entropy();
    every_instruction_set();
    damage();
    return done();
}
