/* SPDX-License-Identifier: MIT
 * Eight codes at a time, one in each byte of a u64: for types that spread a code's bits over places of their block. */
#ifndef PARE_QUANT_EIGHT_H
#define PARE_QUANT_EIGHT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of eight bytes, the bits from `shift` on that `mask` tells; mask << shift fits into a byte. */
static inline uint64_t eight(const uint8_t *bytes, int shift, unsigned mask)
{
    uint64_t v;
    memcpy(&v, bytes, sizeof v);
    return v >> shift & mask * UINT64_C(0x0101010101010101);
}

static inline void put_eight(uint8_t *bytes, uint64_t v)
{
    memcpy(bytes, &v, sizeof v);
}

/* Codes of 4 bits, len a multiple of 16: code j in the low half of byte j, code j + len / 2 in its high half. */
static inline void put_nibbles(const uint8_t *codes, int len, uint8_t *q)
{
    for (int j = 0; j < len / 2; j += 8)
        put_eight(q + j, eight(codes + j, 0, 15) | eight(codes + j + len / 2, 0, 15) << 4);
}

/* Codes of 4 bits, len a multiple of 8, each two in a byte, the first one low; and back. */
static inline void put_pairs(const uint8_t *codes, size_t len, uint8_t *q)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = eight(codes + i, 0, 15);
        v = (v | v >> 4) & UINT64_C(0x00ff00ff00ff00ff);
        v = (v | v >> 8) & UINT64_C(0x0000ffff0000ffff);
        const uint32_t four = (uint32_t)(v | v >> 16);
        memcpy(q + i / 2, &four, sizeof four);
    }
}

static inline void from_pairs(const uint8_t *q, size_t len, uint8_t *codes)
{
    for (size_t i = 0; i < len; i += 8) {
        uint32_t four;
        memcpy(&four, q + i / 2, sizeof four);
        uint64_t v = (four | (uint64_t)four << 16) & UINT64_C(0x0000ffff0000ffff);
        v = (v | v << 8) & UINT64_C(0x00ff00ff00ff00ff);
        put_eight(codes + i, (v | v << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f));
    }
}

/* The low 2 bits of 256 codes: of each 128, byte j has codes j, j + 32, j + 64 and j + 96. */
static inline void put_two_bits(const uint8_t *codes, uint8_t *q)
{
    for (int i = 0; i < 64; i += 8) {
        const uint8_t *c = codes + i / 32 * 128 + i % 32;
        uint64_t low = eight(c, 0, 3) | eight(c + 32, 0, 3) << 2;
        put_eight(q + i, low | eight(c + 64, 0, 3) << 4 | eight(c + 96, 0, 3) << 6);
    }
}

#endif
