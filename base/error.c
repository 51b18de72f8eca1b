/* SPDX-License-Identifier: MIT
 * Errors: filling, extending and formatting struct error. Nothing here prints. */
#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *e, enum error_code code, uint64_t offset, const char *fmt, ...)
{
    if (!e)
        return -1;
    va_list ap;
    e->code = code;
    e->offset = offset;
    e->file[0] = e->tensor[0] = '\0';
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return -1;
}

int error_at_file(struct error *e, const char *file)
{
    if (e && !e->file[0] && file)
        snprintf(e->file, sizeof e->file, "%s", file);
    return -1;
}

int error_at_tensor(struct error *e, const char *tensor)
{
    if (e && !e->tensor[0] && tensor)
        snprintf(e->tensor, sizeof e->tensor, "%s", tensor);
    return -1;
}

int error_exit_status(enum error_code code)
{
    static const int status[] = {
        [ERR_NONE] = 0,        [ERR_CHECK] = 1, [ERR_USAGE] = 2,  [ERR_FORMAT] = 3,
        [ERR_UNSUPPORTED] = 3, [ERR_IO] = 4,    [ERR_MEMORY] = 4, [ERR_INTERRUPTED] = 130,
    };
    return status[code];
}

void escape_controls(const char *in, char *out, size_t size)
{
    size_t n = 0;
    int c1 = 0; /* inside U+0080..U+009F, which terminals obey too */
    for (; *in && n + 5 < size; in++) {
        unsigned char c = (unsigned char)*in, next = (unsigned char)in[1];
        int second = c1;
        c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;
        if (c < 0x20 || c == 0x7f || c1 || second)
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
        else
            out[n++] = (char)c;
    }
    out[n] = '\0';
}

void error_line(const struct error *e, char *out, size_t size)
{
    char text[sizeof e->text + sizeof e->file + sizeof e->tensor + 64];
    int n = snprintf(text, sizeof text, "%s", e->text[0] ? e->text : "unknown error");
    if (e->file[0])
        n += snprintf(text + n, sizeof text - (size_t)n, ": '%s'", e->file);
    if (e->tensor[0])
        n += snprintf(text + n, sizeof text - (size_t)n, "%s tensor '%s'", e->file[0] ? "," : ":",
                      e->tensor);
    if (e->offset != ERROR_NO_OFFSET)
        snprintf(text + n, sizeof text - (size_t)n, ", offset %" PRIu64, e->offset);
    escape_controls(text, out, size);
}
