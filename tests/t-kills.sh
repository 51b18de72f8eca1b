#!/bin/sh
# SPDX-License-Identifier: MIT
# SIGKILL before, within and after every call that changes a file: what is left is old, or new and whole, or partial by name;
# the same command then ends the job with the undisturbed run's bytes, and reuses what was journaled. A second kill strikes the
# second run. KILLS=N kills at random moments (KILL_SEED); with KILL_SIZE also of a checkpoint of so many megabytes.
. "$(dirname "$0")/faults/job.sh"

calls=write,sync,truncate,rename,unlink,open,close
step=4 # of the calls that are struck
[ -z "$long" ] || step=1
[ -z "$san" ] || [ "$long" ] || step=11
for job in new old split consume shards pack coded; do
    s=$step
    # what these have of their own: an old output, names, a folder, what comes last, places
    case $job$long in old | split | consume) s=$((2 * step)) ;; shards) s=$((4 * step)) ;; pack | coded) s=$((9 * step)) ;; esac
    case $job$long in pack1 | coded1 | shards1) s=$((3 * step)) ;; esac
    holds "$job: %d kills before a call" drive $job kills -c $calls -d kill -s $s
    holds "$job: %d kills before a call, and a second one" drive $job kills -c $calls -d kill -s $s -2
    holds "$job: %d kills in the middle of a call" drive $job kills -c $calls -d torn -s $s
    holds "$job: %d kills in the middle of a call, and a second one" drive $job kills -c $calls -d torn -s $s -2 -x 2
done
threads=2
[ "$long" ] || step=$((2 * step))
holds "%d kills with two threads" drive new kills -c $calls -d kill-after -s $step -2
holds "consume: %d kills with two threads" drive consume kills -c $calls -d kill-after -s $step -2

seed=${KILL_SEED:-1}
note "seed $seed"
holds "%d kills at random moments" drive new moments -n "${KILLS:-20}" -x "$seed"
holds "consume: %d kills at random moments" drive consume moments -n "${KILLS:-20}" -x "$seed"
if [ "${KILL_SIZE:-0}" -gt 0 ]; then
    big=$(mktemp -d "$slow_tmp/pare-kills.XXXXXX") || exit 1
    trap 'rm -rf "$tmp" "$big"' EXIT
    experts=$(((KILL_SIZE + 199) / 200 * 8))
    "$TOOLS/mkcheckpoint" --family v3 --layers 3 --hidden 2048 --moe-inter 2048 --experts $experts --mtp 0 \
        --out "$big/source" >/dev/null && mkdir "$big/new" && convert "$big/source" -o "$big/new/out.gguf"
    note "$(wc -c <"$big/new/out.gguf") bytes"
    holds "%d kills at random moments of a job of $KILL_SIZE MB" "$bin/drive" moments -w "$big/work" -r "$big/new" -n "${KILLS:-20}" \
        -x "$seed" -- "$PARE" convert --no-vocab "$big/source" -o @/out.gguf -q --sync-every 64M
fi
done_testing
