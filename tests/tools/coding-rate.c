/* SPDX-License-Identifier: MIT
 * usage: coding-rate SOURCE THREADS
 * Bits per weight and speed of entropy coding on the FP8 codes of a source, 1 MiB at a time in memory, beside zlib; and the codes' zero-order
 * entropy, the mean over such pieces. One line per codec: name, bits, GB/s in, GB/s out. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/coding.h"
#include "formats/source.h"

enum { PIECE = 1 << 20, MOST = 512 };

struct piece {
    uint8_t *in, *out;
    size_t n, coded;
};

static struct piece pieces[MOST];
static size_t n_pieces;
static int level; /* of zlib; 0: ours */

static double entropy(const struct piece *p)
{
    double count[256] = {0}, bits = 0;
    for (size_t i = 0; i < p->n; i++)
        count[p->in[i]]++;
    for (int i = 0; i < 256; i++)
        bits -= count[i] > 0 ? count[i] * log2(count[i] / (double)p->n) : 0;
    return bits;
}

static void encode(struct piece *p)
{
    uLongf room = compressBound(PIECE);
    if (!level)
        coding_encode(p->in, p->n, 1, p->out, &p->coded, NULL);
    else if (compress2(p->out, &room, p->in, p->n, level) == Z_OK)
        p->coded = room;
}

static int decode(const struct piece *p, uint8_t *to)
{
    uLongf n = p->n;
    return level ? uncompress(to, &n, p->out, p->coded) != Z_OK || n != p->n : coding_decode(p->out, p->coded, to, p->n, NULL);
}

static void measure(const char *name, int threads, double total)
{
    double bits = 0, start = omp_get_wtime(), encoded, decoded;
    int wrong = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < n_pieces; i++)
        encode(&pieces[i]);
    encoded = omp_get_wtime() - start;
    start = omp_get_wtime();
#pragma omp parallel num_threads(threads) reduction(+ : wrong)
    {
        uint8_t *to = malloc(PIECE);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_pieces; i++)
            wrong += !to || decode(&pieces[i], to);
        free(to);
    }
    decoded = omp_get_wtime() - start;
    for (size_t i = 0; i < n_pieces; i++)
        bits += 8.0 * (double)pieces[i].coded;
    printf("%-10s %8.4f %8.2f %8.2f%s\n", name, bits / total, total / encoded / 1e9, total / decoded / 1e9, wrong ? "  WRONG" : "");
}

/* Whole pieces of FP8 tensors, a tensor's last one shorter. */
static int load(const char *path)
{
    struct error e = {0};
    struct source *s = source_open(path, &e);
    for (size_t i = 0; s && i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        for (uint64_t at = 0; !strcmp(t->type->name, "F8_E4M3") && at < t->bytes && n_pieces < MOST; at += PIECE) {
            struct piece *p = &pieces[n_pieces];
            p->n = t->bytes - at < PIECE ? (size_t)(t->bytes - at) : PIECE;
            p->in = malloc(PIECE);
            p->out = malloc(coding_bound(PIECE) + compressBound(PIECE));
            if (!p->in || !p->out || source_read(s, t, at, p->in, p->n, &e))
                return -1;
            n_pieces++;
        }
    }
    source_close(s);
    return n_pieces ? 0 : -1;
}

int main(int argc, char **argv)
{
    double total = 0, bits = 0;
    if (argc != 3 || load(argv[1])) {
        fprintf(stderr, "usage: coding-rate SOURCE THREADS, with FP8 codes in SOURCE\n");
        return 2;
    }
    for (size_t i = 0; i < n_pieces; i++) {
        total += (double)pieces[i].n;
        bits += entropy(&pieces[i]);
    }
    printf("%-10s %8s %8s %8s\n%-10s %8.4f\n", "", "bits", "GB/s in", "GB/s out", "entropy", bits / total);
    measure("rANS", atoi(argv[2]), total);
    measure("rANS", atoi(argv[2]), total);
    level = 1;
    measure("zlib -1", atoi(argv[2]), total);
    level = 6;
    measure("zlib -6", atoi(argv[2]), total);
    return 0;
}
