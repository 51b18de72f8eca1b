/* SPDX-License-Identifier: MIT
 * A model's name taken apart into title, basename, finetune and version, by the rules of llama.cpp's converter as far as
 * DeepSeek's names need them: parts between dashes; a part is a version (v3, V2.5, 0324), a finetune (Chat, or anything
 * behind the basename) or the basename (leading words). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "convert/target_gguf.h"

enum { MAX_PARTS = 16 };
enum part_kind { PART_PLAIN, PART_VERSION, PART_FINETUNE };

/* (v|iter)?digits(.digits)*, in any case of letters */
static int is_version(const char *s)
{
    if (!strncasecmp(s, "iter", 4))
        s += 4;
    else if (*s == 'v' || *s == 'V')
        s++;
    for (;;) {
        if (!isdigit((unsigned char)*s))
            return 0;
        while (isdigit((unsigned char)*s))
            s++;
        if (*s == '\0')
            return 1;
        if (*s++ != '.')
            return 0;
    }
}

static int is_finetune(const char *s)
{
    return !strcasecmp(s, "chat") || !strcasecmp(s, "instruct") || !strcasecmp(s, "vision") || !strcasecmp(s, "lora");
}

static void join(char *out, const char *part, const char *glue)
{
    size_t n = strlen(out);
    snprintf(out + n, NAME_PART - n, "%s%s", n ? glue : "", part);
}

/* All letters lower case (and at least one letter), and neither a version of the form v1.2 nor a number first. */
static int wants_capital(const char *word)
{
    int letters = 0;
    for (const char *c = word; *c; c++) {
        if (isupper((unsigned char)*c))
            return 0;
        letters |= isalpha((unsigned char)*c);
    }
    return letters && !isdigit((unsigned char)word[0]) && !(word[0] == 'v' && is_version(word));
}

/* Capitals at the beginning of each run of letters, as Python's str.title. */
static void capitalize(char *word)
{
    for (char *c = word; *c; c++)
        if (c == word || !isalpha((unsigned char)c[-1]))
            *c = (char)toupper((unsigned char)*c);
}

void model_name_split(const char *name, struct name_parts *out)
{
    char text[NAME_PART], title[NAME_PART], *parts[MAX_PARTS], *save;
    enum part_kind kind[MAX_PARTS];
    int n = 0, basename = 0, has_finetune = 0, has_version = 0;

    memset(out, 0, sizeof *out);
    snprintf(text, sizeof text, "%s", name);
    if (strchr(name, ' ')) { /* a sentence, not an id */
        snprintf(out->title, NAME_PART, "%s", name);
        return;
    }
    for (char *s = strtok_r(text, "-", &save); s && n < MAX_PARTS; s = strtok_r(NULL, "-", &save), n++) {
        parts[n] = s;
        kind[n] = is_version(s) ? PART_VERSION : n > 0 && is_finetune(s) ? PART_FINETUNE : PART_PLAIN;
    }
    /* the basename: leading words and versions, less the versions that end the whole name */
    while (basename < n && (kind[basename] == PART_VERSION ||
                            (kind[basename] == PART_PLAIN && isalpha((unsigned char)parts[basename][0]))))
        basename++;
    for (int end = n; end > 0 && basename == end && kind[end - 1] == PART_VERSION; end--)
        basename--;
    for (int i = 0; i < n; i++) {
        snprintf(title, sizeof title, "%s", parts[i]);
        if (wants_capital(title))
            capitalize(title);
        join(out->title, title, " ");
        if (i < basename) {
            join(out->basename, parts[i], "-");
        } else if (kind[i] == PART_VERSION) {
            join(out->version, parts[i], "-");
            has_version = 1;
        } else {
            join(out->finetune, parts[i], "-");
            has_finetune = 1;
        }
    }
    if (!has_finetune && !has_version)
        out->basename[0] = '\0'; /* too ambiguous */
}

const char *source_base_name(const struct source *s, char out[NAME_PART])
{
    char *real = s->pack ? NULL : realpath(s->path, NULL);
    snprintf(out, NAME_PART, "%s", s->pack ? s->pack->source : io_base_name(real ? real : s->path));
    free(real);
    return out;
}
