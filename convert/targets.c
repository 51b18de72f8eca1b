/* SPDX-License-Identifier: MIT
 * The table of target layouts. */
#include <stddef.h>

#include "convert/target_gguf.h"

const struct target targets[] = {
    {"gguf", ".gguf", "GGUF for llama.cpp and its relatives", "Q8_0", target_gguf_build, target_gguf_file_name},
    {0},
};
