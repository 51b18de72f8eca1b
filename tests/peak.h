/* SPDX-License-Identifier: MIT
 * What benchmarks measure by: time, and the machine's peak. */
#ifndef PARE_TESTS_PEAK_H
#define PARE_TESTS_PEAK_H

/* This thread's time on a processor: what others run beside it does not count. */
double seconds(void);

/* GFLOP/s of independent fused multiply-adds in registers, on one core with the instructions that these CPU features (base/cpu.h) give: what
 * no product can exceed. 0 for the baseline's. */
double peak_gflops(unsigned cpu);

#endif
