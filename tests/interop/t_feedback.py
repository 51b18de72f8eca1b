# SPDX-License-Identifier: MIT
"""Files made with error feedback are ordinary ones: llama.cpp loads them, and its own KL divergence from the F32 file falls as
pare verify's does, below that of the file of the same type and size made with an imatrix."""
import json
import subprocess
from pathlib import Path

import numpy as np

import common
import llama
import tap

RECIPES = ("Q3_K_S", "Q2_K", "Q4_0")
ENDS = ("--pure", "--type", "token_embd=Q8_0", "--type", "output=Q8_0", "-q", "--force")


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def logits(path, chunks):
    with llama.Llama(path) as model:
        return np.concatenate([log_softmax(model.logits(chunk)) for chunk in chunks])


def kl(base, candidate):
    return float((np.exp(base) * (base - candidate)).sum(axis=-1).mean())


def ours(source, path, chunks):
    argv = [common.PARE, "verify", source, path, "--tokens", source / "golden" / "tokens.bin", "--chunks", len(chunks),
            "--all-positions", "--no-local", "--json", "-q"]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["kld"]["mean"]


def calibrate(source, work, text):
    argv = [common.PARE, "calibrate", source, "--text", text, "-o", work / "calib", "-q"]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    return tap.ok(done.returncode == 0, f"pare calibrate {source.name}", done.stderr)


def check(source, work, chunks):
    plain, out = work / "plain.gguf", work / "candidate.gguf"
    if not common.convert(source, plain, "F32", "-q"):
        tap.ok(False, f"{source.name}: F32")
        return
    base = logits(plain, chunks)
    for recipe in RECIPES:
        theirs, own = {}, {}
        for how in (("--imatrix", work / "calib" / "imatrix.gguf", "--search", "compat"), ("--calib", work / "calib")):
            if not common.convert(source, out, recipe, *ENDS, *map(str, how)):
                tap.ok(False, f"{source.name} {recipe} {how[0]}: converted")
                return
            theirs[how[0]] = kl(base, logits(out, chunks))
            own[how[0]] = ours(source, out, chunks)
        tap.ok(theirs["--calib"] < 0.8 * theirs["--imatrix"] and own["--calib"] < 0.8 * own["--imatrix"],
               f"{source.name} {recipe}: KL with error feedback and with imatrix: llama.cpp {theirs['--calib']:.5f} and "
               f"{theirs['--imatrix']:.5f}, pare {own['--calib']:.5f} and {own['--imatrix']:.5f}")


for fixture in ("nano-v3",):
    found = common.fixture(fixture)
    if not found:
        tap.skip(f"{fixture}: error feedback", "it is not there")
        continue
    text = Path("docs") / "architecture.md"
    with common.workdir() as tmp:
        tokens = np.fromfile(found / "golden" / "tokens.bin", dtype=np.int32).reshape(-1, 512)[:4]
        if calibrate(found, Path(tmp), text):
            check(found, Path(tmp), tokens)
tap.done()
