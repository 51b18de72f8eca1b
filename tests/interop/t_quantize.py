# SPDX-License-Identifier: MIT
"""Files that llama.cpp's llama-quantize made, built from its sources: pare reads their values, and its KL divergence is the
one computed here from logits of transformers with the weights that the gguf package decodes. pare's encoders make the
same blocks of every tensor of its mixtures."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import common
import llama
import tap
from reference_logits import Reference, checkpoint_weights, gguf_weights

CTX, BOS, N_CHUNKS = 512, 0, 2
NANO = common.fixture("nano-v3")
# Between them every type that we write, but NVFP4, which llama-quantize does not offer
MIXTURES = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
            "IQ4_NL", "IQ4_XS", "MXFP4_MOE")
# Whole files of one type
PURE = ("--pure", "--token-embedding-type", "q8_0", "--output-tensor-type", "q8_0")


def log_softmax(logits):
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def kl_divergence(base, candidate):
    """Mean over the second half of each chunk, natural logarithms."""
    scored = slice(CTX // 2, CTX - 1)
    p, q = (log_softmax(x.reshape(N_CHUNKS, CTX, -1)[:, scored]) for x in (base, candidate))
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def report(*argv):
    done = subprocess.run([common.PARE, "verify", *map(str, argv), "--json", "-q"], capture_output=True, text=True, check=False)
    tap.ok(done.returncode == 0, f"pare verify judges {Path(argv[1]).name}", done.stderr)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def check(quantize, source, base, kind, work):
    out, ids = work / f"theirs-{kind}.gguf", NANO / "golden" / "tokens.bin"
    if not tap.run(f"llama-quantize makes {kind} of our F32 file", [quantize, *PURE, source, out, kind, "1"]):
        return
    tap.run(f"pare inspect reads llama-quantize's {kind} file", [common.PARE, "inspect", out])
    found = report(source, out, "--tokens", ids, "--chunks", N_CHUNKS)
    chunks = np.fromfile(ids, dtype=np.int32).reshape(-1, CTX)[:N_CHUNKS]
    reference = Reference(NANO, gguf_weights(out))
    want, got = kl_divergence(base.logits(chunks), reference.logits(chunks)), found.get("kld", {}).get("mean", float("nan"))
    tap.ok(abs(got - want) <= 1e-5, f"{kind}: KL {got:.7f} is the {want:.7f} computed from gguf's decoding, within 1e-5")
    with llama.Llama(out) as model:
        theirs = model.perplexity(chunks.ravel(), N_CHUNKS, BOS)
    ours = found.get("candidate", {}).get("ppl", float("nan"))
    tap.ok(abs(ours / theirs - 1) < 0.01, f"{kind}: perplexity {ours:.4f} is within 1 % of llama.cpp's {theirs:.4f}")
    mine = work / f"ours-{kind}.gguf"
    if common.convert(NANO, mine, kind, "--search", "compat", "--type", "token_embd,output=Q8_0"):
        tap.run(f"{kind}: our own file has the same values as llama-quantize's", [common.PARE, "diff", mine, out])


def same_blocks(source, theirs, kind):
    """Every tensor that llama-quantize encoded, encoded by us from the F32 file it read."""
    wrong, types = [], set()
    for name, tensor in theirs.tensors.items():
        if (held := tensor.tensor_type.name) == "F32":
            continue
        rows, cols = source.rows(name), int(tensor.shape[0])
        argv = [common.TOOLS / "quantize-rows", held, str(cols)]
        done = subprocess.run(argv, input=rows.tobytes(), capture_output=True, check=False)
        types.add(held)
        wrong += [] if done.stdout == tensor.data.tobytes() else [f"{name}, {held}"]
    tap.ok(types and not wrong, f"{kind}: our encoders make llama-quantize's blocks ({', '.join(sorted(types))})", "\n".join(wrong))


def same_file(source, theirs, kind, work):
    """Our file of the same preset, straight from the checkpoint: the same types and the same bytes."""
    mine = work / f"preset-{source.name}-{kind}.gguf"
    if not common.convert(source, mine, kind, "--search", "compat"):
        return
    ours = common.Gguf(mine)
    wrong = [f"{name}: {ours.tensors[name].tensor_type.name}, theirs {t.tensor_type.name}" for name, t in theirs.tensors.items()
             if name not in ours.tensors or ours.tensors[name].tensor_type != t.tensor_type
             or ours.tensors[name].data.tobytes() != t.data.tobytes()]
    tap.ok(len(ours.tensors) == len(theirs.tensors) and not wrong,
           f"{source.name} {kind}: our {len(ours.tensors)} tensors are llama-quantize's in type and bytes", "\n".join(wrong[:20]))
    tap.ok(ours.value("general.file_type") == theirs.value("general.file_type"), f"{source.name} {kind}: so is general.file_type")
    mine.unlink()


def check_presets(quantize, source, work):
    """All presets of a checkpoint."""
    f32 = work / f"{source.name}.gguf"
    if common.convert(source, f32, "F32"):
        for kind in MIXTURES:
            out = work / f"theirs-{source.name}-{kind}.gguf"
            if tap.run(f"llama-quantize makes {kind} of {source.name}", [quantize, f32, out, kind, "2"]):
                same_file(source, common.Gguf(out), kind, work)
                out.unlink()


def check_mixture(quantize, f32, kind, work):
    out, ids = work / f"{kind}.gguf", NANO / "golden" / "tokens.bin"
    if not tap.run(f"llama-quantize makes {kind}", [quantize, f32, out, kind, "1"]):
        return
    tap.run(f"{kind}: pare inspect reads it", [common.PARE, "inspect", out])
    differ = subprocess.run([common.PARE, "diff", f32, out], capture_output=True, text=True, check=False)
    tap.ok(differ.returncode == 1 and "tensors differ" in differ.stdout, f"{kind}: pare diff compares it with the F32 file", differ.stderr)
    found = report(f32, out, "--tokens", ids, "--chunks", 1)
    tap.ok(0 < found.get("kld", {}).get("mean", -1) < 1, f"{kind}: its KL divergence is between 0 and 1")
    same_blocks(common.Gguf(f32), common.Gguf(out), kind)
    same_file(NANO, common.Gguf(out), kind, work)


with common.workdir() as tmp:
    env = str(Path(sys.executable).parent.parent)
    built = subprocess.run(["sh", Path(__file__).with_name("llama_quantize.sh"), env], capture_output=True, text=True, check=False)
    if tap.ok(built.returncode == 0, "llama-quantize is built from llama.cpp's sources", built.stderr):
        f32 = Path(tmp) / "f32.gguf"
        if common.convert(NANO, f32, "F32"):
            for kind in ("Q4_0", "Q8_0"):
                check(built.stdout.strip(), f32, Reference(NANO, checkpoint_weights(NANO)), kind, Path(tmp))
            for kind in MIXTURES:
                check_mixture(built.stdout.strip(), f32, kind, Path(tmp))
        if (tiny := common.fixture("tiny-v3")):
            check_presets(built.stdout.strip(), tiny, Path(tmp))
        else:
            tap.skip("all presets of tiny-v3", "it is not there")
tap.done()
