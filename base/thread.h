/* SPDX-License-Identifier: MIT
 * Threads with small stacks, so that many of them fit a bound on memory. */
#ifndef PARE_BASE_THREAD_H
#define PARE_BASE_THREAD_H

#include <pthread.h>

enum { THREAD_STACK = 512 << 10 };

/* pthread_create with a stack of THREAD_STACK bytes. 0 or an errno value. */
int thread_start(pthread_t *thread, void *(*run)(void *), void *context);

#endif
