#!/bin/sh
# SPDX-License-Identifier: MIT
# SIGKILL before, within and after every call that changes a file: what is left is old, or new and whole, or partial by name;
# the same command then ends the job with the undisturbed run's bytes, and reuses what was journaled. A second kill strikes the
# second run. KILLS=N adds kills at random moments (KILL_SEED), on a checkpoint of KILL_SIZE megabytes.
. "$(dirname "$0")/faults/job.sh"

calls=write,sync,truncate,rename,unlink,open,close
step=1
[ -z "$san" ] || [ "$long" ] || step=7
for how in kill kill-after torn; do
    case $how in
        kill) what="before" ;;
        kill-after) what="after" ;;
        torn) what="in the middle of" ;;
    esac
    holds "%d kills $what a call" drive kills -c $calls -d $how -s $step
    holds "%d kills $what a call, over an old output" drive_old kills -c $calls -d $how -s $step
    holds "%d kills $what a call, and a second one" drive kills -c $calls -d $how -s $step -2
    holds "%d kills $what a call, and a second one, over an old output" drive_old kills -c $calls -d $how -s $step -2
done
threads=2
holds "%d kills with two threads" drive kills -c $calls -d kill-after -s $step -2

seed=${KILL_SEED:-1}
note "seed $seed"
holds "%d kills at random moments" drive moments -n "${KILLS:-20}" -x "$seed"
if [ "${KILL_SIZE:-0}" -gt 0 ]; then
    big=$(mktemp -d "${slow_tmp:-/tmp}/pare-kills.XXXXXX") || exit 1
    trap 'rm -rf "$tmp" "$big"' EXIT
    experts=$(((KILL_SIZE + 199) / 200 * 8))
    "$TOOLS/mkcheckpoint" --family v3 --layers 3 --hidden 2048 --moe-inter 2048 --experts $experts --mtp 0 \
        --out "$big/source" >/dev/null &&
        mkdir "$big/new" && "$PARE" convert --no-vocab "$big/source" -o "$big/new/out.gguf" -q >/dev/null
    note "$(wc -c <"$big/new/out.gguf") bytes"
    holds "%d kills at random moments of a job of $KILL_SIZE MB" "$bin/drive" moments -w "$big/work" -r "$big/new" -n "${KILLS:-20}" \
        -x "$seed" ${journal:+-J} -- "$PARE" convert --no-vocab "$big/source" -o @/out.gguf -q ${journal:+--sync-every 64M}
fi
done_testing
