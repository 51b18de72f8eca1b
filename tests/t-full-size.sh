#!/bin/sh
# SPDX-License-Identifier: MIT
# A 671B-shaped checkpoint (61 layers and MTP, 256 experts, 91,991 tensors) whose shards are holes: inspected and planned
# in little time and memory. Times are bounded by processor seconds, generously: machines are noisy.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}

# measured TITLE SECONDS KILOBYTES COMMAND...: under limits that kill; sanitizers need more room for their shadow
measured()
{
    title=$1 seconds=$2 kilobytes=$3
    shift 3
    case $PARE in *build-*) seconds=$((seconds * 20)) kilobytes=unlimited ;; esac
    ok "$title" sh -c "ulimit -t $seconds; ulimit -v $kilobytes; exec \"\$@\"" sh "$@"
}

ok "the checkpoint is made without using the disk" "$TOOLS/mkcheckpoint" --family v3 --real --sparse --out "$tmp/ck"
has "$tmp/stdout" "91991 tensors" "91,991 tensors"
cp tests/data/nano-v3/tokenizer.json tests/data/nano-v3/tokenizer_config.json "$tmp/ck"
measured "inspect takes under 1 s and 200 MiB" 1 204800 "$PARE" inspect "$tmp/ck"
has "$tmp/stdout" "688.57 GB" "and finds 688.57 GB of tensors"
OMP_STACKSIZE=256k measured "plan takes under 3 s and 200 MiB" 3 204800 "$PARE" plan "$tmp/ck" -r Q8_0
has "$tmp/stdout" "1086 tensors" "1,086 tensors without the MTP layer"
measured "with the MTP layer too" 3 204800 "$PARE" plan "$tmp/ck" -r Q8_0 --mtp keep
OMP_STACKSIZE=256k measured "plan of a W4A16 checkpoint takes under 4 s and 260 MiB" 4 266240 "$PARE" plan "$tmp/ck" --to compressed-tensors
has "$tmp/stdout" "137675 tensors in 73 files" "137,675 tensors in shards"
OMP_STACKSIZE=256k measured "plan of an expert pack takes under 4 s and 200 MiB" 4 204800 "$PARE" plan "$tmp/ck" --to pack
has "$tmp/stdout" "46679 tensors in 1 file, header 512 bytes, total 397" "46,679 tensors in 16,472 members"
OMP_STACKSIZE=256k measured "plan of the release in fewer bytes takes under 5 s and 260 MiB" 5 266240 "$PARE" plan "$tmp/ck" --to pack -r source --compress
has "$tmp/stdout" "91991 tensors in 1 file" "91,991 tensors as they are"
fails 4 "a conversion that the disk cannot hold is refused" "$PARE" convert "$tmp/ck" -o "$tmp/x.gguf" -r F32
has "$tmp/stderr" "too little disk" "before anything is written"
is "$(ls "$tmp" | grep -c 'x.gguf')" 0 "nothing was"
done_testing
