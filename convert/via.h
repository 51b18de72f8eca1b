/* SPDX-License-Identifier: MIT
 * --via bf16: weights as a BF16 file would hold them. */
#ifndef PARE_CONVERT_VIA_H
#define PARE_CONVERT_VIA_H

#include <stddef.h>

/* Rounds to BF16 in place, as the cast of checkpoints to BF16 files does. cpu: features (base/cpu.h). */
void via_bf16(float *x, size_t n, unsigned cpu);

#endif
