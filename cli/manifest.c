/* SPDX-License-Identifier: MIT
 * pare manifest: hashes of everything in a source, for later checks. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "verify/hashing.h"

static const struct option_row rows[] = {
    {'o', "out", "FILE", "where to write (default: pare.manifest.json in the\nfolder, FILE.manifest.json beside a file)"},
    {'f', "force", NULL, "replace an existing manifest"},
    OPTION_THREADS,
    OPTION_QUIET,
    OPTION_END,
};
static const struct option_table table = {
    .command = "manifest",
    .operands = "SOURCE",
    .summary = "write the hashes of all tensors and side files of a source",
    .min_operands = 1,
    .max_operands = 1,
    .rows = rows,
};

static int run(const struct options *o, struct error *e)
{
    const char *given = options_get(o, "out");
    struct source *s;
    struct manifest *m = NULL;
    struct display d;
    struct check_hooks hooks = {display_update, interrupted, &d};
    int threads, rc = -1;
    if (threads_option(o, &threads, e) || !(s = source_open(o->operands[0], e)))
        return -1;
    char *path = given ? strdup(given) : manifest_path(s->path, s->is_folder);
    if (!path) {
        error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    } else if (io_kind(path) && !options_get(o, "force")) {
        error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "the manifest exists (--force replaces it)");
        error_at_file(e, path);
    } else {
        catch_interrupts();
        display_start(&d, "hashing", s->tensor_bytes, options_get(o, "quiet") != NULL);
        m = manifest_of_source(s, "pare " PARE_VERSION, threads, &hooks, e);
        display_end(&d);
        rc = m ? manifest_save(m, path, e) : -1;
    }
    if (!rc) {
        struct buffer b = {0};
        char size[SIZE_TEXT];
        buffer_printf(&b, "%s: %zu tensors, %zu files, %s\n", path, m->n_tensors, m->n_files,
                      size_text(s->tensor_bytes, size));
        rc = print_buffer(&b, e);
    }
    manifest_free(m);
    free(path);
    source_close(s);
    return rc;
}

const struct command cmd_manifest = {&table, run};
