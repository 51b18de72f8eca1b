#!/bin/sh
# SPDX-License-Identifier: MIT
# Power cuts, by the model of tests/faults/powercut.c: first the model itself on logs of a few lines, then recorded runs. Each state
# of the disk has the old output, none or the whole new one under the final name, and the same command then makes the undisturbed
# run's bytes, although a third of these runs is cut once more. FAULTS=all: 500 states each.
. "$(dirname "$0")/faults/job.sh"

# state LOG OPTION...: builds $tmp/state from the log text; "name=content ..." on stdout, zeros as dots
state()
{
    printf "$1" >"$tmp/log"
    shift
    rm -rf "$tmp/state"
    "$bin/powercut" -p 999 "$@" "$tmp/log" "${base:--}" "$tmp/state" 1 || return
    (cd "$tmp/state" && for f in *; do [ ! -e "$f" ] || printf '%s=%s ' "$f" "$(tr '\0' . <"$f")"; done)
}
none="-d 0 -n 0" all="-d 100 -n 100"
write='open 3 new a\nwrite 3 0 5\nhello\n'
synced="${write}sync 3 1\nsynced 1\n"
folder='open 4 folder .\nsync 4 2\nsynced 2\nclose 4\n'

is "$(state "$write" $none)" "" "nothing is certain without a sync"
is "$(state "$write" $all)" "a=hello " "all may have arrived nevertheless"
is "$(state "$write" -d 0 -n 100)" "a= " "a name without its bytes"
is "$(state "$synced" $none)" "" "a sync of the file does not make its name certain"
is "$(state "$synced" -d 0 -n 100)" "a=hello " "but its bytes"
is "$(state "$write$folder" $none)" "a= " "a sync of the folder makes the name certain, not the bytes"
is "$(state "$synced$folder" $none)" "a=hello " "both syncs make a file"
is "$(state "${synced}$folder" $none -p 3)" "" "a sync that had not returned makes nothing certain"
is "$(state "${write}sync 3 1\nwrite 3 0 1\nJ\nsynced 1\n$folder" $none)" "a=hello " \
    "what is written while a sync runs is not covered by it"
is "$(state "${write}sync 3 1\n$folder" $none)" "a= " "nor anything by a sync that fails"
is "$(state "$synced${folder}write 3 5 6\n world\n" $none)" "a=hello " "bytes after the sync may be lost"
is "$(state "$synced${folder}truncate 3 2\n" $none)" "a=hello " "so may a truncation"
is "$(state "$synced${folder}truncate 3 2\n" $all)" "a=he " "or it arrives"
is "$(state "$synced${folder}allocate 3 4 4\n" $all)" "a=hello... " "reserved space reads as zeros"
is "$(state "open 3 new a\nwrite 3 2 1\nx\n" $all)" "a=..x " "a hole too"
rename="$synced${folder}rename a\tb\n"
is "$(state "$rename" $none)" "a=hello " "a rename is lost"
is "$(state "$rename" $all)" "b=hello " "or done, never half"
is "$(state "$rename$folder" $none)" "b=hello " "and certain after a sync of the folder"
mkdir "$tmp/base"
printf 'old' >"$tmp/base/b"
base=$tmp/base
is "$(state "$rename" $none)" "a=hello b=old " "the file under the new name stays until then"
is "$(state "${synced}rename a\tb\n" -d 0 -n 100)" "b=hello " "or is replaced as a whole"
is "$(state 'unlink b\n' $none)" "b=old " "an unlink is lost"
is "$(state 'unlink b\n' $all)" "" "or done"
is "$(state 'open 3 old b\nwrite 3 0 1\nO\nsync 3 1\nsynced 1\nunlink b\nopen 5 new b\n' $none)" "b=Old " \
    "the old file is another inode than the new one of its name"
base=
printf "$write" | head -c 30 >"$tmp/log"
fails 2 "a log that ends within a write is refused" "$bin/powercut" "$tmp/log" - "$tmp/state" 1
printf 'write 9 0 1\nx\n' >"$tmp/log"
fails 2 "and a write to a file that is not open" "$bin/powercut" "$tmp/log" - "$tmp/state" 1
{ printf 'open 3 new a\nwrite 3 0 65536\n'; head -c 65536 /dev/zero | tr '\0' x; printf '\n'; } >"$tmp/log"
torn=0
for seed in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rm -rf "$tmp/state"
    "$bin/powercut" -p 2 -n 100 "$tmp/log" - "$tmp/state" $seed
    count=$(tr -dc x <"$tmp/state/a" | wc -c)
    [ "$count" -eq 0 ] || [ "$count" -eq 65536 ] || [ $((count % 512)) -ne 0 ] || torn=1
done
is $torn 1 "a write may arrive in parts of 512 bytes"

states=40
[ -z "$long" ] || states=500
for job in new old split consume shards pack coded; do
    holds "$job: %d power cuts" drive $job states -n $states -2
done
threads=2
FAULT_SYNC_DELAY=2
export FAULT_SYNC_DELAY
for job in new old split consume shards; do
    holds "$job: %d power cuts of two threads on a disk whose syncs take 2 ms" drive $job states -n $states -x 5000
done
FAULT_SYNC_DELAY=1
FAULT_WRITE_DELAY=2
export FAULT_WRITE_DELAY
for job in new split; do
    holds "$job: %d power cuts where writes are overtaken by syncs" drive $job states -n $states -x 7000
done
done_testing
