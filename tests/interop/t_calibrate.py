# SPDX-License-Identifier: MIT
"""pare calibrate's imatrix is llama-imatrix's: the same entries, counts and sums on the same tokens, up to float error (llama.cpp keeps keys and values in F16) and the few
tokens that llama.cpp's F16 arithmetic sends to other experts; and llama-quantize takes it."""
import subprocess
from pathlib import Path

import numpy as np

import common
import tap

CHUNKS = "8"


def built(name):
    done = subprocess.run(["sh", Path(__file__).with_name("llama_quantize.sh"), Path(common.sys.prefix), *name], capture_output=True,
                          text=True, check=False)
    path = done.stdout.strip().splitlines()[-1:] or [""]
    return path[0] if tap.ok(done.returncode == 0 and Path(path[0]).exists(), f"{name or 'llama-quantize'} is built", done.stderr[-500:]) else None


def sums(path):
    return {t.name: np.array(t.data, dtype=np.float64).ravel() for t in common.gguf.GGUFReader(path).tensors}


def check_sums(ours, theirs):
    tap.ok(set(ours) == set(theirs), f"{len(theirs)} tensors of the same names", str(set(ours) ^ set(theirs)))
    worst = max((float(np.abs(ours[n] - theirs[n]).sum() / max(theirs[n].sum(), 1e-30)), n) for n in theirs if n in ours)
    tap.ok(worst[0] < 5e-3, f"sums and counts differ by {worst[0]:.1e} of an entry's total at most ({worst[1]})")


def check(source, work, text):
    plain, calib, theirs = work / "f32.gguf", work / "calib", work / "theirs.gguf"
    imatrix, quantize = built(["llama-imatrix"]), built([])
    if not imatrix or not quantize or not common.convert(source, plain, "F32", "-q"):
        return
    argv = [common.PARE, "calibrate", source, "--text", text, "--align", "llama", "--chunks", CHUNKS, "-o", calib, "-q"]
    if not tap.run(f"pare calibrate {source.name}", argv):
        return
    argv = [imatrix, "-m", plain, "-f", text, "-o", theirs, "--chunks", CHUNKS, "-c", "512", "-t", "2"]
    if tap.run("llama-imatrix", argv):
        check_sums(sums(calib / "imatrix.gguf"), sums(theirs))
    tap.run("llama-quantize takes ours", [quantize, "--imatrix", calib / "imatrix.gguf", plain, work / "q.gguf", "Q4_K_M"])


with common.workdir() as tmp:
    check(common.fixture("nano-v3"), Path(tmp), Path("docs") / "architecture.md")
tap.done()
