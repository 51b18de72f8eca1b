#!/bin/sh
# SPDX-License-Identifier: MIT
# System calls and allocations that fail: each ends in one line with the errno's words and exit 4, or is retried; nothing
# half-written has the final name, an old output keeps every byte, and the same command then makes the undisturbed run's bytes.
# FAULTS=all strikes every allocation too; without it they are sampled, and under sanitizers the other calls as well.
. "$(dirname "$0")/faults/job.sh"

# sample EVERY: the step between the calls that are struck. Sanitizers make a run ten times as long.
sample()
{
    if [ "$long" ]; then
        echo 1
    else
        echo $(($1 * (san + 0 ? 4 : 1)))
    fi
}

# hard CLASSES ERRNO STEP TITLE
hard()
{
    holds "$4" drive faults -c "$1" -d "$2" -s "$3" -e fail
    holds "$4, over an old output" drive_old faults -c "$1" -d "$2" -s "$3" -e fail
}

s=$(sample 1)
hard read EIO "$s" "%d reads fail with EIO"
hard write EIO "$s" "%d writes fail with EIO"
hard write ENOSPC "$s" "%d writes fail with ENOSPC"
hard write EDQUOT "$s" "%d writes fail with EDQUOT"
for code in EIO ENOSPC EDQUOT; do
    hard sync $code 1 "%d syncs fail with $code"
done
hard truncate EIO 1 "%d reservations of space fail with EIO"
hard truncate ENOSPC 1 "%d reservations of space fail with ENOSPC"
for code in EIO EACCES ENOSPC; do
    hard rename $code 1 "%d renames fail with $code"
done
for code in EIO EACCES ENFILE ENOSPC; do
    hard open $code 1 "%d opens fail with $code"
done
holds "the disk is full from %d writes on" drive faults -c write -d full -t 0 -s "$s" -e fail
holds "every sync fails from %d of them on" drive faults -c sync -d EIO -t 0 -e fail
holds "%d opens fail with EMFILE, and succeed when another file was closed" drive faults -c open -d EMFILE
holds "%d flushes fail with EIO, and harm nothing: the sync behind them tells" drive faults -c flush -d EIO -e pass
for class in unlink close; do
    holds "%d calls of $class fail with EIO, and harm nothing" drive faults -c $class -d EIO
    holds "%d calls of $class fail with EIO, and harm no old output" drive_old faults -c $class -d EIO
done

for class in read write; do
    holds "%d calls of $class stop short once" drive faults -c $class -d short -s "$s" -e pass
    holds "all calls of $class stop short from %d of them on" drive faults -c $class -d short -t 0 -s "$s" -e pass
done
for class in read write ${journal:+open sync truncate lock}; do
    holds "%d calls of $class are interrupted by a signal and repeated" drive faults -c $class -d EINTR -s "$s" -e pass
    holds "%d calls of $class are interrupted three times" drive faults -c $class -d EINTR -t 3 -s "$s" -e pass
done
if [ "$journal" ]; then
    hard lock ENOLCK 1 "%d locks fail with ENOLCK"
    holds "%d stats fail with EIO" drive faults -c stat -d EIO
    holds "%d stats fail with EIO, over an old output" drive_old faults -c stat -d EIO
    holds "%d calls fail with EIO, and an old output stays without --force" drive faults -b "$old" -c any -d EIO -e keep
    holds "every call fails from %d of them on" drive faults -c any -d EIO -t 0 -s "$s"
    holds "every call fails from %d of them on, over an old output" drive_old faults -c any -d EIO -t 0 -s "$s"
    holds "%d threads cannot be started" drive faults -c thread -d EAGAIN
fi

holds "%d allocations fail" drive faults -c alloc -d ENOMEM -s "$(sample 7)"
holds "all allocations fail from %d of them on" drive faults -c alloc -d ENOMEM -t 0 -s "$(sample 11)"
done_testing
