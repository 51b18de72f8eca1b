/* SPDX-License-Identifier: MIT
 * Memory of this process, for plans that promise a bound. */
#ifndef PARE_BASE_MEMORY_H
#define PARE_BASE_MEMORY_H

#include <stdint.h>

/* Resident bytes: the most it ever was, and what it is now. */
void process_memory(uint64_t *peak, uint64_t *now);

#endif
