#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: tests/quality.py MODEL TEXT [--imatrix FILE] [--chunks N] [--pure] RECIPE...

What --search best returns over --search compat, with and without an imatrix: each recipe is converted both ways and judged by
`pare verify` on every position of the first N chunks (64) of 512 tokens. Prints the table of docs/quality.md. Differences are
paired: best minus compat chunk by chunk, with the standard error of their mean."""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

PARE = os.environ.get("PARE", "./pare")


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")


class Judged:
    """KL of one conversion: per chunk, and over all positions."""

    def __init__(self, args, recipe, search, imatrix, folder):
        out, part = Path(folder) / "candidate.gguf", Path(folder) / "part.json"
        run(PARE, "convert", args.model, "-o", out, "-r", recipe, "--search", search, "-q", "--force",
            *(["--imatrix", imatrix] if imatrix else []), *(["--pure"] if args.pure else []))
        self.bytes = out.stat().st_size
        part.unlink(missing_ok=True)
        run(PARE, "verify", args.model, out, "--text", args.text, "--chunks", args.chunks, "--all-positions", "--no-local", "-q",
            "--part", "1/1", "-o", part)
        scores = [chunk["scores"] for chunk in json.loads(part.read_text())["chunks"]]
        self.chunks = [statistics.fmean(s[3] for s in chunk) for chunk in scores]
        self.mean = statistics.fmean(self.chunks)
        self.median = statistics.median(s[3] for chunk in scores for s in chunk)
        self.ln_ppl = statistics.fmean(s[2] - s[1] for chunk in scores for s in chunk)


def row(recipe, how, compat, best):
    paired = [b - c for b, c in zip(best.chunks, compat.chunks)]
    error = statistics.stdev(paired) / len(paired) ** 0.5
    return (f"| {recipe}{how} | {compat.bytes / 1e6:.1f} | {compat.mean:.5f} | {best.mean:.5f} | {best.mean / compat.mean:.3f} "
            f"| {statistics.fmean(paired):+.5f} +- {error:.5f} | {best.median / compat.median:.3f} "
            f"| {compat.ln_ppl:+.4f} | {best.ln_ppl:+.4f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--imatrix")
    parser.add_argument("--chunks", default=64, type=int)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("recipes", nargs="+")
    args = parser.parse_args()
    print("| recipe | MB | KL, compat | KL, best | ratio | difference, paired | ratio of medians | ln ppl ratio, compat | best |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for recipe in args.recipes:
            for imatrix, how in ((None, ""), (args.imatrix, ", imatrix"))[:2 if args.imatrix else 1]:
                compat, best = (Judged(args, recipe, search, imatrix, folder) for search in ("compat", "best"))
                print(row(recipe, how, compat, best), flush=True)


main()
