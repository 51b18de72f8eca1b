#!/bin/sh
# SPDX-License-Identifier: MIT
# System calls and allocations that fail: each ends in one line with the errno's words and exit 4, or is retried; nothing
# half-written has the final name, an old output keeps every byte, and the same command then makes the undisturbed run's bytes.
# FAULTS=all strikes every call and allocation; without it allocations are sampled, and under sanitizers the other calls too.
. "$(dirname "$0")/faults/job.sh"

# sample EVERY: the step between the calls that are struck. Sanitizers make a run ten times as long.
sample()
{
    if [ "$long" ]; then
        echo 1
    else
        echo $(($1 * (san + 0 ? 7 : 1)))
    fi
}
s=$(sample 7)

# each CLASS ERRNO EXPECTATION TITLE: on all jobs
each()
{
    holds "new: %d $4" drive new faults -c "$1" -d "$2" -e "$3" -s "$s"
    for job in old split consume; do
        holds "$job: %d $4" drive $job faults -c "$1" -d "$2" -e "$3" -s "$(sample 13)"
    done
}

for class in write,ENOSPC sync,EIO rename,EIO open,EIO truncate,EIO; do
    holds "judged: %d calls of ${class%,*} fail with ${class#*,}" drive judged faults -c ${class%,*} -d ${class#*,} -e fail -s "$(sample 1)"
    holds "coded: %d calls of ${class%,*} fail with ${class#*,}" drive coded faults -c ${class%,*} -d ${class#*,} -e fail -s "$(sample 15)"
    holds "shards: %d calls of ${class%,*} fail with ${class#*,}" drive shards faults -c ${class%,*} -d ${class#*,} -e fail -s "$(sample 9)"
    holds "pack: %d calls of ${class%,*} fail with ${class#*,}" drive pack faults -c ${class%,*} -d ${class#*,} -e fail -s "$(sample 15)"
done
each read EIO fail "reads fail with EIO"
each write EIO fail "writes fail with EIO"
each write ENOSPC fail "writes fail with ENOSPC"
each sync EIO fail "syncs fail with EIO"
each truncate ENOSPC fail "reservations of space fail with ENOSPC"
each rename EIO fail "renames fail with EIO"
each open EIO fail "opens fail with EIO"
each stat EIO any "stats fail with EIO"
each unlink EIO any "unlinks fail with EIO"
each close EIO pass "closes fail with EIO, after all syncs, and do no harm"
each hint EIO pass "hints to the kernel fail and do no harm"
for pair in write,EDQUOT sync,ENOSPC sync,EDQUOT truncate,EIO rename,EACCES rename,ENOSPC open,EACCES open,ENOSPC lock,ENOLCK; do
    holds "%d calls of ${pair%,*} fail with ${pair#*,}" drive new faults -c ${pair%,*} -d ${pair#*,} -s "$s" -e fail
done
holds "%d opens find no descriptor left" drive new faults -c open -d EMFILE
holds "the disk is full from %d writes on" drive new faults -c write -d full -t 0 -s "$s" -e fail
holds "every sync fails from %d of them on" drive new faults -c sync -d EIO -t 0 -e fail
for job in new old split consume; do # in all classes, hence a sample
    holds "$job: every call fails from %d of them on" drive $job faults -c any -d EIO -t 0 -s "$(sample 5)"
done
holds "%d calls fail with EIO, and an old output stays without --force" drive new faults -b "$old" -c any -d EIO -e keep

for class in read write; do
    holds "%d calls of $class stop short once" drive new faults -c $class -d short -s "$s" -e pass
    holds "all calls of $class stop short from %d of them on" drive new faults -c $class -d short -t 0 -s "$s" -e pass
done
for class in read write open sync truncate lock rename unlink; do
    holds "%d calls of $class are interrupted by a signal and repeated" drive consume faults -c $class -d EINTR -s "$s" -e pass
    holds "%d calls of $class are interrupted three times" drive consume faults -c $class -d EINTR -t 3 -s "$s" -e pass
done

holds "%d allocations fail" drive new faults -c alloc -d ENOMEM -s "$(sample 29)"
[ "$long" ] || holds "each of the first %d allocations fails" drive new faults -c alloc -d ENOMEM -n 100
holds "all allocations fail from %d of them on" drive old faults -c alloc -d ENOMEM -t 0 -s "$(sample 37)"
holds "split: %d allocations fail" drive split faults -c alloc -d ENOMEM -s "$(sample 97)"
holds "consume: %d allocations fail" drive consume faults -c alloc -d ENOMEM -s "$(sample 97)"
holds "coded: %d allocations fail" drive coded faults -c alloc -d ENOMEM -s "$([ "$long" ] && echo 7 || sample 97)"
holds "shards: %d allocations fail" drive shards faults -c alloc -d ENOMEM -s "$([ "$long" ] && echo 7 || sample 97)"
holds "judged: %d allocations fail" drive judged faults -c alloc -d ENOMEM -s "$([ "$long" ] && echo 7 || sample 61)"
threads=2
holds "%d threads cannot be started" drive new faults -c thread -d EAGAIN
holds "%d writes and syncs of two threads fail" drive new faults -c write,sync -d EIO -s "$s" -e fail
done_testing
