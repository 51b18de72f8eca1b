/* SPDX-License-Identifier: MIT
 * Diff: two models tensor by tensor, whatever their containers. kv_b is compared as its K and V halves. */
#ifndef PARE_VERIFY_DIFF_H
#define PARE_VERIFY_DIFF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/model.h"
#include "verify/check.h"

struct diff_row {
    enum tensor_role role;
    int layer;                    /* -1: global */
    int in_a, in_b;               /* 0: that side lacks it */
    const char *type_a, *type_b;  /* storage types; of experts, of the first */
    uint64_t weights;
    uint64_t different;           /* weights whose F32 values differ */
    double rms, rms_a, max;       /* of b - a; of a; largest |b - a| */
    uint64_t max_slab, max_row, max_col; /* where */
    uint64_t slabs_missing;       /* experts that only one side has, of packs that hold some */
};

/* Fills *rows (malloc'd, the caller frees) with one row per role and layer that either side has. The architectures must
 * agree in every shape, or ERR_UNSUPPORTED. Sums are taken in a fixed order in double: the numbers do not depend on
 * threads. */
int diff_models(const struct model *a, const struct model *b, int threads, const struct check_hooks *hooks,
                struct diff_row **rows, size_t *n, struct error *e);

/* Signal to quantization noise in decibels: 20 log10(rms_a / rms); both must be above 0. */
double diff_sqnr(const struct diff_row *r);

#endif
