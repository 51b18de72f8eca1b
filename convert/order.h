/* SPDX-License-Identifier: MIT
 * The order in which units are visited. Numbers follow the file; with error feedback the tensors of a layer's experts are visited
 * expert by expert, because an expert's gate and up share their second moments, whose factor is the dearest part. Within a tensor
 * numbers ascend, which the chains of hashes (chain.h) rely on. */
#ifndef PARE_CONVERT_ORDER_H
#define PARE_CONVERT_ORDER_H

#include "convert/plan.h"

/* malloc'd numbers of the units [from, to), or NULL when out of memory. A plan has fewer than 2^32. */
uint32_t *order_by_expert(const struct plan *p, uint64_t from, uint64_t to);

#endif
