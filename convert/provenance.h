/* SPDX-License-Identifier: MIT
 * Provenance: the manifest of a conversion (hashes of what was read and what was written), and a source's own manifest, against
 * which it is checked as it is read. */
#ifndef PARE_CONVERT_PROVENANCE_H
#define PARE_CONVERT_PROVENANCE_H

#include "convert/convert.h"
#include "formats/manifest.h"

/* malloc'd name of the manifest that this run writes. */
char *provenance_path(const struct plan *p, const char *path);

/* Writes it, by a temporary name. All hashes of this part must be complete. */
int provenance_save(const struct plan *p, const struct convert_options *o, const struct outputs *out,
                    const struct stream_state *state, struct error *e);

/* When the source has a manifest (`pare manifest`), fills state->expected from it. ERR_FORMAT when it disagrees with the source in
 * names or sizes. Without one state->expected stays NULL. */
int provenance_expect(const struct plan *p, struct stream_state *state, struct error *e);

#endif
