/* SPDX-License-Identifier: MIT
 * Hyper-parameters that cannot be true are refused, wherever they were read. */
#ifndef PARE_MODEL_ARCH_CHECK_H
#define PARE_MODEL_ARCH_CHECK_H

#include "model/arch.h"

/* 0, or -1 with ERR_FORMAT naming the field. Afterwards every product of two sizes fits in 64 bits and every layer,
 * expert and head count is small enough to allocate by. */
int arch_check(const struct family *f, const struct arch_params *p, struct error *e);

#endif
