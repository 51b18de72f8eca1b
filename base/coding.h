/* SPDX-License-Identifier: MIT
 * Entropy coding: bytes in fewer bytes, each call by itself: the rANS 4x16 codec of CRAM 3.1 (order 0 over 32 interleaved states; numbers
 * of several bytes in a stream per byte), as htscodecs has it. What is coded says how, so decoding needs nothing else but the sizes.
 * Coded bytes do not depend on the instruction set. All functions are thread-safe.
 * Source: samtools/hts-specs CRAMcodecs.tex, section "rANS Nx16". */
#ifndef PARE_BASE_CODING_H
#define PARE_BASE_CODING_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Bytes of one call, at most. */
enum { CODING_MAX = 1 << 30 };

/* What cannot be coded in fewer bytes is kept as it is, with at most so many of its own. */
enum { CODING_MORE = 64 };

/* Room that coding n bytes needs, some more than they can take in the end; n up to CODING_MAX. */
size_t coding_bound(size_t n);

/* Codes n bytes, numbers of `element` bytes each (1, 2 or 4; n need not be a multiple), into out, which has coding_bound(n) bytes. 0 and
 * *size, at most n + CODING_MORE, or -1 with ERR_MEMORY. */
int coding_encode(const uint8_t *in, size_t n, unsigned element, uint8_t *out, size_t *size, struct error *e);

/* The n bytes that `size` coded ones stand for. ERR_FORMAT when they stand for anything else. */
int coding_decode(const uint8_t *in, size_t size, uint8_t *out, size_t n, struct error *e);

#endif
