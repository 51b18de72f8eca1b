# SPDX-License-Identifier: MIT
# The job that faults, kills and power cuts strike; tests source it instead of sh-tap.sh, which it sources itself.
# A checkpoint of half a megabyte becomes a GGUF in some 5 ms. $new is what an undisturbed run leaves, $old a finished output of
# another recipe by the same name. FAULTS=all: every case instead of a sample.
#
#   drive JOB MODE [OPTION...]   tests/faults/drive on a job:
#       new    into an empty folder               old      over $old, with --force
#       split  into several files                 consume  the source is used up, and lies in the output's folder
#       shards a checkpoint folder of several shards
#       pack   an expert pack of two files, whose tar headers and manifests come last
#       judged  not a conversion: a base file of verify, over an older one, with --force
#       coded  one of two files whose tensors are entropy coded, and get their places as they come
#   holds TITLE COMMAND...       a test whose title tells the number of calls that were struck

slow_tmp=${TMPDIR:-/tmp}
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

source=$tmp/source new=$tmp/new old=$tmp/old split=$tmp/split shards=$tmp/shards/job pack=$tmp/pack coded=$tmp/coded judged=$tmp/judged
mkdir "$new" "$old" "$split" "$pack" "$coded" "$judged" "$judged.old" "$tmp/consume" "$tmp/shards"
judge() { "$PARE" verify "$source" --tokens "$tmp/ids" --ctx 8 -q -j 1 --save-base "$@" >/dev/null; } # FILE WORDS...
printf '\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6\0\0\0\7\0\0\0\10\0\0\0' >"$tmp/ids"
convert() { "$PARE" convert --no-vocab "$@" -q >/dev/null; }
"$TOOLS/mkcheckpoint" --family v3 --layers 2 --vocab 128 --hidden 128 --inter 128 --moe-inter 128 --heads 1 --q-lora 128 \
    --kv-lora 128 --experts 2 --used 1 --groups 1 --topk-group 1 --mtp 0 --out "$source" >/dev/null &&
    convert "$source" -o "$new/out.gguf" -r Q8_0 &&
    convert "$source" -o "$old/out.gguf" -r F16 &&
    convert "$source" -o "$split/out.gguf" -r Q8_0 --split-max-size 200K &&
    "$PARE" convert "$source" -o "$shards" --to gptq --search compat --split-max-size 100K -q >/dev/null &&
    "$PARE" convert "$source" -o "$pack/out.tar" --to pack -r Q8_0_EXPERTS --split-max-size 300K -q >/dev/null &&
    "$PARE" convert "$source" -o "$coded/out.tar" --to pack -r source --compress --split-max-size 300K -q >/dev/null &&
    judge "$judged/base" && judge "$judged.old/base" --base-form exact &&
    cp -r "$source" "$tmp/consume/job" &&
    convert "$tmp/consume/job" -o "$tmp/consume/job/out.gguf" -r Q8_0 --consume --yes ||
    { echo "Bail out! no job"; exit 1; }

threads=1
drive()
{
    job=$1 mode=$2
    shift 2
    from=$source out=@/out.gguf how="-r Q8_0 --no-vocab" work="convert @FROM -o @OUT --sync-every 32K"
    case $job in
        new) set -- -r "$new" "$@" -- ;;
        old) set -- -r "$new" -b "$old" "$@" -- --force ;;
        split) set -- -r "$split" "$@" -- --split-max-size 200K ;;
        shards)
            set -- -r "$shards" "$@" -- --split-max-size 100K
            out=@ how="--to gptq --search compat"
            ;;
        coded)
            set -- -r "$coded" "$@" -- --split-max-size 300K
            out=@/out.tar how="--to pack -r source --compress"
            ;;
        pack)
            set -- -r "$pack" "$@" -- --split-max-size 300K
            out=@/out.tar how="--to pack -r Q8_0_EXPERTS"
            ;;
        judged)
            set -- -r "$judged" -b "$judged.old" "$@" -- --force
            out=@/base how="--tokens $tmp/ids --ctx 8" work="verify @FROM --save-base @OUT"
            ;;
        consume)
            set -- -r "$tmp/consume/job" -b "$source" -M "$@" -- --consume --yes
            from=@ ;;
    esac
    options=
    while [ "$1" != -- ]; do            # none has a space in it
        options="$options $1"
        shift
    done
    shift
    "$bin/drive" "$mode" -w "$tmp/work-$job" -S "$source" -P "$bin/powercut" -j "$cores" ${preload:+-p "$preload"} $options -- \
        "$PARE" $(echo "$work" | sed "s|@FROM|$from|; s|@OUT|$out|") $how -j $threads -q "$@"
}

holds()
{
    title=$1
    shift
    "$@" >"$tmp/stdout" 2>"$tmp/stderr"
    tap_got=$?
    struck=$(sed -n 's/.* runs, \([0-9]*\) struck.*/\1/p' "$tmp/stdout")
    if tap_result $tap_got "$(printf "$title" "${struck:-0}")"; then
        sed -n 's/.* rules broken; /#   /p' "$tmp/stdout"
    else
        tap_output "$@"
    fi
}
