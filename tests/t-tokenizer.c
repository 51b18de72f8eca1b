/* SPDX-License-Identifier: MIT
 * The tokenizer against ids and words recorded from the tokenizers package (0.23.3), on nano-v3's vocabulary and on
 * both pre-tokenizers; texts that are broken, long or empty; GGUF keys that lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "model/splitter.h"
#include "model/tokenizer.h"
#include "model/unicode.h"
#include "tests/samples.h"
#include "tests/tap.h"

static const char nano[] = "tests/data/nano-v3";

static struct tokenizer *open_tokenizer(const char *path, struct error *e)
{
    struct source *s = source_open(path, e);
    struct tokenizer *t = s ? tokenizer_open(s, NULL, e) : NULL;
    source_close(s); /* a tokenizer keeps nothing of it */
    return t;
}

/* Ids as "1 2 3"; the caller frees. */
static char *encode(const struct tokenizer *t, const char *text, size_t n, int parse_special)
{
    struct token_ids ids = {0};
    struct buffer b = {0};
    struct error e = {0};
    if (tokenizer_encode(t, text, n, parse_special, &ids, &e))
        bail("cannot encode: %s", e.text);
    buffer_text(&b, "");
    for (size_t i = 0; i < ids.n; i++)
        buffer_printf(&b, "%s%d", i ? " " : "", ids.ids[i]);
    token_ids_clear(&ids);
    return b.data;
}

static void check_ids(const struct tokenizer *t, const char *text, size_t n, int parse_special, const char *want,
                      const char *what)
{
    char shown[120], *got = encode(t, text, n, parse_special);
    escape_controls(text, shown, sizeof shown);
    if (!ok(!strcmp(got, want), "'%s', %zu bytes: %s", shown, n, what))
        note("got %s", got);
    free(got);
}

/* ---- known ids ---- */

static const struct {
    const char *text;
    size_t n;
    const char *special; /* parse_special 1 */
    const char *plain;   /* parse_special 0; NULL: the same */
} known[] = {
    {"", 0, "", NULL},
    {"a", 1, "67", NULL},
    {" ", 1, "223", NULL},
    {"\n", 1, "201", NULL},
    {"\x00", 1, "191", NULL},
    {"é", 2, "130 105", NULL},
    {"中", 3, "1405", NULL},
    {"😀", 4, "175 256 249 225", NULL},
    {"Hello, world!", 13, "42 345 309 14 290 268 1126 3", NULL},
    {"  two  spaces\n\n\n   end  ", 24, "223 1013 223 764 1720 272 201 259 1289 259", NULL},
    {"\tif (a[i] != b->c) { return -1; } /* x */\r\n", 43,
     "200 350 318 67 61 75 63 223 3 31 281 1382 69 11 370 723 361 19 29 1154 587 12 1159 418 17 204 201", NULL},
    {"don't we've I'll", 16, "70 265 958 891 9 354 358 9 926", NULL},
    {"1234567 3.14 x86_64", 19, "798 21 22 23 24 25 223 21 16 1349 1159 26 24 65 1001", NULL},
    {"\xc2\xa0\xe3\x80\x80x\xe1\xa0\x8ey\xe2\x80\x8bz\xc2\x85w", 17,
     "453 583 225 90 160 257 239 91 614 236 92 129 230 89", NULL},
    {"深度求索ひらがなカタカナ、한국어 текст", 59,
     "165 118 112 1167 102 165 112 227 166 115 98 162 226 113 162 227 234 162 226 237 162 226 106 162 227 107"
     " 162 227 126 162 227 107 162 228 235 583 226 172 246 253 169 116 258 171 247 115 223 144 227 143 116 143"
     " 121 144 226 144 227", NULL},
    {"e\xcc\x81 \xcc\x81 n\xcc\x83", 10, "71 139 226 223 139 226 299 139 228", NULL},
    {"👩\xe2\x80\x8d👩\xe2\x80\x8d👧 🇩🇪", 27,
     "175 256 242 105 614 238 175 256 242 105 614 238 175 256 242 103 223 175 256 232 105 175 256 232 106", NULL},
    {"a\x00" "b\x00\x00" "c", 6, "67 191 68 191 191 69", NULL},
    {"½ ² Ⅷ ４ ٣", 16, "129 124 223 129 113 223 161 230 103 223 481 245 223 152 99", NULL},
    {"\xef\xbb\xbf" "BOM", 6, "174 122 126 36 1852", NULL},
    {"\xf0\xae\xaf\xb0\xe1\xb2\x89 \xe2\xbf\xbc\xf0\x90\xb5\x80", 15,
     "175 109 110 111 160 113 234 1957 126 123 175 241 116 225", NULL},
    {"<｜User｜>hi<｜Assistant｜>", 31,
     "2033 74 75 2034",
     "30 174 124 253 55 917 174 124 253 32 74 75 30 174 124 253 35 883 417 515 174 124 253 32"},
    {"<｜begin▁of▁sentence｜><｜begin▁of▁sentence｜", 57,
     "0 30 174 124 253 1140 73 261 161 247 226 1305 161 247 226 85 310 729 174 124 253",
     "30 174 124 253 1140 73 261 161 247 226 1305 161 247 226 85 310 729 174 124 253 32 30 174 124 253 1140 73"
     " 261 161 247 226 1305 161 247 226 85 310 729 174 124 253"},
    {"<|EOT|>x<|EOT|", 14, "2029 90 30 94 39 49 54 94", "30 94 39 49 54 94 32 90 30 94 39 49 54 94"},
    {"a <｜tool▁sep｜> b", 22, "67 223 2043 281", "67 545 174 124 253 502 352 161 247 226 386 82 174 124 253 32 281"},
    {"<｜<｜User｜>｜>", 20,
     "30 174 124 253 2033 174 124 253 32",
     "30 174 124 253 30 174 124 253 55 917 174 124 253 32 174 124 253 32"},
    {"the perplexity of the model is the exponential of the mean negative log-likelihood", 82,
     "738 632 435 90 522 296 270 991 78 308 270 391 82 265 310 631 296 270 762 284 489 73 1055 1106 15 78 75 77"
     " 345 75 74 1090", NULL},
};

static void check_known(const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *plain = known[i].plain ? known[i].plain : known[i].special;
        check_ids(t, known[i].text, known[i].n, 1, known[i].special, "the package's ids");
        check_ids(t, known[i].text, known[i].n, 0, plain, "with special tokens as text too");
    }
}

/* ---- words ---- */

static const struct {
    const char *pre, *words; /* between bars */
} cuts[] = {
    {"deepseek-v3", "Hello│,│ world│'s│ │123│45│ end"},
    {"deepseek-v3", " │ two│ │ spaces│ "},
    {"deepseek-v3", "a│ \n\n│ b│\r\n\r\n│c│\n"},
    {"deepseek-v3", "x│\xe1\xa0\x8ey│ │\xe1\xa0\x8e│ │\xe3\x80\x80z│\xc2\xa0"},
    {"deepseek-v3", "  │中│ │文字│ab│ │かなカナー│한국어"},
    {"deepseek-v3", "(foo│)bar│ .│baz│ │ !?\n\n│q"},
    {"deepseek-v3", "a\xcc\x81" "b│ \xcc\x81" "c│ │1│\xcc\x81"},
    {"deepseek-v3", "4½Ⅷ│²٣"},
    {"deepseek-v3", "\x01│\x02" "a│\x7f│ b│\xe2\x80\x8b" "c"},
    {"deepseek-v3", "tail│ \t "},
    {"deepseek-v3", "\xf0\xae\xaf\xb0│中│ \xe1\xb2\x89│\xe2\x90\xa7│\xf0\x90\xb5\x80"},
    {"deepseek-v3", "µǅʰ│ ﬁ│ Ａ│１│ΐ│ ԱაᏣ"},
    {"deepseek-v3", "\xe2\x80\xa8│\xe2\x80\xa9x│\xc2\x85y"},
    {"deepseek-llm", "Hello│,│ world│'│s│ │1│2│3│4│5│ end"},
    {"deepseek-llm", " │ two│ │ spaces│ "},
    {"deepseek-llm", "a│ │\n│\n│ b│\r│\n│\r│\n│c│\n"},
    {"deepseek-llm", "x│\xe1\xa0\x8e│y│ │\xe1\xa0\x8e│ │\xe3\x80\x80│z│\xc2\xa0"},
    {"deepseek-llm", "  │中│ │文字│ab│ │かなカナー한국어"},
    {"deepseek-llm", "(│foo│)│bar│ .│baz│ │ !?│\n│\n│q"},
    {"deepseek-llm", "a│\xcc\x81│b│ \xcc\x81│c│ │1│\xcc\x81"},
    {"deepseek-llm", "4│½│Ⅷ│²│٣"},
    {"deepseek-llm", "\x01\x02│a│\x7f│ b│\xe2\x80\x8b│c"},
    {"deepseek-llm", "tail│ \t "},
    {"deepseek-llm", "\xf0\xae\xaf\xb0│中│ │\xe1\xb2\x89\xe2\x90\xa7│\xf0\x90\xb5\x80"},
    {"deepseek-llm", "µǅ│ʰ│ ﬁ│ Ａ│１│ΐ│ Ա│ა│Ꮳ"},
    {"deepseek-llm", "\xe2\x80\xa8│\xe2\x80\xa9│x│\xc2\x85y"},
};

static int add_word(void *user, size_t at, size_t n)
{
    struct buffer *lengths = user;
    (void)at;
    buffer_printf(lengths, "%zu ", n);
    return 0;
}

/* The text without its bars, and the lengths between them. */
static void parse_words(const char *words, struct buffer *text, struct buffer *lengths)
{
    static const char bar[] = "│";
    for (const char *end; words; words = end ? end + strlen(bar) : NULL) {
        end = strstr(words, bar);
        size_t n = end ? (size_t)(end - words) : strlen(words);
        buffer_add(text, words, n);
        buffer_printf(lengths, "%zu ", n);
    }
}

static const struct pretokenizer *pretokenizer_named(const char *name)
{
    const struct pretokenizer *p = pretokenizers;
    while (p->name && strcmp(p->name, name))
        p++;
    return p;
}

static void check_words(void)
{
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct buffer text = {0}, want = {0}, got = {0};
        struct error e = {0};
        char shown[160];
        struct splitter *s = splitter_new(pretokenizer_named(cuts[i].pre), &e);
        if (!s)
            bail("no splitter: %s", e.text);
        parse_words(cuts[i].words, &text, &want);
        unicode_age(text.data, text.size);
        int rc = splitter_run(s, text.data, 0, text.size, add_word, &got, &e);
        escape_controls(cuts[i].words, shown, sizeof shown);
        if (!ok(!rc && got.data && !strcmp(got.data, want.data), "%s cuts %s", cuts[i].pre, shown))
            note("words of %s bytes", got.data ? got.data : "no");
        splitter_free(s);
        buffer_clear(&text);
        buffer_clear(&want);
        buffer_clear(&got);
    }
}

/* ---- broken UTF-8 ---- */

#define FFFD "\xef\xbf\xbd"
static const struct {
    const char *bytes, *repaired;
} broken[] = { /* the first four are Unicode 16.0's tables 3-8 to 3-11 */
    {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
    {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
    {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A"},
    {"\xe4\xb8", FFFD}, {"a\xf0\x9f\x98", "a" FFFD}, {"\xc3", FFFD}, {"\xff\xfe", FFFD FFFD},
    {"\xc3\xa9\xf5\xe4\xb8\xad", "\xc3\xa9" FFFD "\xe4\xb8\xad"},
};

static void check_broken(const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const char *bytes = broken[i].bytes, *repaired = broken[i].repaired;
        size_t size = strlen(bytes), k = 0;
        char out[64], hex[64], *want = encode(t, repaired, strlen(repaired), 0), *got = encode(t, bytes, size, 0);
        size_t n = utf8_repair(bytes, size, out);
        for (size_t j = 0; j < size; j++)
            k += (size_t)snprintf(hex + k, sizeof hex - k, "%02x", (unsigned char)bytes[j]);
        ok(n == strlen(repaired) && !memcmp(out, repaired, n), "%s is repaired as Rust and Python do it", hex);
        ok(!strcmp(got, want), "%s has the ids of the repaired text", hex);
        free(want);
        free(got);
    }
}

static void check_utf8(void)
{
    size_t wrong = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char s[4];
        uint32_t back;
        size_t n = utf8_write(cp, s);
        int surrogate = cp >= 0xd800 && cp < 0xe000;
        size_t len = utf8_read(s, n, &back);
        wrong += surrogate ? len != 1 || back != UINT32_MAX : len != n || back != cp;
    }
    ok(!wrong, "UTF-8 of all 1112064 characters is read as it is written, of 2048 surrogates it is refused");
}

/* ---- newer characters ---- */

static void check_age(void)
{
    static const char newer[] = "\u1c89 \u2ffc \ua7cb \U00010d40 \U0002ebf0 \U000323af";
    static const char old[] = "é中あ한😀\u1c88\U0002a6df";
    char text[sizeof newer], same[sizeof old];
    memcpy(text, newer, sizeof newer);
    memcpy(same, old, sizeof old);
    unicode_age(text, sizeof newer - 1);
    unicode_age(same, sizeof old - 1);
    ok(unicode_is_newer(newer, sizeof newer - 1) && !unicode_is_newer(text, sizeof text - 1),
       "6 characters of Unicode 15 and 16 become older ones");
    ok(!memcmp(text, "㐀 ← ꀀ 𝟎 𠀀 𠀀", sizeof text), "of the same kind and length");
    ok(!unicode_is_newer(old, sizeof old - 1) && !memcmp(same, old, sizeof old), "older ones stay");
}

/* ---- pieces ---- */

static int pieces_are_text(const struct tokenizer *t, const char *text, size_t n, int parse_special)
{
    struct token_ids ids = {0};
    struct buffer b = {0};
    tokenizer_encode(t, text, n, parse_special, &ids, NULL);
    for (size_t k = 0; k < ids.n; k++)
        tokenizer_piece(t, ids.ids[k], &b);
    int same = b.size == n && (!n || !memcmp(b.data, text, n));
    buffer_clear(&b);
    token_ids_clear(&ids);
    return same;
}

static void check_pieces(const struct tokenizer *t)
{
    size_t wrong = 0, size;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (int parse_special = 0; parse_special < 2; parse_special++)
            wrong += !pieces_are_text(t, known[i].text, known[i].n, parse_special);
    ok(!wrong, "the pieces of %zu texts are the texts, both ways", sizeof known / sizeof *known);
    char *text = read_file("tests/data/nano-v3/model.safetensors.index.json", &size);
    ok(text && pieces_are_text(t, text, size, 0), "so are those of %zu bytes with many words", text ? size : 0);
    free(text);
    text = read_file("tests/data/nano-v3/tokenizer.json", &size);
    ok(text && pieces_are_text(t, text, size, 1), "and of %zu bytes with added tokens", text ? size : 0);
    free(text);
}

/* A chunk's first token was replaced by BOS, and its ends cut words: all but 8 ids at each end come back. */
static void check_golden(const struct tokenizer *t)
{
    enum { CHUNK = 512, CHUNKS = 4, EDGE = 8 };
    size_t size;
    int32_t *golden = (int32_t *)read_file("tests/data/nano-v3/golden/tokens.bin", &size);
    if (!golden || size != 4 * CHUNK * CHUNKS)
        bail("no golden tokens");
    for (int c = 0; c < CHUNKS; c++) {
        const int32_t *chunk = golden + c * CHUNK, *inner = chunk + 1 + EDGE;
        size_t n = CHUNK - 1 - 2 * EDGE, at = 0;
        struct buffer text = {0};
        struct token_ids ids = {0};
        for (int i = 1; i < CHUNK; i++)
            tokenizer_piece(t, chunk[i], &text);
        tokenizer_encode(t, text.data, text.size, 0, &ids, NULL);
        while (at + n <= ids.n && memcmp(ids.ids + at, inner, n * sizeof *inner))
            at++;
        ok(at + n <= ids.n, "chunk %d of tokens.bin: its text has its %zu inner ids again", c, n);
        ok(chunk[0] == tokenizer_vocab(t)->special[SPECIAL_BOS], "and begins with the vocabulary's BOS");
        buffer_clear(&text);
        token_ids_clear(&ids);
    }
    free(golden);
}

/* ---- long texts ---- */

static size_t count(const struct tokenizer *t, const char *text, size_t n)
{
    struct token_ids ids = {0};
    if (tokenizer_encode(t, text, n, 1, &ids, NULL))
        return 0;
    size_t found = ids.n;
    token_ids_clear(&ids);
    return found;
}

static void check_long(const struct tokenizer *t)
{
    static const struct {
        const char *unit;
        size_t ids;
    } runs[] = {{"a", 1000000}, {"e", 500000}, {" ", 250000}, {"-", 250000}, {"#", 1000000}};
    enum { N = 1000000 };
    char *text = malloc(N + 3);
    if (!text)
        bail("out of memory");
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        memset(text, runs[i].unit[0], N);
        ok(count(t, text, N) == runs[i].ids, "1 MB of '%s' has %zu ids", runs[i].unit, runs[i].ids);
    }
    memset(text, ' ', N);
    memcpy(text + N, "中", 3);
    for (const struct pretokenizer *p = pretokenizers; p->name; p++) {
        struct buffer lengths = {0};
        struct splitter *s = splitter_new(p, NULL);
        int rc = s ? splitter_run(s, text, 0, N + 3, add_word, &lengths, NULL) : -1;
        ok(!rc && !strcmp(lengths.data, "1000000 3 "), "%s: 1 MB of spaces and a character are two words", p->name);
        splitter_free(s);
        buffer_clear(&lengths);
    }
    free(text);
}

static void check_threads(const struct tokenizer *t)
{
    int wrong = 0;
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (int i = 0; i < 400; i++) {
        size_t k = (size_t)i % (sizeof known / sizeof *known);
        char *got = encode(t, known[k].text, known[k].n, 1);
        wrong += strcmp(got, known[k].special) != 0;
        free(got);
    }
    ok(!wrong, "4 threads share a tokenizer: 400 texts, no id differs");
}

/* ---- GGUF keys ---- */

enum { N_TOKENS = 262 }; /* 256 bytes, "ab", "abab", two control and two user-defined tokens */

/* One thing in which a file differs from a good one: a key's value, and a token's text and type. */
static const struct damage {
    const char *title;
    const char *key;
    enum gguf_type type;
    const char *recipe; /* NULL: the key is left out */
    int token;          /* whose text changes; 0: none does */
    const char *text;
    int32_t token_type; /* 0: stays */
    enum error_code code;
    const char *message;
} damages[] = {
    {.title = "no tokenizer", .key = "model", .code = ERR_FORMAT, .message = "there is no tokenizer"},
    {.title = "the tokenizer 'none'", .key = "model", .type = GGUF_STRING, .recipe = "\"none\"", .code = ERR_FORMAT,
     .message = "there is no tokenizer"},
    {.title = "a sentencepiece tokenizer", .key = "model", .type = GGUF_STRING, .recipe = "\"llama\"",
     .code = ERR_UNSUPPORTED, .message = "not byte-level BPE"},
    {.title = "a number for a model", .key = "model", .type = GGUF_U32, .recipe = "u32=1", .code = ERR_FORMAT,
     .message = "model is no string"},
    {.title = "no pre-tokenizer", .key = "pre", .code = ERR_FORMAT, .message = "pre is missing"},
    {.title = "another pre-tokenizer", .key = "pre", .type = GGUF_STRING, .recipe = "\"deepseek-v\"",
     .code = ERR_UNSUPPORTED, .message = "'deepseek-v' is not known"},
    {.title = "no tokens", .key = "tokens", .code = ERR_FORMAT, .message = "tokens is missing"},
    {.title = "an empty list of tokens", .key = "tokens", .type = GGUF_ARRAY, .recipe = "u32=8 u64=0",
     .code = ERR_FORMAT, .message = "has no token"},
    {.title = "tokens that are numbers", .key = "tokens", .type = GGUF_ARRAY, .recipe = "u32=5 u64=1 u32=1",
     .code = ERR_FORMAT, .message = "no list of strings"},
    {.title = "no types", .key = "token_type", .code = ERR_FORMAT, .message = "token_type is missing"},
    {.title = "a type too few", .key = "token_type", .type = GGUF_ARRAY, .recipe = "u32=5 u64=261 0*1044",
     .code = ERR_FORMAT, .message = "not as long"},
    {.title = "types of 8 bits", .key = "token_type", .type = GGUF_ARRAY, .recipe = "u32=0 u64=262 0*262",
     .code = ERR_FORMAT, .message = "32-bit"},
    {.title = "token type 7", .token = 97, .token_type = 7, .code = ERR_FORMAT, .message = "unknown type"},
    {.title = "token type -1", .token = 97, .token_type = -1, .code = ERR_FORMAT, .message = "unknown type"},
    {.title = "a token without text", .token = 97, .text = "", .code = ERR_FORMAT, .message = "tokens[97] is no text"},
    {.title = "a token that is no UTF-8", .token = 97, .text = "%ff", .code = ERR_FORMAT,
     .message = "tokens[97] is no text"},
    {.title = "a token with a NUL", .token = 97, .text = "a%00", .code = ERR_FORMAT,
     .message = "tokens[97] is no text"},
    {.title = "a text of two tokens", .token = 97, .text = "b", .code = ERR_FORMAT,
     .message = "tokens 97 and 98 have the same text 'b'"},
    {.title = "two added tokens of one text", .token = 258, .text = "<t>", .code = ERR_FORMAT,
     .message = "two added tokens have the text '<t>'"},
    {.title = "a byte without a token", .token = 122, .text = "zz", .code = ERR_FORMAT, .message = "byte 0x7a"},
    {.title = "a byte's token that is unused", .token = 122, .token_type = TOKEN_UNUSED, .code = ERR_FORMAT,
     .message = "byte 0x7a"},
    {.title = "no merges", .key = "merges", .code = ERR_FORMAT, .message = "merges is missing"},
    {.title = "a merge of one part", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"ab\"",
     .code = ERR_FORMAT, .message = "merge 0 'ab' is no pair"},
    {.title = "a merge of three parts", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"a%20b%20c\"",
     .code = ERR_FORMAT, .message = "is no pair"},
    {.title = "a merge without a left part", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"%20ab\"",
     .code = ERR_FORMAT, .message = "is no pair"},
    {.title = "a merge without a right part", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"ab%20\"",
     .code = ERR_FORMAT, .message = "is no pair"},
    {.title = "a merge to an unknown token", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"b%20a\"",
     .code = ERR_FORMAT, .message = "merge 0 'b a' names an unknown token"},
    {.title = "a merge of an unknown token", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"xy%20z\"",
     .code = ERR_FORMAT, .message = "names an unknown token"},
    {.title = "a merge twice", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=2 \"a%20b\" \"a%20b\"",
     .code = ERR_FORMAT, .message = "merge 1 'a b' stands twice"},
    {.title = "an empty merge", .key = "merges", .type = GGUF_ARRAY, .recipe = "u32=8 u64=1 \"\"", .code = ERR_FORMAT,
     .message = "merges[0] is no text"},
    {.title = "a BOS beyond the vocabulary", .key = "bos_token_id", .type = GGUF_U32, .recipe = "u32=262",
     .code = ERR_FORMAT, .message = "bos_token_id is no token's id"},
    {.title = "a negative EOS", .key = "eos_token_id", .type = GGUF_I32, .recipe = "u32=2^32-1", .code = ERR_FORMAT,
     .message = "eos_token_id is no token's id"},
    {.title = "an add_bos_token of 2", .key = "add_bos_token", .type = GGUF_U32, .recipe = "u32=2", .code = ERR_FORMAT,
     .message = "add_bos_token is no truth value"},
};

/* Appends a GGUF string. */
static void add_bytes(struct buffer *b, const char *text)
{
    buffer_u64(b, strlen(text));
    buffer_text(b, text);
}

/* The same; %XX in it is a byte. */
static void add_string(struct buffer *b, const char *text)
{
    struct buffer recipe = {0};
    buffer_printf(&recipe, "\"%s\"", text);
    assemble(b, recipe.data);
    buffer_clear(&recipe);
}

static void add_tokens(struct gguf_meta *m, const struct damage *d)
{
    static const char *const more[] = {"ab", "abab", "<|c|>", "<t>", "<|<t>|>", "<t>>"};
    struct buffer texts = {0}, types = {0};
    uint32_t other = 0x100;
    for (int i = 0; i < N_TOKENS; i++) {
        int visible = (i > 0x20 && i < 0x7f) || (i > 0xa0 && i != 0xad);
        char text[8] = {0};
        if (i < 256)
            utf8_write(visible ? (uint32_t)i : other++, text);
        if (d->text && d->token == i)
            add_string(&texts, d->text);
        else
            add_bytes(&texts, i < 256 ? text : more[i - 256]);
        int type = i < 258 ? TOKEN_NORMAL : i % 2 ? TOKEN_USER_DEFINED : TOKEN_CONTROL;
        buffer_u32(&types, (uint32_t)(d->token == i && d->token_type ? d->token_type : type));
    }
    gguf_add_array(m, "tokenizer.ggml.tokens", GGUF_STRING, N_TOKENS, texts.data, texts.size);
    gguf_add_array(m, "tokenizer.ggml.token_type", GGUF_I32, N_TOKENS, types.data, types.size);
    buffer_clear(&texts);
    buffer_clear(&types);
}

/* Drops a key, or gives it another value. */
static void change_key(struct gguf_meta *m, const struct damage *d)
{
    char key[64];
    struct buffer value = {0};
    size_t i = 0;
    snprintf(key, sizeof key, "tokenizer.ggml.%s", d->key);
    if (d->recipe) {
        assemble(&value, d->recipe);
        gguf_add(m, key, d->type, value.data, value.size);
        buffer_clear(&value);
        return;
    }
    while (strcmp(m->kvs[i].key, key))
        i++;
    memmove(&m->kvs[i], &m->kvs[i + 1], (--m->n - i) * sizeof *m->kvs);
}

static const char *write_gguf(const struct damage *d)
{
    struct gguf_meta *m = calloc(1, sizeof *m);
    struct buffer merges = {0}, out = {0};
    const char *path = tmp_path("vocab.gguf");
    struct error e = {0};
    uint64_t size;
    if (!m)
        bail("out of memory");
    gguf_add_string(m, "tokenizer.ggml.model", "gpt2", 4);
    gguf_add_string(m, "tokenizer.ggml.pre", "deepseek-v3", 11);
    add_tokens(m, d);
    assemble(&merges, "\"a%20b\" \"ab%20ab\"");
    gguf_add_array(m, "tokenizer.ggml.merges", GGUF_STRING, 2, merges.data, merges.size);
    gguf_add_u32(m, "tokenizer.ggml.bos_token_id", 258);
    gguf_add_bool(m, "tokenizer.ggml.add_bos_token", 1);
    if (d->key)
        change_key(m, d);
    if (gguf_layout(m, NULL, 0, &out, &size, &e))
        bail("cannot write a GGUF: %s", e.text);
    write_file(path, out.data, out.size);
    buffer_clear(&merges);
    buffer_clear(&out);
    gguf_meta_free(m);
    return path;
}

static void check_gguf(void)
{
    struct error e = {0};
    struct tokenizer *t = open_tokenizer(write_gguf(&(struct damage){0}), &e);
    if (!ok(t, "a vocabulary of 262 tokens in a GGUF opens")) {
        note("%s", e.text);
        return;
    }
    const struct vocab *v = tokenizer_vocab(t);
    ok(v->n_tokens == N_TOKENS && v->n_merges == 2 && v->n_added == 4, "262 tokens, 2 merges, 4 added tokens");
    ok(v->special[SPECIAL_BOS] == 258 && v->special[SPECIAL_EOS] == -1 && v->add_bos == 1 && v->add_eos == -1,
       "BOS is 258 and added, EOS is not said");
    check_ids(t, "abababab", 8, 1, "257 257", "merges of merges");
    check_ids(t, "ababab a", 8, 1, "257 256 32 97", "the leftmost of equals first");
    check_ids(t, "a<t><|c|>", 9, 1, "97 259 258", "both added tokens with parse_special");
    check_ids(t, "a<t><|c|>", 9, 0, "97 259 60 124 99 124 62", "without it the user-defined one only");
    check_ids(t, "<t>>>", 5, 0, "261 62", "the longest of two added tokens");
    check_ids(t, "<|<t>|><t>", 10, 1, "260 259", "the leftmost of two");
    check_ids(t, "<|<t>|><t>", 10, 0, "60 124 60 116 62 124 62 259", "a control token is text as a whole");
    tokenizer_close(t);
}

static void check_vocab_size(void)
{
    for (uint64_t size = N_TOKENS - 1; size <= N_TOKENS; size++) {
        struct arch_params p = {.vocab_size = size};
        struct error e = {0};
        struct source *s = source_open(write_gguf(&(struct damage){0}), &e);
        struct tokenizer *t = s ? tokenizer_open(s, &p, &e) : NULL;
        int refused = !t && e.code == ERR_FORMAT && strstr(e.text, "262 tokens, but vocab_size is 261");
        ok(size < N_TOKENS ? refused : t != NULL,
           "262 tokens are %s for a vocab_size of %d", size < N_TOKENS ? "too many" : "right", (int)size);
        tokenizer_close(t);
        source_close(s);
    }
}

static void check_damages(void)
{
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct error e = {0};
        struct tokenizer *t = open_tokenizer(write_gguf(&damages[i]), &e);
        int refused = !t && e.code == damages[i].code && strstr(e.text, damages[i].message);
        if (!ok(refused, "%s is refused", damages[i].title))
            note("code %d, '%s'", e.code, e.text);
        tokenizer_close(t);
    }
}

int main(void)
{
    struct error e = {0};
    struct tokenizer *t = open_tokenizer(nano, &e);
    if (!t)
        bail("%s: %s", nano, e.text);
    check_known(t);
    check_words();
    check_utf8();
    check_broken(t);
    check_age();
    check_pieces(t);
    check_golden(t);
    check_long(t);
    check_threads(t);
    tokenizer_close(t);
    check_gguf();
    check_vocab_size();
    check_damages();
    return done();
}
