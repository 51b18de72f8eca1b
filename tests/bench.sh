#!/bin/sh
# SPDX-License-Identifier: MIT
# Ratios against what a user would run instead, both in this run on this machine. Needs the environment of `make interop`.
# The slice has V3's real layer shapes; its tensors are made by tests/tools/mkcheckpoint and mean nothing.
# usage: bench.sh [conversion|mixture|checkpoint|kernels|coding|judge|small_memory]...      all of them by default
set -eu
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
RUNS=${RUNS:-3}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/pare-bench.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# The source is on the disk and nowhere else, what was written before is written out.
forget()
{
    for f in "$tmp"/slice/*.safetensors; do
        dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none
    done
    sync
}

# seconds COMMAND...: wall-clock seconds from a cold source; what the command leaves to the system to write is not counted
seconds()
{
    rm -f "$tmp"/out.*
    forget
    start=$(date +%s.%N)
    "$@" >"$tmp/said" 2>&1 || { cat "$tmp/said" >&2; exit 1; }
    echo "$start $(date +%s.%N)" | awk '{printf "%.2f\n", $2 - $1}'
}

# copy BYTES: reads the source's shards and writes as many bytes as the conversion does, with dd
copy()
{
    at=0
    for f in "$tmp"/slice/*.safetensors; do
        dd if="$f" of="$tmp/out.dd" bs=4M oflag=seek_bytes seek=$at conv=notrunc
        at=$((at + $(stat -c %s "$f")))
    done
    rest=$(($1 > at ? $1 - at : 0))
    dd if=/dev/zero of="$tmp/out.dd" bs=4M iflag=count_bytes count=$rest oflag=seek_bytes seek=$at conv=notrunc,fsync
}

median()
{
    sort -n "$1" | sed -n "$(((RUNS + 1) / 2))p"
}

make_slice()
{
    [ ! -d "$tmp/slice" ] || return 0
    "$TOOLS/mkcheckpoint" --family v3 --out "$tmp/slice" --hidden 7168 --heads 128 --q-lora 1536 --kv-lora 512 --layers 2 --dense 1 \
        --inter 18432 --moe-inter 2048 --experts 16 --groups 8 --topk-group 4 --used 8 --mtp 0 --vocab 2048 --shards 3 \
        --tokenizer tests/data/nano-v3
}

# Entropy coding of FP8 codes in pieces of 1 MiB, in memory, and of the shards by zstd; then a pack of the slice and the way back.
coding()
{
    make_slice
    threads=$(nproc 2>/dev/null || echo 2)
    "$TOOLS/coding-rate" "$tmp/slice" "$threads"
    for level in 1 3; do
        ! command -v zstd >/dev/null || zstd -q -b$level -e$level -B1048576 -T"$threads" "$tmp"/slice/model-00001*.safetensors
    done
    size=$(du -cb "$tmp"/slice/*.safetensors | tail -n 1 | cut -f 1)
    packed=$(seconds "$PARE" convert "$tmp/slice" --to pack -r source --compress -o "$tmp/out.tar" -q)
    bytes=$(stat -c %s "$tmp/out.tar")
    rm -rf "$tmp/back"
    start=$(date +%s.%N)
    "$PARE" convert "$tmp/out.tar" --to source -o "$tmp/back" -q >/dev/null
    back=$(echo "$start $(date +%s.%N)" | awk '{print $2 - $1}')
    echo "$size $bytes $packed $back" | awk '{
        printf "pack -r source --compress: %.1f %% of the release, %.2f GB/s, source cold; --to source: %.2f GB/s, pack warm\n", 100 * $2 / $1, $1 / $3 / 1e9, $1 / $4 / 1e9}'
    rm -rf "$tmp/back" "$tmp"/out.tar*
}

conversion()
{
    make_slice
    printf '%-24s %8s %10s %8s %10s %8s\n' "median of $RUNS, source cold" "pare s" "llama.cpp" "ratio" "dd fsync" "of dd"
    for type in Q8_0 BF16; do
        bytes=$("$PARE" plan "$tmp/slice" -r $type --json | sed -n 's/.*"total_bytes":[^0-9]*\([0-9]*\).*/\1/p')
        for run in $(seq "$RUNS"); do
            seconds "$PARE" convert "$tmp/slice" -o "$tmp/out.gguf" -r $type -q >>"$tmp/ours-$type"
            seconds copy "$bytes" >>"$tmp/dd-$type"
            seconds "$python" tests/interop/convert_reference.py --pre deepseek-v3 "$tmp/slice" "$tmp/out.b.gguf" $type \
                >>"$tmp/peer-$type"
        done
        echo "$(median "$tmp/ours-$type") $(median "$tmp/peer-$type") $(median "$tmp/dd-$type")" |
            awk -v what="FP8 -> $type" '{printf "%-24s %8.2f %10.2f %8.1f %10.2f %7.0f%%\n", what, $1, $2, $2 / $1, $3, 100 * $3 / $1}'
    done
}

# peer_mixture TYPE: what a user of llama.cpp runs, by way of a BF16 file
peer_mixture()
{
    "$python" tests/interop/convert_reference.py --pre deepseek-v3 "$tmp/slice" "$tmp/out.bf16.gguf" BF16
    "$quantize" "$tmp/out.bf16.gguf" "$tmp/out.b.gguf" "$1" "$(nproc)"
}

# The whole way to a mixture. Once each: the peer's takes minutes.
mixture()
{
    make_slice
    quantize=$(sh tests/interop/llama_quantize.sh "$(dirname "$(dirname "$python")")")
    printf '%-24s %8s %8s %10s %8s %8s\n' "source cold" "compat s" "best s" "llama.cpp" "ratio" "ratio"
    for type in Q4_K_M Q2_K; do
        for search in compat best; do
            seconds "$PARE" convert "$tmp/slice" -o "$tmp/out.gguf" -r $type --search $search -q >"$tmp/$search"
        done
        seconds peer_mixture $type >"$tmp/peer"
        echo "$(cat "$tmp/compat") $(cat "$tmp/best") $(cat "$tmp/peer")" |
            awk -v what="FP8 -> $type" '{printf "%-24s %8.2f %8.2f %10.2f %8.1f %8.1f\n", what, $1, $2, $3, $3 / $1, $3 / $2}'
    done
}

# W4A16 as the compressed-tensors package makes it on the same processors, and by pare; both on the source in memory's cache
checkpoint()
{
    make_slice
    printf '\n%-28s %8s %8s %10s %8s\n' "median of $RUNS, source warm" "pare s" "peer s" "ratio" "bytes"
    for run in $(seq "$RUNS"); do
        cat "$tmp"/slice/*.safetensors >/dev/null
        rm -rf "$tmp/out.peer"
        "$python" tests/interop/bench_compressed.py "$tmp/slice" "$tmp/out.peer" "$(nproc)" >>"$tmp/peer"
        for search in best compat; do
            rm -rf "$tmp/out.ct"
            start=$(date +%s.%N)
            "$PARE" convert "$tmp/slice" -o "$tmp/out.ct" --to compressed-tensors --search "$search" -q >/dev/null
            echo "$start $(date +%s.%N)" | awk '{printf "%.2f\n", $2 - $1}' >>"$tmp/ct-$search"
        done
    done
    bytes=$(cat "$tmp"/out.ct/*.safetensors | wc -c)
    for search in best compat; do
        echo "$(median "$tmp/ct-$search") $(median "$tmp/peer") $bytes" |
            awk -v w="W4A16, --search $search" '{printf "%-28s %8.2f %8.2f %10.2f %8.0f M\n", w, $1, $2, $2 / $1, $3 / 1e6}'
    done
}

# wall COMMAND...: seconds of a run from a warm cache
wall()
{
    start=$(date +%s.%N)
    "$@" >"$tmp/said" 2>&1 || { cat "$tmp/said" >&2; exit 1; }
    echo "$start $(date +%s.%N)" | awk '{printf "%.2f\n", $2 - $1}'
}

# Perplexity and divergence against llama-perplexity, both from F32 files, and what a base file saves. JUDGED: a trained checkpoint.
judge()
{
    judged=${JUDGED:-tests/data/nano-v3}
    text=${JUDGED_TEXT:-$tmp/text}
    cat README.md docs/*.md >"$tmp/text"
    chunks=${JUDGED_CHUNKS:-16}
    perplexity=$(sh tests/interop/llama_quantize.sh "$(dirname "$(dirname "$python")")" llama-perplexity)
    "$PARE" convert "$judged" -o "$tmp/f32.gguf" -r F32 -q >/dev/null
    "$PARE" convert "$judged" -o "$tmp/q4.gguf" -r Q4_K_M --search compat -q >/dev/null
    here="--text $text --chunks $chunks -q"
    for run in $(seq "$RUNS"); do
        wall "$PARE" verify "$tmp/f32.gguf" $here --align llama >>"$tmp/j-ours"
        wall "$perplexity" -m "$tmp/f32.gguf" -f "$text" --chunks "$chunks" -t "$(nproc)" -c 512 --no-warmup >>"$tmp/j-peer"
        wall "$PARE" verify "$judged" "$tmp/q4.gguf" $here >>"$tmp/j-pair"
        wall "$PARE" verify "$judged" "$tmp/q4.gguf" $here --no-local >>"$tmp/j-plain"
        wall "$PARE" verify "$judged" $here --save-base "$tmp/base" --force >>"$tmp/j-save"
        wall "$PARE" verify "$tmp/base" "$tmp/q4.gguf" -q >>"$tmp/j-base"
    done
    printf '\n%s, %s chunks of 512, median of %s, warm\n' "$(basename "$judged")" "$chunks" "$RUNS"
    echo "$(median "$tmp/j-ours") $(median "$tmp/j-peer") $(median "$tmp/j-pair") $(median "$tmp/j-plain") $(median "$tmp/j-save") $(median "$tmp/j-base")" | awk '{
        printf "perplexity from F32: %.2f s, llama-perplexity %.2f s: %.1f times\n", $1, $2, $2 / $1
        printf "a pair: %.2f s, --no-local %.2f s; --save-base %.2f s, then a candidate %.2f s: %.2f of a pair\n", $3, $4, $5, $6, $6 / $3 }'
}

# bytes of FILES that the system's cache does not have any more
cold()
{
    dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none
    stat -c %s "$1"
}

# A model of three times the memory that both may use, their files' cache included: bytes read and time by the length of the text.
small_memory()
{
    make_slice
    limit=${LIMIT:-600000000}
    cat README.md docs/*.md >"$tmp/text"
    perplexity=$(sh tests/interop/llama_quantize.sh "$(dirname "$(dirname "$python")")" llama-perplexity)
    "$PARE" convert "$tmp/slice" -o "$tmp/big.gguf" -r Q8_0 -q >/dev/null
    printf '\n%s of weights, %s of memory: %-10s %8s %10s %8s\n' "$(numfmt --to=si "$(stat -c %s "$tmp/big.gguf")")" "$(numfmt --to=si "$limit")" chunks seconds "GB read" "of file"
    for chunks in ${SMALL_CHUNKS:-1 4}; do
        for who in pare llama-perplexity; do
            size=$(cold "$tmp/big.gguf")
            case $who in
            pare) set -- "$PARE" verify "$tmp/big.gguf" --text "$tmp/text" --chunks "$chunks" -q --align llama --memory 400M ;;
            *) set -- "$perplexity" -m "$tmp/big.gguf" -f "$tmp/text" --chunks "$chunks" -t "$(nproc)" -c 512 --no-warmup ;;
            esac
            took=$(wall tests/limited.sh "$limit" "$TOOLS/peak" -r "$tmp/peak" "$@")
            echo "$took $(cat "$tmp/peak") $size" | awk -v c="$chunks" -v w="$who" '{printf "%-40s %-10s %8.1f %10.2f %8.2f\n", w, c, $1, $2 / 1e9, $2 / $3}'
        done
    done
    rm -f "$tmp/big.gguf"
}

kernels()
{
    "$python" tests/interop/bench_codecs.py build/tests/t-kernels
    build/tests/t-kernels --bench
    build/tests/t-forward --bench
    build/tests/t-feedback --bench
}

python=$(sh tests/interop/env.sh)/bin/python
[ $# -gt 0 ] || set -- conversion mixture checkpoint kernels coding judge small_memory
for part; do
    $part
done
