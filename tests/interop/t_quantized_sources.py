# SPDX-License-Identifier: MIT
"""Quantized checkpoints as sources: pare reads every scheme to exactly the numbers that the compressed-tensors package, or an unpacker
written from the published layout, decodes, and its commands take them."""
import json
import subprocess
from pathlib import Path

import numpy as np
from gguf.quants import dequantize
from safetensors import safe_open

import common
import quantized
import tap


def differences(a, b):
    """Tensors of two models whose values differ, or None when they cannot be compared."""
    p = subprocess.run([common.PARE, "diff", "--json", "-q", a, b], capture_output=True, text=True, check=False)
    if p.returncode not in (0, 1):
        return tap.note(p.stderr)
    return p.returncode


def perplexity(folder, tokens):
    """pare verify's, or what it says instead."""
    p = subprocess.run([common.PARE, "verify", "--json", "-q", folder, "--tokens", tokens, "--chunks", "1"], capture_output=True, text=True,
                       check=False)
    return json.loads(p.stdout)["base"]["ppl"] if p.returncode == 0 else p.stderr


def check(folders, what, tokens=None):
    """With tokens, a forward pass too."""
    stored, decoded = folders
    if not tap.ok(differences(stored, decoded) == 0, f"{what}: all weights are read exactly") or not tokens:
        return
    got, want = perplexity(stored, tokens), perplexity(decoded, tokens)
    tap.ok(isinstance(got, float) and got == want, f"{what}: perplexity is {got}, to the last bit that of the decoded weights", want)


def check_carried(source, work):
    """INT4 groups of 32 become Q4_0 without loss: the gguf package's numbers are the compressed-tensors package's."""
    stored, decoded = quantized.compressed(source, work, "W4A16-G32", lambda module: ".experts." in module)
    out = work / "carried.gguf"
    if not common.convert(stored, out, "Q4_0", "-q"):
        return
    file = common.read(out)
    with safe_open(decoded / "model.safetensors", "np") as f:
        for layer in (1, 2):
            for ours, theirs in (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
                tensor = file.tensors[f"blk.{layer}.ffn_{ours}_exps.weight"]
                got = dequantize(tensor.data, tensor.tensor_type)
                want = np.stack([f.get_tensor(f"model.layers.{layer}.mlp.experts.{i}.{theirs}.weight") for i in range(len(got))])
                tap.ok(tensor.tensor_type.name == "Q4_0" and np.array_equal(got, want),
                       f"layer {layer}, {theirs} of {len(got)} experts: Q4_0 has the numbers that compressed-tensors decodes")


def main(source, work):
    tokens = source.folder / "golden" / "tokens.bin"
    for name in quantized.PACKED:
        check(quantized.compressed(source, work, name), f"compressed-tensors {name}")
    check(quantized.mixed(source, work), "compressed-tensors, INT4 experts and FP8 blocks", tokens)
    check(quantized.int8_block(source, work), "blockwise_int8")
    check(quantized.w4afp8(source, work), "w4afp8, INT4 experts of SGLang")
    for version in ("gptq", "gptq_v2"):
        for bits, group, symmetric in ((4, 128, True), (4, 32, False), (8, 64, True), (4, 0, True)):
            check(quantized.gptq(source, work, bits, group, symmetric, version), f"{version}, {bits} bits, "
                  f"{f'groups of {group}' if group else 'a scale per output'}{'' if symmetric else ', asymmetric'}")
    check(quantized.awq(source, work), "awq", tokens)


found = common.fixture("nano-v3")
if not found:
    tap.bail("nano-v3 is not there")
with common.workdir() as tmp:
    main(quantized.Source(found), Path(tmp))
with common.workdir() as tmp:
    check_carried(quantized.Source(found), Path(tmp))
tap.done()
