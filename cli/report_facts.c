/* SPDX-License-Identifier: MIT
 * What the report's forms share. */
#include "cli/report_facts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/unicode.h"

double report_number(const struct json *o, const char *key)
{
    double v;
    return json_f64(json_get(o, key), &v) ? NAN : v;
}

const char *report_string(const struct json *o, const char *key, const char *otherwise)
{
    const char *s = json_string(json_get(o, key));
    return s ? s : otherwise;
}

uint64_t report_bytes(const struct json *report)
{
    uint64_t bytes;
    return json_u64(json_get(report, "candidate_bytes"), &bytes) ? 0 : bytes;
}

const char *report_title(const struct json *report)
{
    return report_string(report, "candidate_name", report_string(report, "base_name", "?"));
}

int report_comparable(const struct json *const *reports, size_t n)
{
    static const char *const same[] = {"base_name", "tokens_xxh3_128"};
    for (size_t i = 1; i < n; i++) {
        for (size_t k = 0; k < sizeof same / sizeof *same; k++)
            if (strcmp(report_string(reports[i], same[k], ""), report_string(reports[0], same[k], "")))
                return 0;
        if (report_number(reports[i], "positions") != report_number(reports[0], "positions"))
            return 0;
    }
    return 1;
}

/* ---- gates */

const char *const outcome_words[OUTCOMES] = {[GATE_PASSED] = "passed", [GATE_FAILED] = "failed", [GATE_UNDECIDED] = "undecided"};

enum gate_outcome report_outcome(const struct json *gate)
{
    const char *word = report_string(gate, "outcome", "");
    int i = 0;
    while (i < GATE_UNDECIDED && strcmp(word, outcome_words[i]))
        i++;
    return (enum gate_outcome)i;
}

struct outcomes report_outcomes(const struct json *report)
{
    struct outcomes o = {0};
    for (const struct json *g = json_child(json_get(report, "gates")); g; g = json_next(g), o.n++)
        o.of[report_outcome(g)]++;
    return o;
}

enum gate_outcome outcomes_worst(const struct outcomes *o)
{
    return o->of[GATE_FAILED] ? GATE_FAILED : o->of[GATE_UNDECIDED] ? GATE_UNDECIDED : GATE_PASSED;
}

const char *outcomes_text(const struct outcomes *o, char out[OUTCOMES_TEXT])
{
    static const enum gate_outcome order[] = {GATE_PASSED, GATE_UNDECIDED, GATE_FAILED};
    size_t at = (size_t)snprintf(out, OUTCOMES_TEXT, "%zu gate%s", o->n, o->n == 1 ? "" : "s");
    const char *comma = ": ";
    for (size_t i = 0; i < sizeof order / sizeof *order && at < OUTCOMES_TEXT; i++)
        if (o->of[order[i]]) {
            at += (size_t)(o->n == 1 ? snprintf(out + at, OUTCOMES_TEXT - at, ": %s", outcome_words[order[i]])
                                     : snprintf(out + at, OUTCOMES_TEXT - at, "%s%zu %s", comma, o->of[order[i]], outcome_words[order[i]]));
            comma = ", ";
        }
    return out;
}

void outcome_print(enum gate_outcome outcome, int colour, struct buffer *b)
{
    static const char *const words[OUTCOMES] = {[GATE_PASSED] = "passed", [GATE_FAILED] = "FAILED", [GATE_UNDECIDED] = "undecided"};
    static const int colours[OUTCOMES] = {[GATE_PASSED] = 32, [GATE_FAILED] = 31, [GATE_UNDECIDED] = 33};
    if (colour)
        buffer_printf(b, "\033[%dm%s\033[0m", colours[outcome], words[outcome]);
    else
        buffer_text(b, words[outcome]);
}

/* ---- names */

/* Source: Unicode 16.0, EastAsianWidth.txt (W and F, in whole blocks) and the blocks of combining marks and joiners. */
static size_t columns_of(uint32_t cp)
{
    static const uint32_t wide[][2] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60},
                                       {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};
    static const uint32_t none[][2] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2066, 0x2069}, {0xfe00, 0xfe0f}};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (cp >= wide[i][0] && cp <= wide[i][1])
            return 2;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (cp >= none[i][0] && cp <= none[i][1])
            return 0;
    return 1;
}

/* The length of the character at s; *columns of it. */
static size_t step(const char *s, size_t *columns)
{
    uint32_t cp;
    const size_t n = utf8_read(s, strlen(s) < 4 ? strlen(s) : 4, &cp);
    *columns = columns_of(cp);
    return n;
}

size_t name_columns(const char *text)
{
    size_t all = 0, columns;
    while (*text) {
        text += step(text, &columns);
        all += columns;
    }
    return all;
}

const char *name_shorten(const char *name, size_t columns, char out[NAME_SHORT])
{
    char text[4 * 1024 + 8], repaired[3 * sizeof text];
    size_t all, used = 0, skipped = 0, wide, n = 0;
    escape_controls(name, text, sizeof text);
    repaired[utf8_repair(text, strlen(text), repaired)] = '\0';
    all = name_columns(repaired);
    const size_t head = (columns - 1) / 2, tail = columns - 1 - head, drop = all > columns ? all - tail : 0;
    const char *s = repaired;
    for (size_t bytes; *s && n + 8 < NAME_SHORT; s += bytes) { /* in order: the head, the mark, the tail */
        bytes = step(s, &wide);
        if (drop && (skipped || used + wide > head) && used + skipped < drop) {
            if (!skipped)
                n += (size_t)snprintf(out + n, NAME_SHORT - n, "\u2026");
            skipped += wide;
        } else {
            memcpy(out + n, s, bytes);
            n += bytes;
            used += skipped ? 0 : wide;
        }
    }
    out[n] = '\0';
    return out;
}
