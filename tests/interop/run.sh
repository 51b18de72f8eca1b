#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: run.sh [--only NAME]       from the repository's root
# Runs the interoperability tests (t_NAME.py) in the clients' environment, several at a time; one alone shows all that it prints. A client that
# cannot be had, or a test that dies before its end, is a failure.
set -eu
here=$(dirname "$0")

only='*'
case "${1-}" in
--only)
    only=${2:?run.sh: --only wants a name}
    [ -e "$here/t_$only.py" ] || { echo "run.sh: no $here/t_$only.py" >&2; exit 2; }
    export VERBOSE=1
    ;;
?*) echo "usage: run.sh [--only NAME]" >&2; exit 2 ;;
esac

if ! env=$("$here/env.sh"); then
    echo "not ok - the clients are installed"
    echo "0 passed, 1 failed"
    exit 1
fi
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PATH="$env/bin:$PATH"
exec tests/run.sh "$here"/t_$only.py
