/* SPDX-License-Identifier: MIT
 * From a pack back to what it was made of. */
#include "convert/target_source.h"

#include <stdlib.h>
#include <string.h>

#include "convert/target_checkpoint.h"
#include "formats/safetensors.h"

enum { HEADERS_MOST = SAFETENSORS_MAX_HEADER + 8 };

/* The tensors of a shard, which its header lists, out of the pack. */
static int add_tensors(struct plan *p, uint32_t file, const struct source *shard, struct error *e)
{
    for (size_t i = 0; i < shard->n_tensors; i++) {
        const struct tensor *t = &shard->tensors[i], *is = source_find(p->model->source, t->name);
        const struct weight none = {.role = ROLE_OUTPUT_NORM, .layer = -1};
        if (!is || is->bytes != t->bytes || strcmp(is->type->name, t->type->name)) {
            error_set(e, ERR_FORMAT, ERROR_NO_OFFSET, "the pack lacks this tensor of the shard '%.100s', or has it in another form", p->files[file].name);
            return error_at_tensor(e, t->name);
        }
        struct plan_tensor *added = plan_add_verbatim(p, is, &none, t->name, e);
        if (!added)
            return -1;
        added->out.offset = t->offset;
        added->out.file = file;
        added->rule = p->options.recipe.n_rules;
    }
    return 0;
}

static int add_shard(struct plan *p, const char *side, struct error *e)
{
    const uint32_t file = (uint32_t)p->n_files;
    struct source shard = {.path = p->model->source->path};
    char *header;
    size_t n;
    if (source_side_file(p->model->source, side, HEADERS_MOST, &header, &n, e) <= 0)
        return -1;
    struct plan_file *f = plan_add_file(p, p->n_tensors, 0, e);
    int rc = f && (f->name = arena_copy(&p->arena, side + strlen(SOURCE_SHARDS), strlen(side) - strlen(SOURCE_SHARDS)))
                 ? safetensors_read_text(&shard, 0, header, n, &f->bytes, e)
                 : error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    if (rc)
        error_at_file(e, side);
    else
        buffer_add(&f->header, header, n);
    rc = rc || add_tensors(p, file, &shard, e) ? -1 : 0;
    if (!rc)
        p->files[file].n = shard.n_tensors;
    arena_clear(&shard.arena);
    free(shard.tensors);
    free(header);
    return rc;
}

int target_source_build(struct plan *p, struct error *e)
{
    const char **names;
    size_t n = 0;
    const struct source *s = p->model->source;
    const struct recipe *r = &p->options.recipe;
    if (!r->scheme || r->preset || r->n_rules || strcmp(r->scheme->name, RECIPE_SOURCE))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--to source changes nothing: no recipe and no types go with it");
    if (target_check_options(p, e) || (s->pack && source_side_names(s, &p->arena, &names, &n, e)))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!strncmp(names[i], SOURCE_SHARDS, strlen(SOURCE_SHARDS)) && add_shard(p, names[i], e))
            return -1;
    if (!p->n_files)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "--to source is for packs of a whole checkpoint that were made with --recipe source");
    return sides_make_source(p, e);
}
