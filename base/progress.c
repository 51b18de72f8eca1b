/* SPDX-License-Identifier: MIT
 * Progress: rate and time left from bytes done since the start. */
#include "base/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_start(struct progress *p, const char *verb, uint64_t total)
{
    *p = (struct progress){.verb = verb, .total = total, .started = now()};
    p->last = p->started;
}

int progress_due(struct progress *p, double interval)
{
    double t = now();
    if (t - p->last < interval)
        return 0;
    p->last = t;
    return 1;
}

double progress_elapsed(const struct progress *p)
{
    return now() - p->started;
}

void progress_line(const struct progress *p, uint64_t done, int bar, char *out, size_t size)
{
    char a[SIZE_TEXT], b[SIZE_TEXT], r[SIZE_TEXT], cells[64] = "";
    /* a file that grew must not overrun the bar */
    uint64_t total = p->total > done ? p->total : done;
    double t = progress_elapsed(p), share = total ? (double)done / (double)total : 1;
    double rate = t > 0 ? (double)done / t : 0, seconds = rate > 0 ? (double)(total - done) / rate : 0;
    unsigned long left = seconds < 1e9 ? (unsigned long)seconds : 1000000000;
    if (bar > 60)
        bar = 60;
    if (bar > 0) {
        int full = (int)(share * bar);
        memset(cells, '#', (size_t)full);
        memset(cells + full, '.', (size_t)(bar - full));
        cells[bar] = ' ';
        cells[bar + 1] = '\0';
    }
    if (p->unit)
        snprintf(out, size, "%s%s %3d %%  %" PRIu64 " of %" PRIu64 " %s  ETA %lu:%02lu:%02lu", cells, p->verb,
                 (int)(100 * share), done, p->total, p->unit, left / 3600, left / 60 % 60, left % 60);
    else
        snprintf(out, size, "%s%s %3d %%  %s of %s  %s/s  ETA %lu:%02lu:%02lu", cells, p->verb, (int)(100 * share),
                 size_text(done, a), size_text(p->total, b), size_text((uint64_t)rate, r), left / 3600, left / 60 % 60,
                 left % 60);
}
