#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: limited.sh BYTES COMMAND...
# Runs a command with so much memory, the system's cache of its files included, in a control group of its own (version 2 or 1; needs root). Exits as
# the command does, 77 when there are no such groups.
set -eu
limit=$1
shift
name=pare-$$
for try in "/sys/fs/cgroup/$name memory.max" "/sys/fs/cgroup/memory/$name memory.limit_in_bytes"; do
    group=${try% *} file=${try#* }
    mkdir "$group" 2>/dev/null || continue
    if [ -e "$group/$file" ] && echo "$limit" >"$group/$file" 2>/dev/null; then
        status=0
        sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" || status=$?
        rmdir "$group" 2>/dev/null || { sleep 1; rmdir "$group" 2>/dev/null || true; }
        exit $status
    fi
    rmdir "$group"
done
exit 77
