# SPDX-License-Identifier: MIT
"""Quantized checkpoints as sources: pare reads every scheme to exactly the numbers that the compressed-tensors package, or an unpacker
written from the published layout, decodes, and its commands take them."""
import json
import subprocess
from pathlib import Path

import common
import quantized
import tap


def differences(a, b):
    """Tensors of two models whose values differ, or None when they cannot be compared."""
    p = subprocess.run([common.PARE, "diff", "--json", "-q", a, b], capture_output=True, text=True, check=False)
    if p.returncode not in (0, 1):
        return tap.note(p.stderr)
    return p.returncode


def check(folders, what):
    stored, decoded = folders
    tap.ok(differences(stored, decoded) == 0, f"{what}: all weights are read exactly")


def main(source, work):
    for name in quantized.PACKED:
        check(quantized.compressed(source, work, name), f"compressed-tensors {name}")
    check(quantized.mixed(source, work), "compressed-tensors, INT4 experts and FP8 blocks")
    check(quantized.int8_block(source, work), "blockwise_int8")
    for version in ("gptq", "gptq_v2"):
        for bits, group, symmetric in ((4, 128, True), (4, 32, False), (8, 64, True), (4, 0, True)):
            check(quantized.gptq(source, work, bits, group, symmetric, version),
                  f"{version}, {bits} bits, {f'groups of {group}' if group else 'a scale per output'}{'' if symmetric else ', asymmetric'}")
    check(quantized.awq(source, work), "awq")


found = common.fixture("nano-v3")
if not found:
    tap.bail("nano-v3 is not there")
with common.workdir() as tmp:
    main(quantized.Source(found), Path(tmp))
tap.done()
