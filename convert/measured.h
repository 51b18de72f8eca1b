/* SPDX-License-Identifier: MIT
 * What is known of a model's matrices for a choice of their types, and the file that keeps it in the calibration's folder:
 *
 *   output   what a matrix gives: sum over tokens and rows of (w x)^2, as the calibration's second moments say it; of experts
 *            weighted by the squares of their gates, so that experts can be added and compared. Per slab: expert, head or 1
 *   error    the same of what is off when it has a type, ((w - y) x)^2 (convert/sensitivity.h)
 *   coarse   the same for y by a plain rounding that is the same everywhere: what gains are measured with
 *   kl       mean KL divergence of the model's tokens when this matrix (all its experts, heads), or with it those that share its
 *            stream, is off by its coarse error; `off` is that error as a part of the output, summed over those (convert/gains.h)
 *
 * sensitivity.json (schemas/sensitivity.json) is of a calibration, by its hash, and of settings; when they differ it is as if it were not
 * there. */
#ifndef PARE_CONVERT_MEASURED_H
#define PARE_CONVERT_MEASURED_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "model/model.h"
#include "quant/types.h"

struct measured_type {
    const struct quant_type *type;
    double *error; /* [slabs] */
};

struct measured_weight {
    enum tensor_role role;
    int layer; /* -1: a global */
    size_t slabs;
    double *output, *coarse; /* [slabs] */
    struct measured_type *types;
    size_t n_types;
    double kl, off;          /* kl negative: not measured */
};

/* The whole model off by `level` times every matrix's coarse error. */
struct measured_whole {
    double level, kl;
};

enum { MEASURED_SETTINGS = 400, MEASURED_WHOLES = 3 };
struct measured {
    struct arena arena; /* of all arrays */
    struct measured_weight *weights; /* by layer, then role */
    size_t n, room;
    char settings[MEASURED_SETTINGS]; /* of errors */
    char gain_settings[MEASURED_SETTINGS]; /* of kl and whole; "" without */
    struct measured_whole whole[MEASURED_WHOLES];
    int n_whole;
    uint64_t gain_tokens, gain_streams;
};

/* The weight, or NULL. */
struct measured_weight *measured_find(const struct measured *m, enum tensor_role role, int layer);
/* A new one, zeroed, kl unknown, with room for output and coarse; it moves others. NULL with ERR_MEMORY. */
struct measured_weight *measured_add(struct measured *m, enum tensor_role role, int layer, size_t slabs, struct error *e);
/* Errors of a type, or NULL; measured_add_type gives zeroed ones. */
double *measured_errors(const struct measured_weight *w, const struct quant_type *type);
double *measured_add_type(struct measured *m, struct measured_weight *w, const struct quant_type *type, struct error *e);

/* Sums over slabs, as parts of the output; 0 where nothing comes out. */
double measured_coarse(const struct measured_weight *w);

/* Reads FOLDER/sensitivity.json. One of other settings leaves *m empty, gains of others those out. ERR_FORMAT names the file and what is
 * wrong with it. */
int measured_read(struct measured *m, const char *folder, const char *settings, const char *gain_settings, struct error *e);
int measured_write(const struct measured *m, const char *folder, struct error *e);
void measured_clear(struct measured *m); /* safe on a zeroed one */

#endif
