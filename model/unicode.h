/* SPDX-License-Identifier: MIT
 * What the tokenizer needs to know about Unicode beside PCRE2: repairing invalid UTF-8, and characters that are
 * newer than PCRE2's tables. Everything here is thread-safe. */
#ifndef PARE_MODEL_UNICODE_H
#define PARE_MODEL_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Writes a code point as UTF-8 into `out` and returns its length. */
size_t utf8_write(uint32_t code_point, char out[4]);

/* Decodes the sequence at s, of n > 0 bytes. Returns its length and its code point in *cp; or, where it is invalid, the
 * length of the invalid part and UINT32_MAX: the longest beginning of a valid sequence, else one byte. */
size_t utf8_read(const char *s, size_t n, uint32_t *cp);

/* Writes text with every invalid part replaced by U+FFFD into `out`, of at least 3 * n bytes; returns its length.
 * This is what Rust's String::from_utf8_lossy, Python's errors="replace" and the WHATWG Encoding Standard do.
 * Source: Unicode 16.0, section 3.9, "U+FFFD Substitution of Maximal Subparts". */
size_t utf8_repair(const char *text, size_t n, char *out);

/* Unicode's letters, marks, numbers, punctuation and symbols grow with every version, and so would ids change with
 * the version of PCRE2. Replaces, in place, the characters that came with Unicode 15.0 to 16.0 by older ones of the
 * same general category and the same length that the pre-tokenizers' own ranges treat alike: what matches in the
 * result matches in the original under Unicode 16.0, at the same offsets. The text must be valid UTF-8. */
void unicode_age(char *text, size_t n);

/* Whether unicode_age would change anything. */
int unicode_is_newer(const char *text, size_t n);

#endif
