/* SPDX-License-Identifier: MIT
 * A scan of floats: largest magnitude as an integer maximum over the bits, which orders NaN above infinity above all
 * numbers, so that one pass answers both questions and the compiler can vectorize it. */
#include "quant/scan.h"

#include "quant/floats.h"

enum { CHUNK = 4096 };

size_t scan_finite(const float *x, size_t n, float *amax)
{
    uint32_t top = 0;
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t end = n - at < CHUNK ? n : at + CHUNK;
        uint32_t m = 0;
        for (size_t i = at; i < end; i++) {
            uint32_t mag = f32_bits(x[i]) & 0x7fffffff;
            m = mag > m ? mag : m;
        }
        if (m >= 0x7f800000) {
            for (size_t i = at; i < end; i++) {
                uint32_t mag = f32_bits(x[i]) & 0x7fffffff;
                if (mag >= 0x7f800000)
                    return *amax = bits_f32(top), i;
                top = mag > top ? mag : top;
            }
        }
        top = m > top ? m : top;
    }
    *amax = bits_f32(top);
    return n;
}
