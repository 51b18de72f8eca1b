#!/bin/sh
# SPDX-License-Identifier: MIT
# Single bits that turn over in what a conversion leaves: in a GGUF, a split one, a manifest, and a checkpoint with a manifest, check
# finds each; in a journal, the resumed run makes the right bytes or refuses. FAULTS=all: 25,000 flips and more, FLIPS of each kind.
. "$(dirname "$0")/faults/job.sh"

mkdir "$tmp/cut"
n=25
[ -z "$san" ] || n=10
[ -z "$long" ] || n=${FLIPS:-2500}
# flips MODE FOLDER NAME OPTIONS... -- COMMAND...
flips()
{
    mode=$1 base=$2 name=$3
    shift 3
    "$bin/flips" $mode -b "$base" -w "$tmp/flipped" -f "$name" "$@"
}
# found TITLE FOLDER NAME PATH [OPTION...]: check of PATH finds flips in FOLDER/NAME
found()
{
    title=$1 base=$2 name=$3 path=$4
    shift 4
    if flips check "$base" "$name" "$@" -- "$PARE" check -q "@/$path" >"$tmp/stdout" 2>"$tmp/stderr"; then
        tap_result 0 "$(sed -n 's/^\([0-9]*\) flips.*/\1/p' "$tmp/stdout") $title"
    else
        tap_result 1 "$title" || :
        tap_output "flips of $name"
    fi
}

found "flips anywhere in a GGUF are found" "$new" out.gguf out.gguf -n $n
found "flips in its header are found" "$new" out.gguf out.gguf -n $n -r 0:4096
found "flips of its first 24 bytes are found" "$new" out.gguf out.gguf ${long:+-a} -n $n -r 0:24
found "flips in its manifest are found" "$new" out.gguf.manifest.json out.gguf -n $n
size=$(wc -c <"$new/out.gguf.manifest.json")
found "flips of the manifest's last 60 bytes are found" "$new" out.gguf.manifest.json out.gguf -n $n -r $((size - 60)):$size
file=$(basename "$split"/out-00002-of-*.gguf)
found "flips in a file of a split GGUF are found from the first" "$split" "$file" "$(basename "$split"/out-00001-of-*.gguf)" -n $n

# padding: e_score_correction_bias of two experts has 8 bytes, the next tensor begins 32 bytes later
"$PARE" plan --no-vocab "$source" -r Q8_0 --json >"$tmp/plan"
pad=$(awk -F '[:,\t ]+' '/"bytes":/ { bytes = $3 } /"offset":/ { if (at && $3 > end && !pad) pad = end ":" $3; at = $3; end = at + bytes }
    END { print pad }' "$tmp/plan")
is "${pad:+there}" there "there is padding between two tensors, bytes $pad"
found "flips of padding are found" "$new" out.gguf out.gguf ${long:+-a} -n $n -r "$pad"
cp "$new"/* "$tmp/cut"
printf '\001' | dd of="$tmp/cut/out.gguf" bs=1 seek=$((${pad%:*} + 5)) conv=notrunc 2>/dev/null
fails 1 "one byte of it" "$PARE" check "$tmp/cut/out.gguf"
has "$tmp/stdout" "out.gguf: the byte at $((${pad%:*} + 5)) lies in padding and is not zero" "is named"

# a checkpoint that has a manifest
cp -rp "$source" "$tmp/known"
"$PARE" manifest "$tmp/known" -q >/dev/null
shard=$(cd "$source" && ls *.safetensors | tail -n 1)
for name in "$shard" config.json model.safetensors.index.json pare.manifest.json; do
    found "flips in a checkpoint's $name are found" "$tmp/known" "$name" . -n $n
done

# truncation and exchange
cut_found=0
for bytes in 1 2 31 32 33 4096 100000; do
    cp "$new"/* "$tmp/cut"
    truncate -s -$bytes "$tmp/cut/out.gguf"
    "$PARE" check -q "$tmp/cut/out.gguf" >/dev/null 2>&1 || cut_found=$((cut_found + 1))
    cp "$new"/* "$tmp/cut"
    truncate -s -$bytes "$tmp/cut/out.gguf.manifest.json" 2>/dev/null
    "$PARE" check -q "$tmp/cut/out.gguf" >/dev/null 2>&1 || cut_found=$((cut_found + 1))
done
is $cut_found 14 "truncations of GGUF and manifest are found, by any number of bytes"
cp "$new"/* "$tmp/cut"
printf '\n' >>"$tmp/cut/out.gguf.manifest.json"
fails 3 "a byte behind a manifest is found" "$PARE" check "$tmp/cut/out.gguf"
has "$tmp/stderr" "not those of its own hash" "and told"

# a journal
half=$tmp/half
for k in 8 9 10 11 12 13 14 15 16 8 9 10 11 12 13 14 15 16; do # which of them finds some units recorded is a matter of luck
    rm -rf "$half" && mkdir "$half"
    FAULT_ROOT=$half FAULT_CLASS=sync FAULT_AT=$k FAULT_DO=kill ${preload:+env LD_PRELOAD=$preload} "$PARE" convert --no-vocab "$source" \
        -o "$half/out.gguf" -r Q8_0 -q -j 1 --sync-every 32K >/dev/null 2>&1
    units=$("$PARE" status --json "$half/out.gguf" 2>/dev/null | sed -n 's/.*"units_done":[ 	]*\([0-9]*\),*/\1/p')
    [ "${units:-0}" -eq 0 ] || break
done
is "$([ "${units:-0}" -gt 0 ] && echo some)" some "a run is killed with units recorded"
# resumed TITLE [OPTION...]
resumed()
{
    title=$1
    shift
    if flips resume "$half" out.gguf.journal -R "$new" -o out.gguf "$@" -- "$PARE" convert --no-vocab "$source" -o @/out.gguf -r Q8_0 -q \
        >"$tmp/stdout" 2>"$tmp/stderr"; then
        tap_result 0 "$(sed -n 's/^\([0-9]*\) flips.*; \([0-9]*\) refused/\1 flips \2 times refused/p' "$tmp/stdout") $title"
    else
        tap_result 1 "$title" || :
        tap_output "flips of the journal"
    fi
}
resumed "in a journal: the right bytes or a refusal" -n $((2 * n))
resumed "in the fixed part of its header" -n $n -r 0:40
size=$(wc -c <"$half/out.gguf.journal")
resumed "in its last records" -n $n -r $((size - 480)):$size
done_testing
