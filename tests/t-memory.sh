#!/bin/sh
# SPDX-License-Identifier: MIT
# convert --memory: layers of the released size are converted within three bounds, of address space and of a memory cgroup, with the
# same bytes; what the plan predicts is what is used, or little more; a bound that is too small is refused with the least that
# works.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}

value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/stdout"; }
# run WORDS...: the conversion of $ck to $tmp/out.gguf
run() { "$PARE" convert --no-vocab "$ck" -o "$tmp/out.gguf" -q -f "$@"; }
# predicted WORDS...: what the plan says
predicted() { "$PARE" plan --no-vocab "$ck" --json "$@" >"$tmp/stdout" && value peak_memory; }
# measured WORDS...: what a run took
measured() { "$TOOLS/peak" "$tmp/peak" "$PARE" convert --no-vocab "$ck" -o "$tmp/out.gguf" -q -f "$@" >"$tmp/stdout" 2>&1 && cat "$tmp/peak"; }
case $PARE in *build-*) san=1 ;; *) san= ;; esac

# A folder of our own below the memory cgroup that we are in, if we may make one: version 1 or 2.
cgroup=
for folder in "/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup 2>/dev/null)" /sys/fs/cgroup/memory \
    "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)"; do
    if [ -z "$cgroup" ] && mkdir "$folder/pare-test-$$" 2>/dev/null; then
        [ ! -w "$folder/pare-test-$$/memory.limit_in_bytes" ] && [ ! -w "$folder/pare-test-$$/memory.max" ] || cgroup=$folder/pare-test-$$
        rmdir "$folder/pare-test-$$"
    fi
done
# confined BYTES COMMAND...: in that cgroup, which is made for it, without swap
confined()
{
    mkdir "$cgroup" || return
    for file in memory.limit_in_bytes memory.max memory.memsw.limit_in_bytes; do
        [ ! -w "$cgroup/$file" ] || echo "$1" >"$cgroup/$file"
    done
    [ ! -w "$cgroup/memory.swap.max" ] || echo 0 >"$cgroup/memory.swap.max"
    shift
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"
    confined_status=$?
    rmdir "$cgroup"
    return $confined_status
}

ck=$tmp/ck
heads=$((san ? 16 : 32)) # experts are what is large
"$TOOLS/mkcheckpoint" --family v3 --real --layers 1 --dense 0 --used 1 --groups 1 --topk-group 1 --vocab 1024 --mtp 0 --shards 2 \
    --q-lora 512 --experts 2 --heads $heads ${san:+--hidden 1024} --out "$ck" >/dev/null
ok "a layer of the released size in 2 GB by one thread" run -r Q8_0 -j 1
mv "$tmp/out.gguf" "$tmp/want.gguf"
# what shared libraries are mapped to, of which a process uses little (libarchive's tables of characters are 30 MB)
libraries=$(ldd "$PARE" 2>/dev/null | awk '$3 ~ /^\// {print $3}' | xargs stat -L -c %s 2>/dev/null | awk '{n += $1} END {print n + 0}')
for memory in 64 300; do
    words="-r Q8_0 -j $((memory / 10)) --memory ${memory}M"
    most=$((memory * 1100000))
    set -- "$PARE" convert --no-vocab "$ck" -o "$tmp/out.gguf" -q -f $words
    if [ "$san" ]; then
        ok "in $memory MB" "$@"
    else
        set -- sh -c "ulimit -v $(((most + libraries) / 1024)); exec \"\$@\"" sh "$@"
        set -- "$TOOLS/peak" "$tmp/peak" "$@"
        [ ! "$cgroup" ] || set -- confined $most "$@"
        ok "in $memory MB, with 1.1 times as much address space beside libraries${cgroup:+, in a cgroup of that size, page cache included}" "$@"
        [ "$cgroup" ] || skip "no memory cgroup can be made here" "in a cgroup of that size"
    fi
    ok "it gives the same bytes" cmp "$tmp/out.gguf" "$tmp/want.gguf"
    [ ! "$san" ] || continue
    plan=$(predicted $words)
    took=$(cat "$tmp/peak")
    is "$([ "$took" -le "$plan" ] && [ "$plan" -le $((memory * 1000000)) ] && echo less)" less "$took bytes are used, $plan predicted"
    # of 30 threads some come too late for any work
    [ $memory = 300 ] || is "$([ "$plan" -le $((took + took / 4 + 8000000)) ] && echo near)" near "which is no more than a quarter and 8 MB above"
done

if [ "$san" ]; then
    skip "sanitizers use memory of their own" "cgroups, prediction and measurement"
else
    rm -r "$ck"
    "$TOOLS/mkcheckpoint" --family v3 --sparse --layers 23 --dense 3 --hidden 128 --inter 128 --experts 256 --moe-inter 32 --heads 1 \
        --q-lora 128 --kv-lora 128 --vocab 128 --shards 163 --out "$ck" >/dev/null
    for with in "32,787 tensors in 163 shards" "the same with a manifest of the source"; do
        plan=$(predicted -r Q8_0 -j 2 --mtp keep)
        took=$(measured -r Q8_0 -j 2 --mtp keep)
        is "$([ "$took" -le "$plan" ] && echo less)" less "$with: $took bytes are used, $plan predicted"
        is "$([ "$plan" -le $((took + took / 2 + 8000000)) ] && echo near)" near "which is no more than half and 8 MB above"
        "$PARE" manifest "$ck" -q >/dev/null 2>&1
    done
fi

for words in "" "-j 8"; do
    fails 2 "a bound of 5 MB is refused" run $words --memory 5M
    has "$tmp/stderr" "5.00 MB is too little: " "in words"
    is "$(wc -l <"$tmp/stderr")" 1 "and in one line"
done
least=$(sed -n 's/.*too little: \([0-9.]*\) MB are needed.*/\1/p' "$tmp/stderr")
least=$(awk -v m="$least" 'BEGIN { printf "%d", (m + 1) * 1000 }')
ok "with the least that it names, and 1 MB, it works" run -j 8 --memory ${least}k
done_testing
