# SPDX-License-Identifier: MIT
"""Our block codecs against ggml's on one core: million weights per second, both measured in this run, in turns.

usage: bench_codecs.py T_KERNELS      T_KERNELS: build/tests/t-kernels
"""
import re
import subprocess
import sys
import time

import numpy as np

import llama

COLS, ROWS, SECONDS = 4096, 16, 0.4
TYPES = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4")


def rate(run, weights):
    run()
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < SECONDS:
        run()
        done += weights
    return done / took / 1e6


def peer(name, rng):
    rows = (0.02 * rng.standard_normal((ROWS, COLS))).astype(np.float32)
    weights = rng.uniform(0.1, 1.1, COLS).astype(np.float32)
    blocks = llama.quantize(rows, name)
    return {"encode": rate(lambda: llama.quantize(rows, name), rows.size),
            "weighted": rate(lambda: llama.quantize(rows, name, weights), rows.size),
            "decode": rate(lambda: llama.dequantize(blocks, name, rows.size), rows.size)}


def ours(program, name):
    """{(what, instruction set): rate}; an instruction set without a line runs the kernel of the one before."""
    text = subprocess.run([program, "--bench", name], capture_output=True, text=True, check=True).stdout
    return {(what, isa): float(value) for what, isa, value in re.findall(r"(\w+(?:, \w+)?)\s+(\w+)\s+([\d.]+) million", text)}


def main(program):
    rng = np.random.default_rng(1)
    print(f"{'million weights/s, one core':<28} {'ggml':>8} {'scalar':>8} {'avx2':>8} {'avx512':>8} {'best/ggml':>10}")
    for name in TYPES:
        theirs, mine = peer(name, rng), ours(program, name)
        # --search best stands against the same calls: what a user would run instead
        theirs |= {"best": theirs["encode"], "best, weighted": theirs["weighted"]} if ("best", "scalar") in mine else {}
        for what, value in theirs.items():
            row = [mine.get((what, isa)) for isa in ("scalar", "avx2", "avx512")]
            best = [v for v in row if v][-1]
            print(f"{name:<8} {what:<19} {value:8.1f} " + " ".join(f"{v:8.1f}" if v else f"{'as left':>8}" for v in row)
                  + f" {best / value:10.1f}")


main(sys.argv[1])
