/* SPDX-License-Identifier: MIT
 * What lies in a checkpoint's folder beside the weights: what engines cannot start without, what they do without, and shards that no index
 * names. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "verify/engine.h"

enum { MAX_SIDE_FILE = 64 << 20 };

/* 1, 0, or -1: the system cannot tell. */
static int is_there(const struct engine_run *r, const char *name)
{
    char *path = io_join(r->model->source->path, name);
    int kind = 0, rc = path ? io_look(path, &kind, r->e) : error_set(r->e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    free(path);
    return rc ? -1 : kind == 1;
}

static int is_used(const struct source *s, const char *name)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (!strcmp(io_base_name(s->files[i].path), name))
            return 1;
    return 0;
}

static int is_shard(const char *name)
{
    static const char end[] = ".safetensors";
    size_t n = strlen(name), k = sizeof end - 1;
    return n > k && !strcmp(name + n - k, end);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Shards that model_open did not open: an engine leaves out, or reads in addition, what the index does not name. */
static int check_shards(struct engine_run *r)
{
    const struct source *s = r->model->source;
    char **names = NULL;
    size_t n = 0;
    int rc = 0;
    DIR *d = opendir(s->path);
    if (!d)
        return io_error(r->e, "list", s->path, ERROR_NO_OFFSET);
    for (const struct dirent *entry; !rc && (entry = readdir(d));) {
        if (!is_shard(entry->d_name) || is_used(s, entry->d_name))
            continue;
        char **more = realloc(names, (n + 1) * sizeof *names);
        names = more ? more : names;
        rc = more && (names[n] = strdup(entry->d_name)) ? (n++, 0) : error_set(r->e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory");
    }
    closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_name); /* the system's order is no order */
    for (size_t i = 0; i < n; i++) {
        rc = rc ? rc : engine_finding(r, names[i], "the index does not name this shard");
        free(names[i]);
    }
    free(names);
    return rc;
}

/* In a file of its own, or within the tokenizer's configuration. */
static int has_template(const struct engine_run *r)
{
    char *text = NULL;
    size_t n;
    int found = is_there(r, "chat_template.jinja");
    if (found)
        return found;
    found = source_side_file(r->model->source, "tokenizer_config.json", MAX_SIDE_FILE, &text, &n, r->e);
    found = found > 0 ? strstr(text, "\"chat_template\"") != NULL : found;
    free(text);
    return found;
}

/* A vocabulary in any form that this family's releases have, and what says how it is used. */
static int check_tokenizer(struct engine_run *r)
{
    static const char *const vocabularies[] = {"tokenizer.json", "tiktoken.model", "tokenizer.model"};
    static const char *const config = "tokenizer_config.json";
    int there = 0;
    for (size_t i = 0; !there && i < sizeof vocabularies / sizeof *vocabularies; i++)
        there = is_there(r, vocabularies[i]);
    if (there < 0 || (!there && engine_finding(r, vocabularies[0], "is missing: %s takes no text without it", r->engine->title)))
        return -1;
    there = is_there(r, config);
    return there < 0 || (!there && engine_finding(r, config, "is missing: %s takes no text without it", r->engine->title)) ? -1 : 0;
}

int engine_check_files(struct engine_run *r)
{
    int there;
    if (check_tokenizer(r))
        return -1;
    if ((there = is_there(r, "generation_config.json")) < 0 ||
        (!there && engine_note(r, "there is no generation_config.json: sampling has %s's defaults", r->engine->title)))
        return -1;
    if ((there = has_template(r)) < 0 || (!there && engine_note(r, "there is no chat template: conversations need one of the server's options")))
        return -1;
    return check_shards(r);
}
