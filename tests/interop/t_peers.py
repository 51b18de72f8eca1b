# SPDX-License-Identifier: MIT
"""Files as others publish them: llama.cpp and pare verify give the same logits from kv_b in one, from gates and ups in one tensor, without
groups of experts, and without keys that llama.cpp has defaults for."""
import subprocess
from pathlib import Path

import numpy as np

import common
import llama
import tap

CTX, BOS, BOUND = 512, 0, 2e-3
FORMS = (("kv_b",), ("gate_up", "defaults"), ("ungrouped",), ("no_origin",))


def check(src, work):
    ours, peer, out, tokens = work / "ours.gguf", work / "peer.gguf", work / "logits.bin", src / "golden" / "tokens.bin"
    if not common.convert(src, ours, "F32", "-q"):
        return
    ids = np.fromfile(tokens, dtype=np.int32)[:CTX].copy()
    ids[0] = BOS
    found = []
    for form in FORMS:
        what = f"{src.name} as {' '.join(form)}"
        subprocess.run([common.TOOLS / "gguf-peers", ours, peer, *form], check=True)
        argv = [common.PARE, "verify", peer, "--tokens", tokens, "--chunks", "1", "--save-logits", out, "-q"]
        if not tap.run(f"pare verify takes {what}", argv):
            continue
        logits = np.fromfile(out, dtype="<f4").reshape(CTX, -1)
        with llama.Llama(peer) as model:
            off = np.abs(model.logits(ids) - logits).max()
        tap.ok(off <= BOUND, f"{what}: logits are {off:.1e} from llama.cpp's, at most {BOUND:g}")
        found.append(logits)
    if len(found) == len(FORMS):
        same, others = np.abs(found[0] - found[1]).max(), [np.abs(found[0] - x).max() for x in found[2:]]
        tap.ok(same == 0 and min(others) > 0.01, f"{src.name}: the two forms of the same model have the same logits, the two other models not",
               f"{same}, {others}")


with common.workdir() as scratch:
    check(common.fixture("nano-v3"), Path(scratch))
tap.done()
