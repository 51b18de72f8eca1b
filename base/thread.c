/* SPDX-License-Identifier: MIT
 * Threads. */
#include "base/thread.h"

int thread_start(pthread_t *thread, void *(*run)(void *), void *context)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc)
        return rc;
    rc = pthread_attr_setstacksize(&attr, THREAD_STACK);
    if (!rc)
        rc = pthread_create(thread, &attr, run, context);
    pthread_attr_destroy(&attr);
    return rc;
}
