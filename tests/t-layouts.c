/* SPDX-License-Identifier: MIT
 * Layouts of quantized checkpoints: bytes that the published formats define, and every type through every layout that takes it, whole
 * and in ranges of rows. */
#include <stdlib.h>
#include <string.h>

#include "quant/groups.h"
#include "quant/layouts.h"
#include "tests/tap.h"

/* One matrix as codecs have it: blocks, or tiled. */
struct matrix {
    const struct quant_type *type;
    uint64_t rows, cols;
    uint8_t *blocks;
    struct tiled tiled;
    uint64_t block_row, scale_row; /* bytes of a row of blocks; scales of a row of tiles */
};

static struct matrix matrix_new(const char *type, uint64_t rows, uint64_t cols)
{
    struct matrix m = {.type = quant_type_find(type), .rows = rows, .cols = cols};
    if (!m.type)
        bail("no type %s", type);
    if (m.type->tiling) {
        m.scale_row = tiled_across(m.type->tiling, (size_t)cols);
        size_t n = tiled_down(m.type->tiling, (size_t)rows) * (size_t)m.scale_row;
        m.tiled = (struct tiled){.type = m.type, .rows = (size_t)rows, .cols = (size_t)cols, .codes = calloc(1, (size_t)(rows * cols)),
                                 .scale = calloc(n, 4), .zero = m.type->tiling->asymmetric ? calloc(n, 1) : NULL};
    } else {
        m.block_row = cols / m.type->block_len * m.type->block_bytes;
        m.blocks = calloc(1, (size_t)(rows * m.block_row));
    }
    return m;
}

static void matrix_free(struct matrix *m)
{
    free(m->blocks);
    free(m->tiled.codes);
    free(m->tiled.scale);
    free(m->tiled.zero);
}

/* A power of two times 1, 1.25, 1.5 or 1.75: a number of every type of scale but E8M0. */
static float some_scale(uint64_t *state, int power)
{
    uint64_t bits = rng_next(state);
    return (power ? 1 : 1 + (float)(bits % 4) / 4) / (float)(1 << bits / 4 % 10);
}

static void fill_group(const struct group_form *f, uint8_t *block, uint64_t *state)
{
    int low = 1 << (f->bits - 1), zero = f->asymmetric ? 1 + (int)(rng_next(state) % (uint64_t)(2 * low - 1)) : low;
    uint8_t *codes = group_give(f, some_scale(state, 0), zero, block);
    for (int i = 0; i < f->len * f->bits / 8; i++)
        codes[i] = (uint8_t)rng_next(state);
}

static void fill(struct matrix *m, uint64_t seed)
{
    const struct tiling *t = m->type->tiling;
    for (uint64_t i = 0; m->blocks && i < m->rows * (m->cols / m->type->block_len); i++) {
        uint8_t *block = m->blocks + i * m->type->block_bytes;
        if (m->type->group)
            fill_group(m->type->group, block, &seed);
        else
            for (uint32_t k = 0; k < m->type->block_bytes; k++)
                block[k] = (uint8_t)rng_next(&seed);
    }
    for (uint64_t i = 0; t && i < m->rows * m->cols; i++)
        m->tiled.codes[i] = t->bits == 8 ? (uint8_t)rng_next(&seed) : (uint8_t)((int)(rng_next(&seed) % 16) - 8);
    for (uint64_t i = 0; t && i < tiled_down(t, (size_t)m->rows) * m->scale_row; i++) {
        m->tiled.scale[i] = some_scale(&seed, !strcmp(t->scales, "F8_E8M0"));
        if (m->tiled.zero)
            m->tiled.zero[i] = (int8_t)((int)(rng_next(&seed) % 16) - 8);
    }
}

/* Rows row0 .. row0 + n of a, against b's first n. */
static int same_rows(const struct matrix *a, uint64_t row0, uint64_t n, const struct matrix *b)
{
    const struct tiling *t = a->type->tiling;
    if (!t)
        return !memcmp(a->blocks + row0 * a->block_row, b->blocks, (size_t)(n * a->block_row));
    uint64_t first = row0 / t->rows, tiles = ((row0 + n + t->rows - 1) / t->rows - first) * a->scale_row, at = first * a->scale_row;
    return !memcmp(a->tiled.codes + row0 * a->cols, b->tiled.codes, (size_t)(n * a->cols)) &&
           !memcmp(a->tiled.scale + at, b->tiled.scale, (size_t)(4 * tiles)) &&
           (!a->tiled.zero || !memcmp(a->tiled.zero + at, b->tiled.zero, (size_t)tiles));
}

/* The matrix's own memory, or a view of its rows from row0 on. */
static const void *rows_from(const struct matrix *m, uint64_t row0, struct tiled *view)
{
    const struct tiling *t = m->type->tiling;
    if (!t)
        return m->blocks + row0 * m->block_row;
    *view = m->tiled;
    view->codes += row0 * m->cols;
    view->scale += row0 / t->rows * m->scale_row;
    view->zero = view->zero ? view->zero + row0 / t->rows * m->scale_row : NULL;
    return view;
}

struct parts {
    uint8_t *bytes[PART_COUNT];
    uint64_t n[PART_COUNT];
};

static struct parts parts_new(const struct layout *l, const struct quant_type *t, uint64_t rows, uint64_t cols, int byte)
{
    struct parts p = {{0}, {0}};
    for (int i = 0; i < PART_COUNT; i++) {
        struct part_shape s;
        if (l->shape(l, t, (enum layout_part)i, rows, cols, &s) <= 0)
            continue;
        p.n[i] = s.bytes;
        p.bytes[i] = malloc((size_t)s.bytes);
        memset(p.bytes[i], byte, (size_t)s.bytes);
    }
    return p;
}

static void parts_free(struct parts *p)
{
    for (int i = 0; i < PART_COUNT; i++)
        free(p->bytes[i]);
}

/* What a call for rows row0 .. row0 + n sees of the parts. */
static struct part_rows rows_of(const struct layout *l, const struct matrix *m, const struct parts *p, uint64_t row0, uint64_t n)
{
    struct part_rows r = {.type = m->type, .rows = m->rows, .cols = m->cols, .row0 = row0, .n = n};
    for (int i = 0; i < PART_COUNT; i++) {
        uint64_t at, bytes;
        layout_range(l, m->type, (enum layout_part)i, m->rows, m->cols, row0, n, 0, &at, &bytes);
        r.part[i] = p->bytes[i] && bytes && i != PART_GLOBAL ? p->bytes[i] + at : NULL;
    }
    return r;
}

static void put_rows(const struct layout *l, const struct matrix *m, struct parts *p, uint64_t row0, uint64_t n)
{
    struct part_rows r = rows_of(l, m, p, row0, n);
    struct tiled view;
    l->put(l, &r, rows_from(m, row0, &view));
}

static int get_rows(const struct layout *l, const struct matrix *m, const struct parts *p, uint64_t row0, uint64_t n)
{
    struct matrix out = matrix_new(m->type->name, n + (m->type->tiling ? m->type->tiling->rows : 0), m->cols);
    struct part_rows r = rows_of(l, m, p, row0, n);
    int same = !l->get(l, &r, out.blocks ? (void *)out.blocks : &out.tiled) && same_rows(m, row0, n, &out);
    matrix_free(&out);
    return same;
}

static void test_pair(const struct layout *l, const struct quant_type *t, uint64_t rows, uint64_t cols)
{
    struct matrix m = matrix_new(t->name, rows, cols);
    fill(&m, rows);
    struct parts whole = parts_new(l, t, rows, cols, 0xa5), pieces = parts_new(l, t, rows, cols, 0x5a);
    uint64_t step = t->tiling && t->tiling->rows > 1 ? t->tiling->rows : 8;
    int same = 1, ranges = 1;
    put_rows(l, &m, &whole, 0, rows);
    for (uint64_t row = 0; row < rows; row += step)
        put_rows(l, &m, &pieces, row, rows - row < step ? rows - row : step);
    for (int i = 0; i < PART_COUNT; i++)
        same &= i == PART_GLOBAL || !pieces.bytes[i] || !memcmp(whole.bytes[i], pieces.bytes[i], (size_t)whole.n[i]);
    for (uint64_t row = 0; row < rows; row += 7)
        ranges &= get_rows(l, &m, &whole, row, rows - row < 11 ? rows - row : 11);
    ok(same, "%s in %s, %d x %d: put in ranges of %d rows the parts are those of the whole", t->name, l->name, (int)rows, (int)cols,
       (int)step);
    ok(get_rows(l, &m, &whole, 0, rows) && ranges, "%s in %s, %d x %d: got whole and in odd ranges it is what was put", t->name,
       l->name, (int)rows, (int)cols);
    parts_free(&whole);
    parts_free(&pieces);
    matrix_free(&m);
}

/* Parts of noise: whatever they are taken for, what comes of them goes back to the same codes and scales, or is refused. */
static void test_noise(const struct layout *l, const struct quant_type *t, uint64_t rows, uint64_t cols)
{
    uint64_t seed = 77;
    struct matrix m = matrix_new(t->name, rows, cols);
    struct parts p = parts_new(l, t, rows, cols, 0), back = parts_new(l, t, rows, cols, 0);
    struct part_rows r = rows_of(l, &m, &p, 0, rows);
    for (int i = 0; i < PART_COUNT; i++)
        for (uint64_t k = 0; k < p.n[i] && i != PART_SHAPE && i != PART_INDEX; k++)
            p.bytes[i][k] = (uint8_t)rng_next(&seed) & (i == PART_SCALES ? 0x3f : 0xff); /* no NaN, which may change its bits */
    r.part[PART_SHAPE] = r.part[PART_INDEX] = NULL;
    int rc = l->get(l, &r, m.blocks ? (void *)m.blocks : &m.tiled), same = 1;
    put_rows(l, &m, &back, 0, rows);
    for (int i = PART_CODES; i <= PART_ZEROS; i++)
        same &= !p.n[i] || !memcmp(p.bytes[i], back.bytes[i], (size_t)p.n[i]);
    int turned = l->whole && l->suffix[PART_ZEROS], turned_symmetric = turned && t->group && !t->group->asymmetric, turned_rows = turned && t->tiling;
    ok(turned_symmetric || turned_rows ? rc : !rc && same, "%s in %s: noise %s", t->name, l->name,
       turned_symmetric || turned_rows ? "has other zeros and is refused" : "is got and put again");
    parts_free(&p);
    parts_free(&back);
    matrix_free(&m);
}

static void test_all(void)
{
    for (const struct layout *l = layouts; l->name; l++) {
        /* blocks of rows and panels of columns that are not full */
        int turned = l->whole, tiles = !strcmp(l->name, "kt-amx"), types = 0;
        for (const struct quant_type *t = quant_types; t->name; t++) {
            if (!layout_takes(l, t))
                continue;
            types++;
            test_pair(l, t, tiles ? 160 : turned ? 40 : 133, tiles ? 3712 : t->tiling && !turned ? 131 : 256);
            test_noise(l, t, tiles ? 160 : 40, tiles ? 3712 : 256);
        }
        ok(types, "%s takes %d type%s", l->name, types, types == 1 ? "" : "s");
    }
}

static int bytes_are(const uint8_t *p, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t w = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 | (uint32_t)p[4 * i + 2] << 16 | (uint32_t)p[4 * i + 3] << 24;
        if (w != words[i]) {
            note("word %zu is %08x, not %08x", i, w, words[i]);
            return 0;
        }
    }
    return 1;
}

static void test_pack_bytes(void)
{
    static const int8_t q[11] = {-8, -7, 0, 1, 2, 3, 7, -1, -8, 7, 0};
    const struct layout *l = layout_find("pack-quantized");
    struct matrix m = matrix_new("INT4-C-ASYM", 9, 11);
    for (int row = 0; row < 9; row++) {
        memcpy(m.tiled.codes + 11 * row, q, 11);
        m.tiled.scale[row] = 1.5f;
        m.tiled.zero[row] = (int8_t)(row - 8);
    }
    struct parts p = parts_new(l, m.type, 9, 11, 0xff);
    put_rows(l, &m, &p, 0, 9);
    ok(bytes_are(p.bytes[PART_CODES], (uint32_t[]){0x7fba9810, 0x8f0}, 2),
       "pack-quantized: -8 -7 0 1 2 3 7 -1 is the word 7fba9810, and beyond the row's end bits are 0");
    ok(p.n[PART_ZEROS] == 8 && bytes_are(p.bytes[PART_ZEROS], (uint32_t[]){0x76543210, 0x8}, 2),
       "pack-quantized: zeros -8 .. 0 of nine rows are the words 76543210 and 00000008");
    ok(p.n[PART_SCALES] == 18 && p.bytes[PART_SCALES][0] == 0xc0 && p.bytes[PART_SCALES][1] == 0x3f,
       "pack-quantized: a scale of 1.5 is BF16 3fc0");
    ok(p.n[PART_SHAPE] == 16 && p.bytes[PART_SHAPE][0] == 9 && p.bytes[PART_SHAPE][8] == 11, "pack-quantized: weight_shape is 9, 11");
    p.bytes[PART_SHAPE][8] = 12;
    ok(!get_rows(l, &m, &p, 0, 9), "pack-quantized: a weight_shape of 9, 12 is refused");
    parts_free(&p);
    matrix_free(&m);
}

/* 8 rows of 32 columns whose code is the row's number, scale 0.5. */
static struct matrix numbered_rows(const char *type, int zero)
{
    struct matrix m = matrix_new(type, 8, 32);
    for (int row = 0; row < 8; row++) {
        uint8_t *codes = group_give(m.type->group, 0.5f, zero, m.blocks + (size_t)row * m.block_row);
        memset(codes, m.type->group->bits == 4 ? row * 17 : row, (size_t)(m.type->group->len * m.type->group->bits / 8));
    }
    return m;
}

static void test_zeros_of(const char *layout, const char *type, int zero, uint32_t word)
{
    const struct layout *l = layout_find(layout);
    struct matrix m = numbered_rows(type, zero);
    struct parts p = parts_new(l, m.type, 8, 32, 0xff);
    put_rows(l, &m, &p, 0, 8);
    ok(bytes_are(p.bytes[PART_ZEROS], &word, 1) && get_rows(l, &m, &p, 0, 8), "%s: zeros %d of %s are the word %08x", layout, zero, type,
       word);
    parts_free(&p);
    matrix_free(&m);
}

static void test_turned_bytes(void)
{
    static const uint32_t rows[8] = {0, 0x11111111, 0x22222222, 0x33333333, 0x44444444, 0x55555555, 0x66666666, 0x77777777};
    const struct layout *gptq = layout_find("gptq"), *awq = layout_find("awq");
    struct matrix m = numbered_rows("INT4-G32-F16", 8), asym = numbered_rows("INT4-G32-ASYM-F16", 3);
    struct parts p = parts_new(gptq, m.type, 8, 32, 0xff), a = parts_new(awq, asym.type, 8, 32, 0xff);
    put_rows(gptq, &m, &p, 0, 8);
    put_rows(awq, &asym, &a, 0, 8);
    ok(p.n[PART_CODES] == 128 && bytes_are(p.bytes[PART_CODES] + 96, rows, 8), "gptq: the last row of qweight has a word of each output");
    ok(p.n[PART_INDEX] == 128 && bytes_are(p.bytes[PART_INDEX] + 124, (uint32_t[]){0}, 1), "gptq: g_idx of column 31 is group 0");
    ok(p.n[PART_SCALES] == 16 && p.bytes[PART_SCALES][15] == 0x38 && !p.bytes[PART_SCALES][14], "gptq: a scale of 0.5 is F16 3800");
    ok(a.n[PART_CODES] == 128 && bytes_are(a.bytes[PART_CODES] + 124, (uint32_t[]){0x75316420}, 1),
       "awq: outputs 0 .. 7 lie in the word 75316420");
    p.bytes[PART_INDEX][4] = 1;
    ok(!get_rows(gptq, &m, &p, 0, 8), "gptq: a g_idx that is not i / group is refused");
    p.bytes[PART_INDEX][4] = 0;
    p.bytes[PART_ZEROS][0] ^= 1;
    ok(!get_rows(gptq, &m, &p, 0, 8), "gptq: a zero other than 8 is refused in a symmetric type");
    parts_free(&p);
    parts_free(&a);
    matrix_free(&m);
    matrix_free(&asym);
    test_zeros_of("gptq", "INT4-G32-F16", 8, 0x77777777);
    test_zeros_of("gptq", "INT8-G32-F16", 128, 0x7f7f7f7f);
    test_zeros_of("gptq", "INT4-G32-ASYM-F16", 16, 0xffffffff);
    test_zeros_of("gptq_v2", "INT4-G32-F16", 8, 0x88888888);
    test_zeros_of("gptq_v2", "INT8-G32-F16", 128, 0x80808080);
    test_zeros_of("gptq_v2", "INT4-G32-ASYM-F16", 0, 0);
    test_zeros_of("awq", "INT4-G32-ASYM-F16", 12, 0xcccccccc);
}

static void test_nibble_bytes(void)
{
    const struct layout *l = layout_find("w4afp8");
    struct matrix m = matrix_new("INT4-G32", 1, 32);
    uint8_t *codes = group_give(m.type->group, 1.5f, 8, m.blocks);
    for (int i = 0; i < 16; i++)
        codes[i] = (uint8_t)(i | (15 - i) << 4);
    struct parts p = parts_new(l, m.type, 1, 32, 0);
    put_rows(l, &m, &p, 0, 1);
    ok(p.n[PART_CODES] == 16 && p.bytes[PART_CODES][0] == 0x78 && p.bytes[PART_CODES][15] == 0x87,
       "w4afp8: -8 and 7 are the byte 78, 7 and -8 the byte 87");
    parts_free(&p);
    matrix_free(&m);
}

static void test_shape_of(const char *layout, const char *type, uint64_t rows, uint64_t cols, enum layout_part p, const char *dtype,
                          uint64_t d0, uint64_t d1)
{
    struct part_shape s;
    const struct layout *l = layout_find(layout);
    int has = l->shape(l, quant_type_find(type), p, rows, cols, &s) > 0;
    ok(has && !strcmp(s.dtype, dtype) && s.dims[0] == d0 && (s.n_dims == 1 || s.dims[1] == d1), "%s of %s, %d x %d: %s is %s %d x %d",
       layout, type, (int)rows, (int)cols, l->suffix[p], dtype, (int)d0, (int)d1);
}

static void test_shapes(void)
{
    struct part_shape s;
    const struct layout *pack = layout_find("pack-quantized"), *gptq = layout_find("gptq"), *nvfp4 = layout_find("nvfp4-pack-quantized");
    test_shape_of("pack-quantized", "INT4-G128", 7, 256, PART_SCALES, "BF16", 7, 2);
    test_shape_of("pack-quantized", "INT8-C", 7, 30, PART_CODES, "I32", 7, 8);
    test_shape_of("int-quantized", "INT8-C", 7, 30, PART_SCALES, "BF16", 7, 1);
    test_shape_of("float-quantized", "FP8-BLOCK", 129, 300, PART_SCALES, "F32", 2, 3);
    test_shape_of("block", "FP8-BLOCK-UE8M0", 129, 300, PART_SCALES, "F32", 2, 3);
    test_shape_of("mxfp4-pack-quantized", "MXFP4-CT", 3, 64, PART_SCALES, "U8", 3, 2);
    test_shape_of("nvfp4-pack-quantized", "NVFP4-CT", 3, 64, PART_SCALES, "F8_E4M3", 3, 4);
    test_shape_of("nvfp4-pack-quantized", "NVFP4-CT", 3, 64, PART_GLOBAL, "F32", 1, 0);
    test_shape_of("awq", "INT4-G128-ASYM-F16", 24, 256, PART_ZEROS, "I32", 2, 3);
    ok(pack->shape(pack, quant_type_find("INT4-G128"), PART_CODES, 7, 200, &s) < 0, "pack-quantized: groups of 128 do not fit 200 columns");
    ok(pack->shape(pack, quant_type_find("INT4-G128"), PART_ZEROS, 7, 256, &s) == 0, "pack-quantized: a symmetric type has no zeros");
    ok(gptq->shape(gptq, quant_type_find("INT4-G128-F16"), PART_CODES, 12, 256, &s) < 0, "gptq: 12 outputs do not fill words");
    ok(!layout_takes(pack, quant_type_find("INT4-G128-F16")) && !layout_takes(nvfp4, quant_type_find("MXFP4-CT")) &&
           !layout_takes(pack, quant_type_find("Q4_0")),
       "layouts do not take each other's types, nor GGUF's");
}

/* GPTQ's first version stores zero - 1, and readers make 16 of -1. */
static void test_lowest_zero(void)
{
    const struct quant_type *f16 = quant_type_find("INT4-G32-ASYM-F16"), *bf16 = quant_type_find("INT4-G32-ASYM");
    float x[32], y[32], off = 0;
    uint8_t block[32], other[32];
    for (int i = 0; i < 32; i++)
        x[i] = 1.0f + (float)(i % 15);
    f16->ref.encode(x, NULL, block, 1);
    bf16->ref.encode(x, NULL, other, 1);
    f16->ref.decode(block, y, 1);
    for (int i = 0; i < 32; i++)
        off = y[i] - x[i] > off ? y[i] - x[i] : x[i] - y[i] > off ? x[i] - y[i] : off;
    ok(group_take(f16->group, block).zero == 1 && off < 0.6f, "weights above zero get the zero 1 in F16 types, and lie within 0.6 of 1 .. 15");
    f16->ref.improve(x, NULL, block, 1);
    ok(group_take(f16->group, block).zero >= 1, "and the search takes no lower one");
    ok(group_take(bf16->group, other).zero == 0, "types with BF16 scales keep 0");
}

int main(void)
{
    test_lowest_zero();
    test_pack_bytes();
    test_turned_bytes();
    test_nibble_bytes();
    test_shapes();
    test_all();
    return done();
}
