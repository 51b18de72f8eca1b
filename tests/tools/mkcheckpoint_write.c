/* SPDX-License-Identifier: MIT
 * mkcheckpoint, second half: the values of the tensors, number formats, shards, safetensors files.
 *
 * The file order is the reference writer's: dtype descending, then name, header padded with spaces
 * to 8 bytes.  Memory is one row of tiles: 128 rows of one tensor.
 * Source: huggingface/safetensors, safetensors/src/tensor.rs. */
#define _POSIX_C_SOURCE 200809L
#include "mkcheckpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(int code, const char *format, ...)
{
    va_list args;
    fputs("mkcheckpoint: error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(code);
}

void *must(void *p)
{
    if (!p)
        die(EXIT_IO, "out of memory");
    return p;
}

/* ---- number formats ---- */

static uint32_t encode_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static uint32_t encode_bf16(float x)
{
    uint32_t bits = encode_f32(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Nearest code, ties to even, saturating at max. */
static uint32_t minifloat(float x, int mantissa, int bias, float max, uint32_t sign)
{
    float a = fminf(fabsf(x), max);
    uint32_t bits = encode_f32(a), drop = 23 - (uint32_t)mantissa, code;
    if (bits < (128u - (uint32_t)bias) << 23)   /* subnormal: below 2^(1 - bias) */
        code = (uint32_t)rintf(ldexpf(a, bias - 1 + mantissa));
    else
        code = ((bits + (1u << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop) -
               ((127u - (uint32_t)bias) << mantissa);
    return code | (signbit(x) ? sign : 0);
}

static uint32_t encode_e4m3(float x)
{
    return minifloat(x, 3, 7, 448, 0x80);
}

static uint32_t encode_f16(float x)
{
    return minifloat(x, 10, 15, 65504, 0x8000);
}

static uint32_t encode_exponent(float x)    /* of a power of two: value 2^(code - 127) */
{
    return encode_f32(x) >> 23;
}

static const struct {
    const char *name;
    unsigned size;
    uint32_t (*encode)(float);
} dtypes[N_DTYPES] = {
    [U8] = {"U8", 1, encode_exponent},
    [F8_E4M3] = {"F8_E4M3", 1, encode_e4m3},
    [F8_E8M0] = {"F8_E8M0", 1, encode_exponent},
    [F16] = {"F16", 2, encode_f16},
    [BF16] = {"BF16", 2, encode_bf16},
    [I32] = {"I32", 4, NULL},
    [F32] = {"F32", 4, encode_f32},
    [I64] = {"I64", 8, NULL},
};

static void put(uint8_t **to, enum dtype dtype, float x)
{
    uint32_t bits = dtypes[dtype].encode(x);
    for (unsigned i = 0; i < dtypes[dtype].size; i++)
        *(*to)++ = (uint8_t)(bits >> 8 * i);
}

/* ---- values ---- */

static uint64_t mix(uint64_t z)         /* splitmix64's output function */
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t random_at(uint64_t seed, uint64_t i)
{
    return mix(seed + (i + 1) * 0x9e3779b97f4a7c15);
}

/* Nearly Gaussian, mean 0, deviation 1, at most 3.47 from 0: the sum of four 16-bit uniforms. */
static float gauss_at(uint64_t seed, uint64_t i)
{
    uint64_t r = random_at(seed, i);
    int sum = (int)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    return (float)(sum - 131070) * (1 / 37837.227f);
}

static uint64_t name_seed(const struct checkpoint *c, const char *name)
{
    uint64_t h = 0xcbf29ce484222325 ^ mix((uint64_t)c->p.seed);
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3;
    return mix(h);
}

static uint64_t tiles(uint64_t n)
{
    return (n + TILE - 1) / TILE;
}

/* Rows row .. row + n - 1, all in one row of tiles. */
static void fill_band(const struct tensor *t, uint64_t seed, uint64_t row, uint64_t n, float *band)
{
    for (uint64_t j = 0; j < tiles(t->cols); j++) {
        uint64_t tile = row / TILE * tiles(t->cols) + j;
        float gain = t->std;
        if (t->tiled)                   /* 0.5 .. 1.5: a neighbour's scale must not fit */
            gain *= 0.5f + (float)(random_at(~seed, tile) >> 40) * 0x1p-24f;
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t k = j * TILE; k < (j + 1) * TILE && k < t->cols; k++) {
                float noise = gain * gauss_at(seed, (row + r) * t->cols + k);
                band[r * t->cols + k] = t->mean + noise;
            }
    }
}

static float ceil_pow2(float x)
{
    int e;
    return frexpf(x, &e) == 0.5f ? x : ldexpf(1, e);
}

/* The scales of one row of tiles: amax / 448, or the power of two above. */
static void tile_scales(const struct checkpoint *c, const struct tensor *t, const float *band,
                        uint64_t n, float *scale)
{
    float odd = t->odd ? 1.32287562f : 1;
    for (uint64_t j = 0; j < tiles(t->cols); j++) {
        float amax = 0;
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t k = j * TILE; k < (j + 1) * TILE && k < t->cols; k++)
                amax = fmaxf(amax, fabsf(band[r * t->cols + k]));
        scale[j] = amax > 0 ? amax / 448 : 1;
        if (c->pow2)
            scale[j] = ceil_pow2(scale[j] / odd) * odd;
    }
}

static uint8_t *encode_band(const struct tensor *t, const float *band, uint64_t n,
                            const float *scale, uint8_t *to)
{
    bool scaled = t->dtype == F8_E4M3;
    if (t->is_scale)
        for (uint64_t j = 0; j < tiles(t->cols); j++)
            put(&to, t->dtype, scale[j]);
    else
        for (uint64_t i = 0; i < n * t->cols; i++)
            put(&to, t->dtype, scaled ? band[i] / scale[i % t->cols / TILE] : band[i]);
    return to;
}

static void write_whole(uint64_t n, unsigned size, FILE *f)
{
    for (unsigned i = 0; i < size; i++)
        fputc((int)(n >> 8 * i & 0xff), f);
}

/* INT4 codes from -7 to 7, all as frequent: their deviation is 4.3 scales. */
static void write_packed(const struct checkpoint *c, const struct tensor *t, FILE *f)
{
    uint64_t seed = name_seed(c, t->values);
    for (int i = 0; i < 2 && t->dtype == I64; i++)
        write_whole(t->of[i], 8, f);
    for (uint64_t i = 0; t->dtype == I32 && i < t->rows * t->cols; i++) {
        uint64_t word = 0;
        for (uint64_t k = 0; k < 8; k++)
            word |= (1 + random_at(seed, 8 * i + k) % 15) << 4 * k;
        write_whole(word, 4, f);
    }
    for (uint64_t i = 0; t->is_step && i < t->rows * t->cols; i++) {
        float size = 0.5f + (float)(random_at(seed, i) >> 40) * 0x1p-24f;
        write_whole(encode_bf16(t->std * size / 4.3f), 2, f);
    }
}

/* A scale tensor makes its weight once more to know the maxima, wherever the weight is stored. */
static void write_values(const struct checkpoint *c, const struct tensor *t, FILE *f)
{
    if (t->dtype == I32 || t->dtype == I64 || t->is_step) {
        write_packed(c, t, f);
        return;
    }
    uint64_t depth = t->rows < TILE ? t->rows : TILE, seed = name_seed(c, t->values);
    float *band = must(malloc(depth * t->cols * sizeof *band));
    float *scale = must(malloc(tiles(t->cols) * sizeof *scale));
    uint8_t *bytes = must(malloc(depth * t->cols * dtypes[t->dtype].size));
    for (uint64_t row = 0; row < t->rows; row += TILE) {
        uint64_t n = t->rows - row < TILE ? t->rows - row : TILE;
        fill_band(t, seed, row, n, band);
        if (t->is_scale || t->dtype == F8_E4M3)
            tile_scales(c, t, band, n, scale);
        fwrite(bytes, 1, (size_t)(encode_band(t, band, n, scale, bytes) - bytes), f);
    }
    free(band);
    free(scale);
    free(bytes);
}

/* ---- shards and files ---- */

static uint64_t stored_bytes(const struct tensor *t)
{
    uint64_t elements = t->is_scale ? tiles(t->rows) * tiles(t->cols) : t->rows * t->cols;
    return elements * dtypes[t->dtype].size;
}

/* Shards of about equal size.  The tensor that crosses a boundary stays before it: mostly a
 * weight, whose scale then opens the next shard, as in the release. */
void assign_shards(struct checkpoint *c)
{
    size_t shards = (size_t)c->p.shards, k = 0;
    uint64_t here = 0, left;            /* in shard k so far; from the start of shard k */
    if (shards > c->n)
        die(EXIT_USAGE, "--shards %zu: there are only %zu tensors", shards, c->n);
    for (size_t i = 0; i < c->n; i++)
        c->bytes += stored_bytes(&c->t[i]);
    left = c->bytes;
    c->first = must(calloc(shards + 1, sizeof *c->first));
    for (size_t i = 0; i < c->n; i++) {
        bool full = here >= left / (shards - k) || c->n - i < shards - k;
        if (here && full && k + 1 < shards) {
            left -= here;
            here = 0;
            c->first[++k] = i;
        }
        here += stored_bytes(&c->t[i]);
    }
    c->first[shards] = c->n;
}

FILE *create_file(const struct checkpoint *c, const char *name)
{
    size_t size = strlen(c->out) + strlen(name) + 2;
    char *path = must(malloc(size));
    snprintf(path, size, "%s/%s", c->out, name);
    FILE *f = fopen(path, "wbx");
    if (!f)
        die(EXIT_IO, "%s: '%s'", strerror(errno), path);
    free(path);
    return f;
}

void finish_file(const struct checkpoint *c, FILE *f, const char *name)
{
    bool bad = ferror(f);
    if (fclose(f) || bad)
        die(EXIT_IO, "cannot write: '%s/%s'", c->out, name);
}

static bool copy_file(const struct checkpoint *c, const char *name)
{
    char buffer[1 << 16];
    size_t size = strlen(c->tokenizer) + strlen(name) + 2, n;
    char *path = must(malloc(size));
    snprintf(path, size, "%s/%s", c->tokenizer, name);
    FILE *from = fopen(path, "rb");
    if (!from && errno != ENOENT)
        die(EXIT_IO, "%s: '%s'", strerror(errno), path);
    free(path);
    if (!from)
        return false;
    FILE *to = create_file(c, name);
    while ((n = fread(buffer, 1, sizeof buffer, from)))
        fwrite(buffer, 1, n, to);
    if (ferror(from))
        die(EXIT_IO, "cannot read: '%s/%s'", c->tokenizer, name);
    fclose(from);
    finish_file(c, to, name);
    return true;
}

void copy_tokenizer(const struct checkpoint *c)
{
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    };
    int copied = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        copied += copy_file(c, names[i]);
    if (!copied)
        die(EXIT_IO, "no tokenizer files: '%s'", c->tokenizer);
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_dtype(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return (*x)->dtype != (*y)->dtype ? (int)(*y)->dtype - (int)(*x)->dtype : by_name(a, b);
}

static struct tensor **sorted(const struct checkpoint *c, size_t from, size_t to,
                              int (*order)(const void *, const void *))
{
    struct tensor **list = must(malloc((to - from) * sizeof *list));
    for (size_t i = from; i < to; i++)
        list[i - from] = &c->t[i];
    qsort(list, to - from, sizeof *list, order);
    return list;
}

static void header_entry(FILE *f, const struct tensor *t)
{
    uint64_t rows = t->is_scale ? tiles(t->rows) : t->rows;
    uint64_t cols = t->is_scale ? tiles(t->cols) : t->cols;
    fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, dtypes[t->dtype].name);
    if (!t->vector)
        fprintf(f, "%" PRIu64 ",", rows);
    fprintf(f, "%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", cols, t->begin,
            t->begin + stored_bytes(t));
}

/* Places the tensors, writes the length (u64, little-endian) and the JSON; returns the size of
 * the whole file. */
static uint64_t write_header(FILE *f, struct tensor **list, size_t n)
{
    char *json = NULL;
    size_t length = 0;
    uint64_t at = 0;
    FILE *m = must(open_memstream(&json, &length));
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", m);
    for (size_t i = 0; i < n; i++) {
        list[i]->begin = at;
        at += stored_bytes(list[i]);
        header_entry(m, list[i]);
    }
    bool bad = fputc('}', m) == EOF;
    if (fclose(m) || bad)
        die(EXIT_IO, "out of memory");
    uint64_t padded = (length + 7) / 8 * 8;
    for (int i = 0; i < 8; i++)
        fputc((int)(padded >> 8 * i & 0xff), f);
    fprintf(f, "%s%*s", json, (int)(padded - length), "");
    free(json);
    return 8 + padded + at;
}

static void shard_name(const struct checkpoint *c, size_t k, char *name, size_t size)
{
    if (c->single)
        snprintf(name, size, "model.safetensors");
    else
        snprintf(name, size, "model-%05zu-of-%06" PRId64 ".safetensors", k + 1, c->p.shards);
}

static void write_shard(const struct checkpoint *c, size_t k)
{
    char name[64];
    size_t n = c->first[k + 1] - c->first[k];
    struct tensor **list = sorted(c, c->first[k], c->first[k + 1], by_dtype);
    shard_name(c, k, name, sizeof name);
    FILE *f = create_file(c, name);
    uint64_t size = write_header(f, list, n);
    for (size_t i = 0; i < n && !c->sparse; i++)
        write_values(c, list[i], f);
    if (c->sparse && (fflush(f) || ftruncate(fileno(f), (off_t)size)))
        die(EXIT_IO, "%s: '%s/%s'", strerror(errno), c->out, name);
    finish_file(c, f, name);
    free(list);
}

static void write_index(const struct checkpoint *c)
{
    static const char name[] = "model.safetensors.index.json";
    char file[64];
    struct tensor **list = sorted(c, 0, c->n, by_name);
    FILE *f = create_file(c, name);
    fprintf(f, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
            c->bytes);
    for (size_t i = 0; i < c->n; i++) {
        size_t k = 0;
        while (c->first[k + 1] <= (size_t)(list[i] - c->t))
            k++;
        shard_name(c, k, file, sizeof file);
        fprintf(f, "%s\n    \"%s\": \"%s\"", i ? "," : "", list[i]->name, file);
    }
    fputs("\n  }\n}\n", f);
    finish_file(c, f, name);
    free(list);
}

void write_tensors(struct checkpoint *c)
{
    for (size_t k = 0; k < (size_t)c->p.shards; k++)
        write_shard(c, k);
    if (!c->single)
        write_index(c);
}
