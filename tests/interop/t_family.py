# SPDX-License-Identifier: MIT
"""The layouts that no fixture has, as small random checkpoints: the reference's tensors and keys, and llama.cpp runs our file."""
from pathlib import Path

import numpy as np

import common
import llama
import tap

# family, folder (a GGUF's general.name comes from it), options for the checkpoint.
# The lite variants are known to llama.cpp by their number of layers.
FAMILIES = (
    ("v3.1", "DeepSeek-V3.1", ("--scale", "e8m0")),         # scales as bare exponents instead of F32
    ("v3.2", "DeepSeek-V3.2-Exp", ("--index-topk", 16)),    # fewer than the tokens below: the indexer chooses
    ("v2", "DeepSeek-V2", ()),
    ("v2-lite", "DeepSeek-V2-Lite", ("--layers", 27)),
)

# Keys that may differ from the reference's, each with its reason.
EXPLAINED = {}

# nano-v3's tokenizer serves all of them; it says add_bos_token true, as the reference asks of V3.2.
TOKENIZER, N_VOCAB = common.fixture("nano-v3"), 2048


def check_logits(path, name):
    tokens = np.random.default_rng(1).integers(3, N_VOCAB, size=32)
    try:
        with llama.Llama(path) as model:
            logits = model.logits([0, *tokens[1:]])
    except RuntimeError as e:
        tap.ok(False, f"{name}: llama.cpp runs 32 tokens", str(e))
        return
    tap.ok(np.isfinite(logits).all() and logits.std() > 0, f"{name}: llama.cpp's logits of 32 tokens are finite")


def check_family(family, folder, options, work):
    src, out, reference = work / folder, work / f"{folder}.gguf", work / "reference.gguf"
    if not (common.make_checkpoint(family, src, "--vocab", N_VOCAB, "--tokenizer", TOKENIZER, *options)
            and common.convert_reference(src, [(reference, "F32")], pre="deepseek-v3")
            and common.convert(src, out, "F32") and (ours := common.read(out))):
        return
    reference = common.Gguf(reference)
    common.same_tensors(ours, reference, folder)
    common.same_keys(ours, reference, folder, EXPLAINED)
    check_logits(out, folder)


for row in FAMILIES:
    with common.workdir() as scratch:
        check_family(*row, Path(scratch))
tap.done()
