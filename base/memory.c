/* SPDX-License-Identifier: MIT
 * Memory of this process, from getrusage and, where there is one, /proc. */
#include "base/memory.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

void process_memory(uint64_t *peak, uint64_t *now)
{
    struct rusage u;
    unsigned long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");
    getrusage(RUSAGE_SELF, &u);
    *peak = (uint64_t)u.ru_maxrss * 1024;
    *now = *peak;
    if (f && fscanf(f, "%lu %lu", &ignored, &pages) == 2)
        *now = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    if (f)
        fclose(f);
}
