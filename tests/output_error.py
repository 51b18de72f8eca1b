#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: tests/output_error.py MODEL CALIBRATION_TEXT HELD_OUT_TEXT RECIPE [--chunks N]

How far the outputs of every matrix are from the original's on held-out text, as a part of their size, by ways of rounding: each
line gives the ratio to `--search best` without any data, as geometric mean, median and 95th percentile over all matrices, and
the geometric mean of routed experts' gate and up, and down. Then the same of experts alone by the tokens that they had.
Uses build/tests/tools/output-error."""
import argparse
import math
import os
import statistics
import struct
import subprocess
import tempfile
from pathlib import Path

PARE = os.environ.get("PARE", "./pare")
TOOL = Path(os.environ.get("TOOLS", "build/tests/tools")) / "output-error"
CLASSES = (("ffn_gate_exps", "ffn_up_exps"), ("ffn_down_exps",))


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def geo(values):
    return math.exp(statistics.fmean(map(math.log, values))) if values else float("nan")


class Measure:
    def __init__(self, args, folder):
        self.args, self.out, self.held = args, Path(folder) / "candidate.gguf", Path(folder) / "held"
        run(PARE, "calibrate", args.model, "--text", args.held, "--chunks", args.chunks, "-o", self.held, "-q")

    def errors(self, *options, calib=None):
        """(name, slab): (tokens, tr(D) / tr(H), error)"""
        run(PARE, "convert", self.args.model, "-o", self.out, "-r", self.args.recipe, "--pure", "-q", "--force", *options)
        lines = run(TOOL, self.args.model, self.out, self.held, *([calib] if calib else [])).splitlines()
        return {tuple(f[:2]): tuple(map(float, f[2:])) for f in (line.split("\t") for line in lines)}


def of_class(ratios, names):
    return geo([r for (name, _), r in ratios.items() if name.split(".")[-2] in names])


def row(title, errors, best):
    ratios = {k: errors[k][2] / best[k][2] for k in best if best[k][2] > 0 and errors[k][2] > 0}
    ranked = sorted(ratios.values())
    print(f"| {title} | {geo(ranked):.3f} | {statistics.median(ranked):.3f} | {ranked[int(0.95 * len(ranked))]:.3f} | "
          + " | ".join(f"{of_class(ratios, names):.3f}" for names in CLASSES) + " |", flush=True)


def explained(errors):
    by = {}
    for (name, _), (_, part, _) in errors.items():
        by.setdefault(name.split(".")[-2] if name.startswith("blk") else name.split(".")[0], []).append(part)
    print("\ntr(D) / tr(H): " + ", ".join(f"{k} {statistics.fmean(v):.3f}" for k, v in by.items()), flush=True)


def by_tokens(measure, folder, best):
    print("\n| tokens of the text | tokens per expert, median | own: gate, up | own: down | blended: gate, up | blended: down |")
    print("|---|---|---|---|---|---|", flush=True)
    few = Path(folder) / "few.bin"
    few.write_bytes(struct.pack("<4i", 5, 300, 400, 500))
    for title, source in (("4", ("--tokens", few, "--ctx", 4)), ("256", ("--text", measure.args.calib, "--ctx", 256, "--chunks", 1)),
                          *((str(512 * n), ("--text", measure.args.calib, "--chunks", n)) for n in (2, 8, 32, 128))):
        calib = Path(folder) / f"calib-{title}"
        run(PARE, "calibrate", measure.args.model, *source, "-o", calib, "-q")
        cells, tokens = [], []
        for blend in ("0", "1"):
            errors = measure.errors("--calib", calib, "--calib-blend", blend, calib=calib)
            ratios = {k: errors[k][2] / best[k][2] for k in best if best[k][2] > 0 and errors[k][2] > 0}
            cells += [f"{of_class(ratios, names):.3f}" for names in CLASSES]
            tokens = [errors[k][0] for k in errors if "_exps" in k[0]]
        print(f"| {title} | {statistics.median(tokens):.0f} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "calib", "held", "recipe"):
        parser.add_argument(name)
    parser.add_argument("--chunks", default=64, type=int, help="of held-out text")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure, calib = Measure(args, folder), Path(folder) / "calib"
        run(PARE, "calibrate", args.model, "--text", args.calib, "--chunks", 128, "-o", calib, "-q")
        imatrix = ("--imatrix", calib / "imatrix.gguf")
        best = measure.errors("--search", "best")
        print("| rounding | all | median | 95 % | experts' gate, up | experts' down |\n|---|---|---|---|---|---|", flush=True)
        row("llama-quantize", measure.errors("--search", "compat"), best)
        row("llama-quantize, imatrix", measure.errors("--search", "compat", *imatrix), best)
        row("best, imatrix", measure.errors(*imatrix), best)
        row("error feedback, layer's statistics only", measure.errors("--calib", calib, "--calib-blend", "1e6"), best)
        row("error feedback, own statistics only", measure.errors("--calib", calib, "--calib-blend", "0"), best)
        blended = measure.errors("--calib", calib, calib=calib)
        row("error feedback", blended, best)
        row("sequential", measure.errors("--sequential", "--calib-text", args.calib, "--calib-chunks", "128"), best)
        explained(blended)
        by_tokens(measure, folder, best)


main()
