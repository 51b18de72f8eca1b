# SPDX-License-Identifier: MIT
# The job that faults, kills and power cuts strike; tests source it instead of sh-tap.sh, which it sources itself.
# A checkpoint of half a megabyte becomes a GGUF in some 5 ms. $new is what an undisturbed run leaves, $old a finished output of
# another recipe by the same name. FAULTS=all: every case instead of a sample.
#
#   drive MODE [OPTION...] [-- EXTRA...]   tests/faults/drive on this job; EXTRA are further words of the command
#   drive_old MODE ...                     the same with $old in place and --force
#   holds TITLE COMMAND...                 a test whose title tells the number of calls that were struck

[ -z "${TMPDIR:-}" ] || slow_tmp=$TMPDIR
[ ! -w /dev/shm ] || TMPDIR=/dev/shm    # thousands of syncs; what they cost on a disk is no matter here
. "${0%/*}/sh-tap.sh"
LC_ALL=C
export LC_ALL
TOOLS=${TOOLS:-$PWD/build/tests/tools}
bin=${TOOLS%/tools}/faults
PARE=${PARE:-$PWD/pare}
preload=$bin/inject.so
san=
if [ -x "$bin/pare" ]; then             # a sanitizer's build: linked in, not preloaded
    PARE=$bin/pare
    preload=
    san=1
fi
long=
[ "${FAULTS:-}" != all ] || long=1
cores=$(nproc 2>/dev/null || echo 2)
[ "$cores" -le 4 ] || cores=4

journal=                                # whether the program resumes
"$PARE" convert --help | grep -q -e --sync-every && journal=1

source=$tmp/source new=$tmp/new old=$tmp/old
mkdir "$new" "$old"
"$TOOLS/mkcheckpoint" --family v3 --layers 2 --vocab 128 --hidden 128 --inter 128 --moe-inter 128 --heads 1 --q-lora 128 \
    --kv-lora 128 --experts 2 --used 1 --groups 1 --topk-group 1 --mtp 0 --out "$source" >/dev/null &&
"$PARE" convert --no-vocab "$source" -o "$new/out.gguf" -r Q8_0 -j 1 -q >/dev/null &&
"$PARE" convert --no-vocab "$source" -o "$old/out.gguf" -r F16 -j 1 -q >/dev/null || { echo "Bail out! no job"; exit 1; }

threads=1
drive_on()
{
    mode=$1
    shift
    options=
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    [ $# -eq 0 ] || shift
    "$bin/drive" "$mode" -w "$tmp/work" -r "$new" -S "$source" -P "$bin/powercut" -j "$cores" ${preload:+-p "$preload"} \
        ${journal:+-J} $options -- "$PARE" convert --no-vocab "$source" -o @/out.gguf -r Q8_0 -j $threads -q \
        ${journal:+--sync-every 32K} "$@"
}

drive() { drive_on "$@"; }

drive_old()
{
    mode=$1
    shift
    drive_on "$mode" -b "$old" "$@" -- --force
}

holds()
{
    title=$1
    shift
    "$@" >"$tmp/stdout" 2>"$tmp/stderr"
    tap_got=$?
    struck=$(sed -n 's/.* runs, \([0-9]*\) struck.*/\1/p' "$tmp/stdout")
    if tap_result $tap_got "$(printf "$title" "${struck:-0}")"; then
        sed -n 's/.*; \(.* reused\)$/#   \1/p' "$tmp/stdout"
    else
        tap_output "$@"
    fi
}
