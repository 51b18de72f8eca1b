/* SPDX-License-Identifier: MIT
 * Test Anything Protocol, and what all tests need: a temporary folder, files, a deterministic random generator.
 * A title is a sentence about behaviour with the number in it. */
#ifndef PARE_TESTS_TAP_H
#define PARE_TESTS_TAP_H

#include <stddef.h>
#include <stdint.h>

/* Says how many tests follow. A program that knows it only at the end leaves this out: done() then prints the plan. A
 * test program that hangs dies by SIGALRM after five minutes. */
void plan(int n);

/* One test: a condition, then a title as for printf. On failure file and line follow as a diagnostic. Returns cond. */
#define ok(cond, ...) tap_ok(!!(cond), __FILE__, __LINE__, __VA_ARGS__)
int tap_ok(int passed, const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* One test that cannot run here, and why. It counts for the plan, but is no pass. */
void skip(const char *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A diagnostic line. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Gives up: the whole program counts as failed. */
void bail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Returns the exit status of main: 0, or 1 when a test failed or the plan was broken. */
int done(void);

/* A folder of this run, made at the first call, removed with all that is in it when the program exits. */
const char *tmp_folder(void);
/* "folder/NAME"; NAME may have folders in it, which must exist. Valid until the program exits. */
const char *tmp_path(const char *name);
const char *tmp_subfolder(const char *name); /* makes it too */

/* Bails out when the file cannot be written or read. */
void write_file(const char *path, const void *bytes, size_t n);
/* malloc'd and terminated; the caller frees. NULL when there is no such file. */
char *read_file(const char *path, size_t *n);

/* splitmix64; any start value of *state is good. */
uint64_t rng_next(uint64_t *state);
double rng_uniform(uint64_t *state); /* [0, 1) */
float rng_gauss(uint64_t *state);    /* sum of twelve uniforms: mean 0, deviation 1, within -6..6 */

#endif
