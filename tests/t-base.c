/* SPDX-License-Identifier: MIT
 * The small parts of base/: errors, buffer, arena, hash, progress, CPU features. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/progress.h"
#include "tests/tap.h"

static int line_is(const struct error *e, const char *want)
{
    char line[1024];
    error_line(e, line, sizeof line);
    if (!strcmp(line, want))
        return 1;
    note("got:  %s", line);
    note("want: %s", want);
    return 0;
}

static void errors(void)
{
    struct error e = {0};
    char small[16], wide[64];
    ok(error_set(&e, ERR_FORMAT, 7, "length %d", 5) == -1 && e.code == ERR_FORMAT, "setting an error returns -1");
    ok(line_is(&e, "length 5, offset 7"), "text and offset");
    error_at_file(&e, "a.gguf");
    ok(line_is(&e, "length 5: 'a.gguf', offset 7"), "text, file, offset");
    error_at_tensor(&e, "t");
    ok(line_is(&e, "length 5: 'a.gguf', tensor 't', offset 7"), "text, file, tensor, offset: in this order");
    error_at_file(&e, "outer");
    error_at_tensor(&e, "outer");
    ok(!strcmp(e.file, "a.gguf") && !strcmp(e.tensor, "t"), "an outer level keeps what an inner one said");
    error_set(&e, ERR_IO, ERROR_NO_OFFSET, "x");
    ok(line_is(&e, "x"), "a new error forgets file, tensor and offset");
    error_at_tensor(&e, "t");
    ok(line_is(&e, "x: tensor 't'"), "a tensor without a file");
    error_set(&e, ERR_IO, ERROR_NO_OFFSET,
              "a\033[31mb\nc\x7f\xc2\x9b"
              "d\xc3\xa9");
    ok(line_is(&e, "a\\x1b[31mb\\x0ac\\x7f\\xc2\\x9bd\xc3\xa9"),
       "ESC, newline, DEL and U+009B are written as \\xNN, U+00E9 stays");
    error_set(&e, ERR_IO, ERROR_NO_OFFSET, "%02000d", 1);
    error_at_file(&e, e.text);
    ok(strlen(e.text) == sizeof e.text - 1 && strlen(e.file) == sizeof e.file - 1,
       "long texts and names are cut to fit");
    error_line(&e, small, sizeof small);
    ok(strlen(small) < sizeof small, "a short line is cut to fit");
    escape_controls("abc\n\n\n\n", wide, 12);
    ok(strlen(wide) < 12 && !strncmp(wide, "abc\\x0a", 7) && (strlen(wide) - 3) % 4 == 0,
       "an escape is not cut in the middle");
    ok(error_set(NULL, ERR_IO, 0, "x") == -1 && error_at_file(NULL, "f") == -1 && error_at_tensor(NULL, "t") == -1,
       "a NULL error is allowed");
    ok(error_exit_status(ERR_NONE) == 0 && error_exit_status(ERR_CHECK) == 1 && error_exit_status(ERR_USAGE) == 2 &&
           error_exit_status(ERR_FORMAT) == 3 && error_exit_status(ERR_UNSUPPORTED) == 3 &&
           error_exit_status(ERR_IO) == 4 && error_exit_status(ERR_MEMORY) == 4 &&
           error_exit_status(ERR_INTERRUPTED) == 130,
       "exit: 0 done, 1 check, 2 usage, 3 input, 4 I/O or memory, 130 interrupted");
}

static void buffers(void)
{
    struct buffer b = {0};
    buffer_add(&b, "", 0);
    ok(b.data && b.size == 0 && b.data[0] == '\0', "adding nothing gives an empty terminated text");
    buffer_text(&b, "ab");
    buffer_printf(&b, "%d-%s", 7, "x");
    ok(b.size == 5 && !strcmp(b.data, "ab7-x"), "texts are appended");
    buffer_u32(&b, 0x04030201);
    buffer_u64(&b, 0x0c0b0a0908070605);
    ok(b.size == 17 && !memcmp(b.data + 5, "\1\2\3\4\5\6\7\x8\x9\xa\xb\xc", 12), "u32 and u64 are little-endian");
    buffer_pad(&b, 256);
    ok(b.size == 256 && b.data[17] == 0 && b.data[255] == 0, "padding to 256 adds zeros");
    buffer_pad(&b, 256);
    ok(b.size == 256, "padding what is padded adds nothing");
    for (int i = 0; i < 100000; i++)
        buffer_add(&b, "0123456789", 10);
    ok(b.size == 1000256 && b.data[1000255] == '9' && b.data[1000256] == '\0' && !b.failed,
       "it grows to 1,000,256 bytes");
    buffer_printf(&b, "%5000d", 1);
    ok(b.size == 1005256 && b.data[b.size - 1] == '1', "one print of 5,000 bytes");
    buffer_clear(&b);
    ok(!b.data && !b.size, "cleared: empty again");
    buffer_add(&b, "x", SIZE_MAX / 2);
    ok(b.failed, "an impossible size is a failure, remembered");
    buffer_text(&b, "more");
    ok(b.size == 0, "after a failure nothing is added");
    buffer_clear(&b);
}

static void sizes(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {1234, "1.23 kB"}, {999994, "999.99 kB"}, {999999, "1.00 MB"},
        {659420000000, "659.42 GB"}, {1500000000000, "1.50 TB"}, {UINT64_MAX, "18.45 EB"},
    };
    char out[SIZE_TEXT];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ok(!strcmp(size_text(rows[i].bytes, out), rows[i].text), "%llu bytes are %s", (unsigned long long)rows[i].bytes,
           rows[i].text);
}

static void arenas(void)
{
    struct arena a = {0};
    int zero = 1, aligned = 1, kept = 1;
    char *first = arena_copy(&a, "first", 5);
    for (size_t n = 0; n < 3000; n++) {
        char *p = arena_alloc(&a, n);
        aligned &= p && (uintptr_t)p % 16 == 0;
        for (size_t i = 0; i < n; i++)
            zero &= p[i] == 0;
        memset(p, 0xff, n);
    }
    char *large = arena_alloc(&a, 10 << 20);
    kept &= !strcmp(first, "first");
    ok(zero, "3,000 pieces of 0 to 2,999 bytes are zeroed");
    ok(aligned, "they are aligned to 16");
    ok(large && large[(10 << 20) - 1] == 0, "a piece of 10 MiB");
    ok(kept, "what was given first is untouched");
    char *text = arena_copy(&a, "abcdef", 3), *none = arena_copy(&a, "", 0);
    ok(text && !strcmp(text, "abc") && none && !*none, "copies are terminated");
    ok(!arena_array(&a, SIZE_MAX / 2, 4) && !arena_alloc(&a, SIZE_MAX) && !arena_copy(&a, "", SIZE_MAX),
       "sizes that overflow give NULL");
    ok(arena_array(&a, 3, 8) != NULL, "and the arena goes on");
    arena_clear(&a);
    ok(!a.head && arena_alloc(&a, 1), "cleared: ready again");
    arena_clear(&a);
}

static void hashes(void)
{
    char one[HASH_TEXT], split[HASH_TEXT], text[1000];
    int same = 1;
    struct hash *h = hash_new();
    hash_finish(h, one);
    ok(!strcmp(one, "99aa06d3014798d86001c324468d497f"), "XXH3-128 of nothing is 99aa06d3014798d86001c324468d497f");
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    hash_add(h = hash_new(), text, sizeof text);
    hash_finish(h, one);
    for (size_t at = 0; at <= sizeof text; at += 37) {
        hash_add(h = hash_new(), text, at);
        hash_add(h, text + at, sizeof text - at);
        hash_finish(h, split);
        same &= !strcmp(one, split);
    }
    ok(same, "1,000 bytes in two parts hash as in one");
    text[999] ^= 1;
    hash_add(h = hash_new(), text, sizeof text);
    hash_finish(h, split);
    ok(strcmp(one, split) != 0, "one changed bit changes the hash");
    hash_free(hash_new());
    hash_free(NULL);
}

static void progress(void)
{
    struct progress p;
    char line[200], cut[8];
    progress_start(&p, "converting", 2000000000);
    p.started -= 10; /* ten seconds ago */
    progress_line(&p, 500000000, 0, line, sizeof line);
    ok(!strncmp(line, "converting  25 %  500.00 MB of 2.00 GB  ", 40), "a quarter of 2 GB: %s", line);
    ok(strstr(line, " MB/s  ETA 0:00:"), "after 10 s: about 50 MB/s and 30 s to go");
    progress_line(&p, 500000000, 20, line, sizeof line);
    ok(!strncmp(line, "#####............... converting", 31), "a bar of 20 has 5 full cells");
    progress_line(&p, 2000000000, 20, line, sizeof line);
    ok(!strncmp(line, "#################### converting 100 %", 37) && strstr(line, "ETA 0:00:00"),
       "all done: a full bar, ETA 0");
    progress_line(&p, 3000000000, 20, line, sizeof line);
    ok(!strncmp(line, "#################### converting 100 %", 37), "more done than said does not overrun the bar");
    progress_line(&p, 1, 1000, line, sizeof line);
    ok(strspn(line, "#.") == 60 && strstr(line, "ETA "), "a bar of 1,000 columns has 60");
    progress_line(&p, 0, 10, cut, sizeof cut);
    ok(!strcmp(cut, "......."), "a line is cut to fit");
    progress_start(&p, "reading", 0);
    progress_line(&p, 0, 10, line, sizeof line);
    ok(strstr(line, "reading 100 %") != NULL, "nothing to do is done");
    p.last -= 1;
    ok(progress_due(&p, 0.5) && !progress_due(&p, 0.5), "due after its interval, and not at once again");
    ok(progress_elapsed(&p) >= 0, "time does not run backwards");
}

static void features(void)
{
    unsigned all, avx2, scalar;
    unsetenv("PARE_CPU");
    all = cpu_features();
    setenv("PARE_CPU", "avx2", 1);
    avx2 = cpu_features();
    setenv("PARE_CPU", "scalar", 1);
    scalar = cpu_features();
    setenv("PARE_CPU", "nonsense", 1);
    ok(cpu_features() == all, "an unknown PARE_CPU masks nothing");
    ok(scalar == 0, "PARE_CPU=scalar masks everything");
    ok(avx2 == (all & CPU_AVX2), "PARE_CPU=avx2 masks AVX-512");
    ok(!(all & CPU_AVX512) || (all & CPU_AVX2), "AVX-512 implies AVX2");
}

int main(void)
{
    errors();
    buffers();
    sizes();
    arenas();
    hashes();
    progress();
    features();
    return done();
}
