#!/bin/sh
# SPDX-License-Identifier: MIT
# Ratios against what a user would run instead, both in this run on this machine. Needs the environment of `make interop`.
# The slice has V3's real layer shapes; its tensors are made by tests/tools/mkcheckpoint and mean nothing.
set -eu
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
python=$(sh tests/interop/env.sh)/bin/python
tmp=$(mktemp -d "${TMPDIR:-/tmp}/pare-bench.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

"$TOOLS/mkcheckpoint" --family v3 --out "$tmp/slice" --hidden 7168 --heads 128 --q-lora 1536 --kv-lora 512 --layers 2 --dense 1 \
    --inter 18432 --moe-inter 2048 --experts 16 --groups 8 --topk-group 4 --used 8 --mtp 0 --vocab 2048 --shards 3 \
    --tokenizer tests/data/nano-v3 >"$tmp/made"
cat "$tmp/made"

# seconds COMMAND...: wall-clock seconds, the file system's writes included
seconds()
{
    sync
    start=$(date +%s.%N)
    "$@" >"$tmp/out" 2>&1 || { cat "$tmp/out" >&2; exit 1; }
    sync
    echo "$start $(date +%s.%N)" | awk '{printf "%.2f", $2 - $1}'
}

printf '%-22s %10s %10s %8s\n' "conversion (median of 3)" "pare s" "llama.cpp" "ratio"
for type in Q8_0 BF16; do
    for run in 1 2 3; do
        rm -f "$tmp"/*.gguf
        seconds "$PARE" convert "$tmp/slice" -o "$tmp/a.gguf" -r $type -q >>"$tmp/ours-$type"
        rm -f "$tmp"/*.gguf
        seconds "$python" tests/interop/convert_reference.py --pre deepseek-v3 "$tmp/slice" "$tmp/b.gguf" $type >>"$tmp/peer-$type"
        echo >>"$tmp/ours-$type"
        echo >>"$tmp/peer-$type"
    done
    ours=$(sort -n "$tmp/ours-$type" | sed -n 2p) peer=$(sort -n "$tmp/peer-$type" | sed -n 2p)
    printf '%-24s %10s %10s %8s\n' "FP8 -> $type" "$ours" "$peer" "$(echo "$ours $peer" | awk '{printf "%.1f", $2 / $1}')"
done
build/tests/t-kernels --bench
build/tests/t-forward --bench
