/* SPDX-License-Identifier: MIT
 * Fuzz target: formats/safetensors.h. The input is a whole file. An engine rarely finds the length of a header that it has
 * changed, so the same bytes are tried once more with the length up to their last brace. */
#include <string.h>

#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void try_file(const char *path)
{
    struct error e = {0};
    struct source *s = source_open(path, &e);
    if (!s)
        fuzz_must_say(&e);
    else
        fuzz_must_hold(s);
    must(s || strstr(e.file, "x.safetensors"));
    source_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char name[] = "x.safetensors";
    uint8_t fixed[1 << 16];
    size_t end = size;
    try_file(fuzz_file(name, data, size));
    while (end > 8 && data[end - 1] != '}')
        end--;
    if (end <= 8 || size > sizeof fixed)
        return 0;
    memcpy(fixed, data, size);
    for (int i = 0; i < 8; i++)
        fixed[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
    if (memcmp(fixed, data, 8))
        try_file(fuzz_file(name, fixed, size));
    return 0;
}
