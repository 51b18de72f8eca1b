# SPDX-License-Identifier: MIT
"""TAP output of the interoperability tests. A title is a sentence about behaviour with the number in it."""
import os
import subprocess
import sys

_count = _failed = 0


def _line(passed, text):
    global _count, _failed
    _count += 1
    _failed += not passed
    print(f"{'ok' if passed else 'not ok'} {_count} - {text}", flush=True)


def note(text):
    for line in str(text).splitlines():
        print("#   " + line, flush=True)


def ok(cond, title, detail=""):
    """Reports one behaviour; detail (text, or a function making it) is shown only when it failed. Returns cond."""
    _line(bool(cond), title)
    if not cond:
        note(detail() if callable(detail) else detail)
    return bool(cond)


def skip(title, reason):
    _line(True, f"{title} # SKIP {reason}")


def bail(reason):
    print(f"Bail out! {reason}", flush=True)
    sys.exit(1)


def done():
    print(f"1..{_count}")
    sys.exit(1 if _failed else 0)


def run(title, argv, env=None):
    """Runs a program; exit status 0 is the behaviour tested. Returns whether it was."""
    try:
        p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, errors="replace",
                           env={**os.environ, **(env or {})}, check=False)
    except OSError as e:
        return ok(False, title, str(e))
    tail = (p.stdout + p.stderr).splitlines()[-15:]
    return ok(p.returncode == 0, title, "\n".join([f"{' '.join(map(str, argv))}: exit {p.returncode}", *tail]))
