/* SPDX-License-Identifier: MIT
 * Patterns: regular expressions that users write for names, matched by PCRE2 where they may begin anywhere. What
 * std::regex (ECMAScript, which llama-quantize uses) takes too means the same here. */
#ifndef PARE_BASE_PATTERN_H
#define PARE_BASE_PATTERN_H

#include "base/error.h"

struct pattern;

/* Compiles a terminated text of at most 4096 bytes. NULL with ERR_FORMAT (what is wrong, and where in it) or ERR_MEMORY. */
struct pattern *pattern_new(const char *text, struct error *e);
void pattern_free(struct pattern *p); /* NULL is allowed */

/* 1 when some part of `name` matches, 0 when none does, or -1: ERR_FORMAT when the pattern needs too many steps (nested
 * repetitions do), ERR_MEMORY. Thread-safe. */
int pattern_matches(const struct pattern *p, const char *name, struct error *e);

#endif
