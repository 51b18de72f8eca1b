/* SPDX-License-Identifier: MIT
 * Reads a row of an expert from an expert pack (docs/pack-format.md) with nothing but the C library and cJSON: maps the file, finds the
 * manifest, which is the first member of the tar, looks the tensor up, holds offset, size and CRC-32 against the file, and decodes Q8_0
 * or Q4_0.
 *
 *     cc -std=c11 -D_GNU_SOURCE pack_reader.c -lcjson -o pack_reader
 *     ./pack_reader model.tar model.layers.3.mlp.experts.17.up_proj.weight 0
 *
 * Prints the row's numbers, one a line. Exit 1 with a line on stderr for whatever does not hold. */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { BLOCK = 512, SIZE_AT = 124, SIZE_DIGITS = 11 };

static void die(const char *what, const char *which)
{
    fprintf(stderr, "pack_reader: %s%s%s\n", what, *which ? ": " : "", which);
    exit(1);
}

static uint32_t crc32_of(const uint8_t *p, uint64_t n)
{
    uint32_t crc = UINT32_MAX;
    for (; n--; p++) {
        crc ^= *p;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* A whole number of an object. */
static uint64_t number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble < 9007199254740992.0) || v->valuedouble != floor(v->valuedouble))
        die("the manifest lacks a whole number", key);
    return (uint64_t)v->valuedouble;
}

static const char *text(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsString(v))
        die("the manifest lacks a text", key);
    return v->valuestring;
}

/* The manifest: a ustar header, its size in octal digits, then JSON. */
static cJSON *manifest_of(const uint8_t *pack, uint64_t size)
{
    uint64_t n = 0;
    if (size < 2 * BLOCK || memcmp(pack, "manifest.json", sizeof "manifest.json"))
        die("no pack: manifest.json is not its first member", "");
    for (int i = 0; i < SIZE_DIGITS; i++)
        n = 8 * n + (uint64_t)(pack[SIZE_AT + i] & 7);
    if (n > size - BLOCK)
        die("the file ends within its manifest", "");
    cJSON *root = cJSON_ParseWithLength((const char *)pack + BLOCK, n);
    if (!root || strcmp(text(root, "format"), "pare-pack") || number(root, "version") != 1)
        die("its manifest is none that this program knows", "");
    return root;
}

/* The entry of a tensor: in "tensors", or in one of the bundles in "experts". */
static const cJSON *find(const cJSON *root, const char *name)
{
    const cJSON *t, *bundle;
    cJSON_ArrayForEach(t, cJSON_GetObjectItemCaseSensitive(root, "tensors")) if (!strcmp(text(t, "name"), name)) return t;
    cJSON_ArrayForEach(bundle, cJSON_GetObjectItemCaseSensitive(root, "experts"))
        cJSON_ArrayForEach(t, cJSON_GetObjectItemCaseSensitive(bundle, "tensors")) if (!strcmp(text(t, "name"), name)) return t;
    die("there is no tensor of this name", name);
    return NULL;
}

static float f16(const uint8_t *p)
{
    const int h = p[0] | p[1] << 8, exponent = h >> 10 & 31, fraction = h & 1023;
    const float f = exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return exponent == 31 ? NAN : h & 0x8000 ? -f : f;
}

/* A block of 32: an F16 scale, then codes of a byte, or nibbles, whose low ones are the first half. */
static void print_block(const uint8_t *p, int is_q8)
{
    for (int i = 0; i < 32; i++) {
        const int code = is_q8 ? (int8_t)p[2 + i] : (i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4) - 8;
        printf("%.9g\n", (double)(f16(p) * (float)code));
    }
}

int main(int argc, char **argv)
{
    struct stat st;
    const int fd = argc == 4 ? open(argv[1], O_RDONLY) : -1;
    if (fd < 0 || fstat(fd, &st) || st.st_size < BLOCK)
        die("usage: pack_reader PACK TENSOR ROW; PACK must be a file", "");
    const uint64_t size = (uint64_t)st.st_size, row = strtoull(argv[3], NULL, 10);
    const uint8_t *pack = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (pack == MAP_FAILED)
        die("cannot map the file", argv[1]);
    cJSON *root = manifest_of(pack, size);
    const cJSON *t = find(root, argv[2]), *shape = cJSON_GetObjectItemCaseSensitive(t, "shape");
    const char *type = text(t, "type");
    const uint64_t offset = number(t, "offset"), bytes = number(t, "size"), blocks_in = (uint64_t)(strcmp(type, "Q8_0") ? 18 : 34);
    if ((strcmp(type, "Q8_0") && strcmp(type, "Q4_0")) || cJSON_GetObjectItemCaseSensitive(t, "coded"))
        die("this program decodes Q8_0 and Q4_0 only, and this is", type);
    if (offset > size || bytes > size - offset)
        die("the tensor does not lie in the file", argv[2]);
    if (crc32_of(pack + offset, bytes) != strtoul(text(t, "crc32"), NULL, 16))
        die("the tensor's bytes are not those of its CRC-32", argv[2]);
    if (cJSON_GetArraySize(shape) != 2)
        die("the tensor is no matrix", argv[2]);
    const double rows = cJSON_GetArrayItem(shape, 0)->valuedouble, cols = cJSON_GetArrayItem(shape, 1)->valuedouble;
    if (rows * cols / 32 * (double)blocks_in != (double)bytes || !((double)row < rows))
        die("shape and size contradict each other, or there is no such row", argv[2]);
    for (uint64_t i = 0; i < (uint64_t)cols / 32; i++)
        print_block(pack + offset + (row * ((uint64_t)cols / 32) + i) * blocks_in, blocks_in == 34);
    cJSON_Delete(root);
    return 0;
}
