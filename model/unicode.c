/* SPDX-License-Identifier: MIT
 * UTF-8 decoding and repair; the characters of Unicode 15.0, 15.1 and 16.0.
 * Source of the table: the general categories of Unicode 16.0's UnicodeData.txt, for all code points that 14.0 left
 * unassigned; letters (L), marks (M), numbers (N), punctuation (P) and symbols (S) only. No older character changed. */
#include "model/unicode.h"

#include <string.h>

/* Stand-ins, by category and bytes of UTF-8, none newer than Unicode 6.0. The pre-tokenizers' own ranges hold none of
 * them, but for U+0800..U+4E00 (deepseek-llm), which holds the stand-ins of exactly those that it holds. */
enum {
    LIKE_L3 = 0x3400, LIKE_L3_HIGH = 0xa000, LIKE_M3 = 0x302a, LIKE_P3 = 0x203b, LIKE_S3 = 0x2190,
    LIKE_L4 = 0x20000, LIKE_M4 = 0x1d165, LIKE_N4 = 0x1d7ce, LIKE_P4 = 0x10100, LIKE_S4 = 0x1f300,
};

static const struct {
    uint32_t first, last, like;
} newer[] = {
    {0x897, 0x897, LIKE_M3}, {0xcf3, 0xcf3, LIKE_M3}, {0xece, 0xece, LIKE_M3}, {0x1b4e, 0x1b4f, LIKE_P3},
    {0x1b7f, 0x1b7f, LIKE_P3}, {0x1c89, 0x1c8a, LIKE_L3}, {0x2427, 0x2429, LIKE_S3}, {0x2ffc, 0x2fff, LIKE_S3},
    {0x31e4, 0x31e5, LIKE_S3}, {0x31ef, 0x31ef, LIKE_S3}, {0xa7cb, 0xa7cd, LIKE_L3_HIGH},
    {0xa7da, 0xa7dc, LIKE_L3_HIGH}, {0x105c0, 0x105f3, LIKE_L4}, {0x10d40, 0x10d49, LIKE_N4},
    {0x10d4a, 0x10d65, LIKE_L4}, {0x10d69, 0x10d6d, LIKE_M4}, {0x10d6e, 0x10d6e, LIKE_P4}, {0x10d6f, 0x10d85, LIKE_L4},
    {0x10d8e, 0x10d8f, LIKE_S4}, {0x10ec2, 0x10ec4, LIKE_L4}, {0x10efc, 0x10eff, LIKE_M4}, {0x1123f, 0x11240, LIKE_L4},
    {0x11241, 0x11241, LIKE_M4}, {0x11380, 0x11389, LIKE_L4}, {0x1138b, 0x1138b, LIKE_L4}, {0x1138e, 0x1138e, LIKE_L4},
    {0x11390, 0x113b5, LIKE_L4}, {0x113b7, 0x113b7, LIKE_L4}, {0x113b8, 0x113c0, LIKE_M4}, {0x113c2, 0x113c2, LIKE_M4},
    {0x113c5, 0x113c5, LIKE_M4}, {0x113c7, 0x113ca, LIKE_M4}, {0x113cc, 0x113d0, LIKE_M4}, {0x113d1, 0x113d1, LIKE_L4},
    {0x113d2, 0x113d2, LIKE_M4}, {0x113d3, 0x113d3, LIKE_L4}, {0x113d4, 0x113d5, LIKE_P4}, {0x113d7, 0x113d8, LIKE_P4},
    {0x113e1, 0x113e2, LIKE_M4}, {0x116d0, 0x116e3, LIKE_N4}, {0x11b00, 0x11b09, LIKE_P4}, {0x11bc0, 0x11be0, LIKE_L4},
    {0x11be1, 0x11be1, LIKE_P4}, {0x11bf0, 0x11bf9, LIKE_N4}, {0x11f00, 0x11f01, LIKE_M4}, {0x11f02, 0x11f02, LIKE_L4},
    {0x11f03, 0x11f03, LIKE_M4}, {0x11f04, 0x11f10, LIKE_L4}, {0x11f12, 0x11f33, LIKE_L4}, {0x11f34, 0x11f3a, LIKE_M4},
    {0x11f3e, 0x11f42, LIKE_M4}, {0x11f43, 0x11f4f, LIKE_P4}, {0x11f50, 0x11f59, LIKE_N4}, {0x11f5a, 0x11f5a, LIKE_M4},
    {0x1342f, 0x1342f, LIKE_L4}, {0x13440, 0x13440, LIKE_M4}, {0x13441, 0x13446, LIKE_L4}, {0x13447, 0x13455, LIKE_M4},
    {0x13460, 0x143fa, LIKE_L4}, {0x16100, 0x1611d, LIKE_L4}, {0x1611e, 0x1612f, LIKE_M4}, {0x16130, 0x16139, LIKE_N4},
    {0x16d40, 0x16d6c, LIKE_L4}, {0x16d6d, 0x16d6f, LIKE_P4}, {0x16d70, 0x16d79, LIKE_N4}, {0x18cff, 0x18cff, LIKE_L4},
    {0x1b132, 0x1b132, LIKE_L4}, {0x1b155, 0x1b155, LIKE_L4}, {0x1cc00, 0x1ccef, LIKE_S4}, {0x1ccf0, 0x1ccf9, LIKE_N4},
    {0x1cd00, 0x1ceb3, LIKE_S4}, {0x1d2c0, 0x1d2d3, LIKE_N4}, {0x1df25, 0x1df2a, LIKE_L4}, {0x1e030, 0x1e06d, LIKE_L4},
    {0x1e08f, 0x1e08f, LIKE_M4}, {0x1e4d0, 0x1e4eb, LIKE_L4}, {0x1e4ec, 0x1e4ef, LIKE_M4}, {0x1e4f0, 0x1e4f9, LIKE_N4},
    {0x1e5d0, 0x1e5ed, LIKE_L4}, {0x1e5ee, 0x1e5ef, LIKE_M4}, {0x1e5f0, 0x1e5f0, LIKE_L4}, {0x1e5f1, 0x1e5fa, LIKE_N4},
    {0x1e5ff, 0x1e5ff, LIKE_P4}, {0x1f6dc, 0x1f6dc, LIKE_S4}, {0x1f774, 0x1f776, LIKE_S4}, {0x1f77b, 0x1f77f, LIKE_S4},
    {0x1f7d9, 0x1f7d9, LIKE_S4}, {0x1f8b2, 0x1f8bb, LIKE_S4}, {0x1f8c0, 0x1f8c1, LIKE_S4}, {0x1fa75, 0x1fa77, LIKE_S4},
    {0x1fa87, 0x1fa89, LIKE_S4}, {0x1fa8f, 0x1fa8f, LIKE_S4}, {0x1faad, 0x1faaf, LIKE_S4}, {0x1fabb, 0x1fabf, LIKE_S4},
    {0x1fac6, 0x1fac6, LIKE_S4}, {0x1face, 0x1facf, LIKE_S4}, {0x1fada, 0x1fadc, LIKE_S4}, {0x1fadf, 0x1fadf, LIKE_S4},
    {0x1fae8, 0x1fae9, LIKE_S4}, {0x1faf7, 0x1faf8, LIKE_S4}, {0x1fbcb, 0x1fbef, LIKE_S4}, {0x2b739, 0x2b739, LIKE_L4},
    {0x2ebf0, 0x2ee5d, LIKE_L4}, {0x31350, 0x323af, LIKE_L4},
};

size_t utf8_write(uint32_t cp, char out[4])
{
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)(lead[n] | cp);
    return n;
}

/* Source: RFC 3629, section 4; Unicode 16.0, table 3-7. */
size_t utf8_read(const char *text, size_t n, uint32_t *cp)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char c = s[0], lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80; /* bounds of the second byte */
    unsigned char hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    *cp = UINT32_MAX;
    if (len == 0)
        return 1;
    uint32_t v = len == 1 ? c : c & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (i == n || s[i] < lo || s[i] > hi)
            return i;
        v = v << 6 | (s[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = v;
    return len;
}

size_t utf8_repair(const char *text, size_t n, char *out)
{
    size_t to = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_read(text + i, n - i, &cp);
        if (cp == UINT32_MAX) {
            to += utf8_write(0xfffd, out + to);
        } else {
            memcpy(out + to, text + i, len);
            to += len;
        }
    }
    return to;
}

/* The older character that stands in for the one at s, or 0. */
static uint32_t stand_in(const char *s)
{
    size_t lo = 0, hi = sizeof newer / sizeof *newer;
    uint32_t cp;
    utf8_read(s, 4, &cp);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (newer[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < sizeof newer / sizeof *newer && newer[lo].first <= cp ? newer[lo].like : 0;
}

/* Offset of the first newer character from `at` on, or n. None has less than three bytes, none is a Han character of
 * the basic plane (lead bytes E4 to E9). */
static size_t find_newer(const char *text, size_t n, size_t at)
{
    for (; at < n; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c >= 0xe0 && (c < 0xe4 || c > 0xe9) && stand_in(text + at))
            return at;
    }
    return n;
}

int unicode_is_newer(const char *text, size_t n)
{
    return find_newer(text, n, 0) < n;
}

void unicode_age(char *text, size_t n)
{
    for (size_t at = find_newer(text, n, 0); at < n; at = find_newer(text, n, at))
        at += utf8_write(stand_in(text + at), text + at);
}
