/* SPDX-License-Identifier: MIT
 * Eight codes at a time, one in each byte of a u64: for types that spread a code's bits over places of their block. */
#ifndef PARE_QUANT_EIGHT_H
#define PARE_QUANT_EIGHT_H

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

#endif
