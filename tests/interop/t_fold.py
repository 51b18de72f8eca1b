# SPDX-License-Identifier: MIT
"""Folded files are ordinary ones: llama.cpp loads them, its logits of a folded F32 file are those of the plain one, and its
perplexity of quantized folded files is pare verify's."""
from pathlib import Path

import numpy as np

import common
import llama
import perplexity
import tap

FOLDS = ("up-down", "permute", "v-o", "norms", "all")
RECIPES = ("Q4_K_M", "Q3_K_S", "Q2_K", "Q4_0", "IQ4_XS")


def run(path, tokens):
    """llama.cpp's logits, or None when it does not load the file."""
    try:
        with llama.Llama(path) as model:
            return model.logits(tokens)
    except RuntimeError as e:
        return tap.note(str(e))


def check_floats(source, work, tokens):
    """The same logits in F32, up to what summing in another order makes of them."""
    plain = work / "plain.gguf"
    if not common.convert(source, plain, "F32", "-q") or (want := run(plain, tokens)) is None:
        tap.ok(False, f"{source.name}: llama.cpp runs the plain file")
        return
    for fold in FOLDS:
        out = work / "folded.gguf"
        got = run(out, tokens) if common.convert(source, out, "F32", "-q", "--force", "--fold", fold) else None
        off = float("inf") if got is None else float(np.abs(got - want).max() / np.abs(want).max())
        tap.ok(off < 1e-4, f"{source.name} --fold {fold}: llama.cpp's logits are the plain file's to {off:.1e} of the largest")


def check_quantized(source, work):
    for recipe in RECIPES:
        out = work / f"{recipe}.gguf"
        if common.convert(source, out, recipe, "-q", "--fold", "all"):
            perplexity.check(out, source / "golden" / "tokens.bin", f"{source.name} {recipe} --fold all")


for fixture in ("nano-v3", "tiny-v3"):
    found = common.fixture(fixture)
    if not found:
        tap.skip(f"{fixture}: folded files", "it is not there")
        continue
    with common.workdir() as tmp:
        check_floats(found, Path(tmp), np.fromfile(found / "golden" / "tokens.bin", dtype=np.int32)[:512])
        check_quantized(found, Path(tmp))
tap.done()
