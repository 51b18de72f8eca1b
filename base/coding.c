/* SPDX-License-Identifier: MIT
 * Entropy coding over htscodecs. */
#include "base/coding.h"

#include <string.h>

#include <htscodecs/rANS_static4x16.h>

/* Four-byte numbers are coded as four streams of bytes, others as they are. */
static int order_of(unsigned element)
{
    return element > 1 ? RANS_ORDER_STRIPE | (int)(element << 8) : RANS_ORDER_X32;
}

size_t coding_bound(size_t n)
{
    size_t plain = rans_compress_bound_4x16((unsigned)n, order_of(1)), numbers = rans_compress_bound_4x16((unsigned)n, order_of(4));
    return plain > numbers ? plain : numbers;
}

int coding_encode(const uint8_t *in, size_t n, unsigned element, uint8_t *out, size_t *size, struct error *e)
{
    unsigned room = (unsigned)coding_bound(n);
    /* the library does not write to its input, whose type is not const */
    if (!rans_compress_to_4x16((unsigned char *)(uintptr_t)in, (unsigned)n, out, &room, order_of(element)))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for entropy coding");
    *size = room;
    if (room <= n + CODING_MORE)
        return 0;
    room = (unsigned)coding_bound(n);
    if (!rans_compress_to_4x16((unsigned char *)(uintptr_t)in, (unsigned)n, out, &room, RANS_ORDER_CAT))
        return error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory for entropy coding");
    *size = room;
    return 0;
}

int coding_decode(const uint8_t *in, size_t size, uint8_t *out, size_t n, struct error *e)
{
    unsigned room = (unsigned)n;
    if (size > UINT32_MAX || n > CODING_MAX || !rans_uncompress_to_4x16((unsigned char *)(uintptr_t)in, (unsigned)size, out, &room) || room != n)
        return error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the coded bytes are damaged");
    return 0;
}
