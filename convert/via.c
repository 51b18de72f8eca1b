/* SPDX-License-Identifier: MIT
 * Via: to BF16 and back by its codec. */
#include "convert/via.h"

#include <stdint.h>

#include "quant/types.h"

void via_bf16(float *x, size_t n, unsigned cpu)
{
    struct quant_kernels k = quant_kernels_for(quant_type_find("BF16"), cpu);
    uint16_t codes[1024];
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < 1024 ? n - at : 1024;
        k.encode(x + at, NULL, codes, part);
        k.decode(codes, x + at, part);
    }
}
