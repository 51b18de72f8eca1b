#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: tests/budgets.py MODEL TEXT --calib DIR [--chunks N] [--cache DIR] [--bpw X]... [--as "RECIPE OPTIONS"]... [--peer RECIPE]...

What `pare plan` returns under a budget. --bpw: its recipe for so many bits per weight, predicted and real divergence. --as: a conversion by a
recipe and options ("Q4_K_M --calib DIR"), and the planner's at its bytes or fewer. --peer: the same against the better, by mean KL, of
llama-quantize's files without and with the calibration's imatrix; "Q4_K_M+ends" has token_embd and output at Q8_0.

Judged as tests/quality.py does: every position of the first N chunks (64) of 512 tokens; ratios of means with the upper end of their paired 95 %
interval. --cache keeps verdicts by the converted file's bytes."""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import quality

ENDS = ("--type", "token_embd=Q8_0", "--type", "output=Q8_0")


class Planner:
    def __init__(self, args, folder):
        self.args, self.recipe = args, Path(folder) / "recipe.json"
        self.judge = quality.Judge(SimpleNamespace(model=args.model, text=args.text, chunks=args.chunks, to=None, cache=args.cache, pure=False, peer=False),
                                   folder)

    def planned(self, *budget):
        """The verdict on the planner's recipe, and what it said of it."""
        done = subprocess.run([quality.PARE, "plan", self.args.model, "--calib", self.args.calib, "-q", "--json", "-o", str(self.recipe), *map(str, budget)],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        return self.judge.judge(self.recipe, "--calib", self.args.calib), json.loads(done.stdout)

    def against(self, name, other):
        mine, said = self.planned("--size", other.bytes)
        ratio, upper = quality.ratio_with_upper(mine, other)
        print(f"| {name} | {other.bytes} | {other.mean:.5f} | {other.median:.6f} | {mine.bytes} | {said['predicted_kl']:.5f} | {mine.mean:.5f} "
              f"| {mine.median:.6f} | {ratio:.3f} | {upper:.3f} |", flush=True)

    def peer(self, word):
        recipe, ends = word.removesuffix("+ends"), ENDS if word.endswith("+ends") else ()
        ways = ((), ("--imatrix", os.path.join(self.args.calib, "imatrix.gguf")))
        files = [self.judge.judge(recipe, "--search", "compat", *ends, *way) for way in ways]
        best = min(files, key=lambda f: f.mean)
        self.against(f"llama-quantize {word}{', imatrix' if best is files[1] else ''}", best)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--calib", required=True)
    parser.add_argument("--chunks", default=64, type=int)
    parser.add_argument("--cache")
    parser.add_argument("--bpw", action="append", default=[])
    parser.add_argument("--as", action="append", default=[], dest="others", metavar="RECIPE OPTIONS")
    parser.add_argument("--peer", action="append", default=[])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        planner = Planner(args, folder)
        if args.bpw:
            print("| bits per weight | bytes | KL, predicted | KL | median |\n|---|---|---|---|---|", flush=True)
        for bpw in args.bpw:
            mine, said = planner.planned("--bpw", bpw)
            error = statistics.stdev(mine.chunks) / len(mine.chunks) ** 0.5
            print(f"| {bpw} | {mine.bytes} | {said['predicted_kl']:.5f} | {mine.mean:.5f} +- {error:.5f} | {mine.median:.6f} |", flush=True)
        if args.others or args.peer:
            print("| file | bytes | KL | median | bytes, planned | predicted | KL | median | ratio of KL | upper 95 % |\n" + "|---" * 10 + "|", flush=True)
        for word in args.peer:
            planner.peer(word)
        for words in args.others:
            recipe, *options = shlex.split(words)
            planner.against(words.replace(args.calib, "DIR"), planner.judge.judge(recipe, *options))


if __name__ == "__main__":
    main()
