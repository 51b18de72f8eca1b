# SPDX-License-Identifier: MIT
"""Our GGUF files hold what llama.cpp's own converter writes: every tensor byte and every key."""
from pathlib import Path

import common
import llama
import tap

# Keys that may differ from the reference's, each with its reason.
EXPLAINED = {}


def check_types(src, work):
    """The types the reference converter writes."""
    references = {t: Path(work) / f"reference-{src.name}-{t}.gguf" for t in common.TYPES}
    if not common.convert_reference(src, [(path, t) for t, path in references.items()], pre="deepseek-v3"):
        return
    for kind, path in references.items():
        out = Path(work) / f"{src.name}-{kind}.gguf"
        if common.convert(src, out, kind) and (ours := common.read(out)):
            reference = common.Gguf(path)
            common.same_tensors(ours, reference, f"{src.name} {kind}")
            common.same_keys(ours, reference, f"{src.name} {kind}", EXPLAINED)


def check_q4_0(src, work):
    """A type it cannot write: ggml's own quantizer on the rows of our F32 file."""
    plain, out = Path(work) / f"{src.name}-F32.gguf", Path(work) / f"{src.name}-Q4_0.gguf"
    if not (plain.exists() and common.convert(src, out, "Q4_0", "--search", "compat") and (ours := common.read(out))):
        return
    plain = common.Gguf(plain)
    quantized = {n: t.tensor_type.name for n, t in ours.tensors.items() if t.tensor_type.name != "F32"}
    # llama-quantize gives output.weight Q6_K in this mixture
    odd = {n: t for n, t in quantized.items() if t != "Q4_0" and (n, t) != ("output.weight", "Q6_K")}
    tap.ok(quantized and not odd, f"{src.name} Q4_0: {len(quantized)} matrices are Q4_0, output.weight Q4_0 or Q6_K", odd)
    tap.ok(ours.tensors.keys() == plain.tensors.keys(), f"{src.name} Q4_0: the F32 file's {len(plain.tensors)} tensors")
    wrong = [n for n, kind in quantized.items() if n in plain.tensors
             and ours.tensors[n].data.tobytes() != llama.quantize(plain.rows(n), kind)]
    tap.ok(quantized and not wrong, f"{src.name} Q4_0: ggml_quantize_chunk's bytes in all {len(quantized)} matrices",
           "\n".join(wrong))


with common.workdir() as work:
    for name in ("nano-v3", "tiny-v3", "tiny-v3.1"):
        if src := common.fixture(name):
            check_types(src, work)
            check_q4_0(src, work)
        else:
            tap.skip(f"{name}: the reference's tensors and keys", f"no {name} in tests/data or {common.FIXTURES}")
tap.done()
