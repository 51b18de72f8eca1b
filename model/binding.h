/* SPDX-License-Identifier: MIT
 * Checks of a bound model: nothing missing, every shape and dtype as the architecture says. */
#ifndef PARE_MODEL_BINDING_H
#define PARE_MODEL_BINDING_H

#include "model/model.h"

/* 0, or -1 with ERR_FORMAT (ERR_UNSUPPORTED for dtypes) naming the first offender and the number of others. */
int binding_check(const struct model *m, struct error *e);

#endif
