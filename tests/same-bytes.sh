#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tests/run.sh tests/same-bytes.sh, or make same-bytes
# The same bytes and the same reported digits from gcc and clang with -O3 and gcc with -O0 (fewer conversions), every instruction set that this processor has, 1, 2, 3
# and 7 threads, little memory, and runs that were killed and gone on with by other threads and memory. The reference is the
# first build's, scalar, by one thread. Builds have folders of their own (build-same-*) and are kept for the next time.
# PARE_FIXTURES: trained checkpoints beside tests/data.
. "$(dirname "$0")/sh-tap.sh"
LC_ALL=C
export LC_ALL
fixtures=${PARE_FIXTURES:-../shared/fixtures}
jobs=$(nproc 2>/dev/null || echo 2)

levels="scalar avx2 avx512"
for level in avx2 avx512; do
    case $level in avx2) flags="avx2 fma f16c" ;; *) flags="avx512f avx512bw avx512dq avx512vl" ;; esac
    for flag in $flags; do
        grep -qw "$flag" /proc/cpuinfo || levels=$(echo "$levels" | sed "s/ $level//")
    done
done

# convert RECIPE OUT WORDS...: of $ck
convert()
{
    recipe=$1 to=$2
    shift 2
    rm -f "$to"*
    "$pare" convert "$ck" -o "$to" -r "$recipe" -q "$@" >/dev/null
}
# same RECIPE TITLE: $tmp/out is the reference, and so is its manifest
same()
{
    if cmp "$tmp/out.gguf" "$tmp/want/$name-$1/out.gguf" >"$tmp/stdout" 2>"$tmp/stderr" &&
        cmp "$tmp/out.gguf.manifest.json" "$tmp/want/$name-$1/out.gguf.manifest.json" >"$tmp/stdout" 2>"$tmp/stderr"; then
        tap_result 0 "$build: $name $1 $2"
    else
        tap_result 1 "$build: $name $1 $2" || :
        tap_output cmp
    fi
}
# The same of checkpoint folders: their shard, whole.
checkpoints()
{
    mkdir -p "$tmp/want"
    for how in compressed-tensors:W4A16 compressed-tensors:W8A8 compressed-tensors:NVFP4 awq:W4A16_ASYM gptq:W8A16 fp8:FP8_UE8M0 ktransformers:AMXINT8; do
        want=$tmp/want/$name-$how
        [ ! $first ] || PARE_CPU=scalar "$pare" convert "$ck" -o "$want" --to "${how%:*}" -r "${how#*:}" -q -j 1 >/dev/null
        for level in $levels; do
            rm -rf "$tmp/folder"
            PARE_CPU=$level "$pare" convert "$ck" -o "$tmp/folder" --to "${how%:*}" -r "${how#*:}" -q -j 2 --memory 100M >/dev/null
            ok "$build: $name $how, $level" cmp "$tmp/folder/model.safetensors" "$want/model.safetensors"
        done
    done
}
# Packs: planned places, and places as coded tensors come.
packs()
{
    mkdir -p "$tmp/want"
    for how in Q4_K_EXPERTS: source:--compress; do
        want=$tmp/want/$name-pack-${how%:*}.tar
        [ ! $first ] || PARE_CPU=scalar "$pare" convert "$ck" -o "$want" --to pack -r "${how%:*}" ${how#*:} -q -j 1 >/dev/null
        for threads in 1 2 7; do
            "$pare" convert "$ck" -o "$tmp/out.tar" --to pack -r "${how%:*}" ${how#*:} -q -f -j $threads --memory 100M >/dev/null
            ok "$build: $name pack $how $threads threads" cmp "$tmp/out.tar" "$want"
        done
    done
}
# digits WORDS...: what verify reports of the reference's Q4_0
digits() { "$pare" verify "$ck" "$tmp/want/$name-Q4_0/out.gguf" --text README.md --chunks 1 --ctx 48 --tensors --mtp -q --json "$@"; }

# killed RECIPE K: a conversion that dies before its K-th sync
killed()
{
    rm -f "$tmp/out.gguf"*
    (
        export FAULT_ROOT="$tmp" FAULT_CLASS=sync FAULT_AT="$2" FAULT_DO=kill LD_PRELOAD="$o/tests/faults/inject.so"
        exec "$pare" convert "$ck" -o "$tmp/out.gguf" -r "$1" -q -j 2 --sync-every 256K
    ) >/dev/null 2>&1
    [ -f "$tmp/out.gguf.journal" ]
}

first=1
for cc in gcc clang; do
    for opt in -O3 -O0; do
        [ "$cc $opt" != "clang -O0" ] || continue # as slow as gcc's, and like it
        build="$cc $opt" o=$PWD/build-same-$cc$opt
        pare=$o/pare
        if ! command -v $cc >"$tmp/stdout"; then
            skip "$cc is not installed" "$build"
            continue
        fi
        ok "$build builds" make -s -j "$jobs" O="build-same-$cc$opt" CC=$cc CFLAGS=$opt "build-same-$cc$opt/pare" \
            "build-same-$cc$opt/tests/faults/inject.so" || continue
        for name in nano-v3 tiny-v3; do
            ck=tests/data/$name
            [ -d "$ck" ] || ck=$fixtures/$name
            [ "$name $opt" != "tiny-v3 -O0" ] || continue # slow
            if [ ! -d "$ck" ]; then
                skip "there is no $name in tests/data or $fixtures" "$build: $name"
                continue
            fi
            [ $name = tiny-v3 ] || { checkpoints; packs; }
            recipes="F32 BF16 Q8_0 Q4_0"
            [ $name = tiny-v3 ] || recipes="$recipes Q4_K_M Q2_K"
            [ $opt != -O0 ] || recipes="Q8_0 Q4_0 Q2_K"
            for recipe in $recipes; do
                if [ $first ]; then
                    mkdir -p "$tmp/want/$name-$recipe"
                    PARE_CPU=scalar convert $recipe "$tmp/want/$name-$recipe/out.gguf" -j 1
                fi
                for level in $levels; do
                    PARE_CPU=$level convert $recipe "$tmp/out.gguf" -j 2
                    same $recipe "with $level"
                done
                for threads in 1 2 3 7; do
                    [ $name = nano-v3 ] || [ $threads = 7 ] || continue
                    convert $recipe "$tmp/out.gguf" -j $threads
                    same $recipe "by $threads threads"
                done
                convert $recipe "$tmp/out.gguf" -j 7 --memory 40M
                same $recipe "in 40 MB"
                killed $recipe 12
                is $? 0 "$build: $name $recipe: a run is killed"
                "$pare" convert "$ck" -o "$tmp/out.gguf" -r $recipe -q -j 3 --memory 48M >/dev/null
                same $recipe "gone on with by 3 threads in 48 MB"
            done
            [ ! $first ] || PARE_CPU=scalar digits -j 1 >"$tmp/want/$name.json"
            rm -f "$tmp/base"
            "$pare" verify "$ck" --text README.md --chunks 1 --ctx 48 -q -j 3 --save-base "$tmp/base" >/dev/null
            [ ! $first ] || cp "$tmp/base" "$tmp/want/$name.base"
            ok "$build: $name: a base file" cmp "$tmp/base" "$tmp/want/$name.base"
            has "$tmp/want/$name.json" '"kld"' "$build: $name: there is a verification"
            for level in $levels; do
                for threads in 1 3; do
                    [ $name = nano-v3 ] || [ $threads = 3 ] || continue
                    PARE_CPU=$level digits -j $threads >"$tmp/digits.json"
                    ok "$build: $name: verify with $level and $threads threads reports the same digits" cmp "$tmp/digits.json" \
                        "$tmp/want/$name.json"
                done
            done
        done
        first=
    done
done
for level in avx2 avx512; do
    case $levels in *$level*) ;; *) skip "this processor has no $level" "bytes with $level" ;; esac
done
done_testing
