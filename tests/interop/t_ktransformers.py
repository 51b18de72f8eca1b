# SPDX-License-Identifier: MIT
"""Experts for kt-kernel (--to ktransformers), by the rules of its own reader: the keys that SafeTensorLoader.load_experts walks, the sizes that
BufferB::required_size asks for, and the weights that the GEMM kernels would take out of the buffers, tile by tile. kt-kernel itself needs
AMX to be built; sources: kvcache-ai/ktransformers kt-kernel/python/utils/loader.py, operators/amx/la/amx_kernels.hpp."""
import subprocess
from pathlib import Path

import numpy as np
from safetensors import safe_open

import common
import tap
from reference_logits import checkpoint_weights

N_STEP, K_STEP, K_BLOCK, TILE = 32, 64, 3584, 1024


def submat(n, k, n_begin, k_begin, n_block, per_byte):
    """Byte at which get_submat begins: a strip of 32 rows and one step of columns."""
    block = n_begin // n_block * n_block
    size = min(n_block, n - block)
    panel = k_begin // K_BLOCK * K_BLOCK
    width = min(K_BLOCK, k - panel)
    return (block * k + panel * size + (n_begin - block) * width + (k_begin - panel) * N_STEP) // per_byte


def tiles(buffer, at):
    """Two tiles as the kernel loads them: [32 rows][64 bytes]; word k of lane r is bytes 4k.. of row r."""
    both = buffer[at:at + 2 * TILE].reshape(2, 16, 16, 4)
    return both.transpose(0, 2, 1, 3).reshape(N_STEP, K_STEP)


def int8(buffer, n, k):
    out = np.empty((n, k), np.int8)
    for row in range(0, n, N_STEP):
        for col in range(0, k, K_STEP):
            out[row:row + N_STEP, col:col + K_STEP] = tiles(buffer, submat(n, k, row, col, 64, 1))
    return out


def int4(buffer, n, k):
    """What load_b_lo and load_b_hi hand over: the nibble in the upper half of a byte, 16 times the code."""
    out = np.empty((n, k), np.int8)
    for row in range(0, n, N_STEP):
        for col in range(0, k, 2 * K_STEP):
            both = tiles(buffer, submat(n, k, row, col, 128, 2)).view(np.uint8)
            out[row:row + N_STEP, col:col + K_STEP] = (both << 4).view(np.int8)
            out[row:row + N_STEP, col + K_STEP:col + 2 * K_STEP] = (both & 0xf0).view(np.int8)
    return out


def loader(folder):
    """All tensors of all shards, as SafeTensorLoader maps them."""
    tensors = {}
    for shard in sorted(Path(folder).rglob("*.safetensors")):
        with safe_open(shard, framework="pt") as f:
            for key in f.keys():
                tensors[key] = f.get_tensor(key).numpy()
    return tensors


def experts_of(tensors, layer):
    """How many load_experts finds, each with all six tensors; None where one is missing."""
    n = 0
    while f"blk.{layer}.ffn_up_exps.{n}.numa.0.weight" in tensors:
        n += 1
    keys = {f"blk.{layer}.ffn_{m}_exps.{x}.numa.0.{part}" for m in ("up", "gate", "down") for x in range(n) for part in ("weight", "scale")}
    return n if keys <= set(tensors) else None


def check(src, out, bits, experts, layers, exact):
    tensors = loader(out)
    tap.ok(all(experts_of(tensors, layer) == experts for layer in layers), f"{out.name}: the loader finds {experts} experts of each layer")
    tap.ok(len(tensors) == len(layers) * experts * 6, f"{out.name}: and nothing else lies there")
    names = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
    sizes = close = scales = True
    worst = lost = 0.0
    for key, w in checkpoint_weights(src).items():
        part = key.split(".")
        if ".mlp.experts." not in key or int(part[2]) not in layers:
            continue
        w = np.asarray(w, np.float32)
        ours = next(m for m, hf in names.items() if hf == part[6])
        base = f"blk.{part[2]}.ffn_{ours}_exps.{part[5]}.numa.0"
        codes, scale = tensors[base + ".weight"], tensors[base + ".scale"]
        sizes &= codes.dtype == np.int8 and scale.dtype == np.float32 and codes.size == w.size * bits // 8 and scale.shape == (w.shape[0],)
        q = (int8 if bits == 8 else int4)(codes, *w.shape)
        y = q.astype(np.float32) * scale[:, None]
        step = scale[:, None] * (1 if bits == 8 else 16)
        worst = max(worst, float(np.max(np.abs(w - y) / np.maximum(step, 1e-30))))
        lost += float(np.sum((w - y).astype(np.float64) ** 2))
        close &= not exact or bool(np.all(np.abs(w - y) <= step * 0.5001))
        if exact and bits == 8:
            amax = np.abs(w).max(1)
            scales &= bool(np.array_equal(scale[amax > 0], (amax / np.float32(127))[amax > 0].astype(np.float32)))
    tap.ok(sizes, f"{out.name}: buffers have the sizes and types that BufferB asks for")
    tap.ok(close, f"{out.name}: the kernels' tiles hold the weights", f"worst {worst:.3f} steps")
    if exact and bits == 8:
        tap.ok(scales, f"{out.name}: scales are kt-kernel's own, amax / 127")
    return lost


def main():
    with common.workdir() as work:
        work = Path(work)
        wide = work / "wide"
        made = common.make_checkpoint("v3", wide, "--layers", "2", "--dense", "1", "--vocab", "256", "--hidden", "7168", "--inter", "256", "--moe-inter", "320",
                                      "--heads", "1", "--q-lora", "128", "--kv-lora", "128", "--experts", "2", "--used", "1", "--groups", "1", "--topk-group", "1",
                                      "--mtp", "0")
        sources = [(common.fixture("nano-v3"), 8, [1, 2])] + ([(wide, 2, [1])] if made else [])
        for src, experts, layers in sources:
            for scheme, bits in (("AMXINT8", 8), ("AMXINT4", 4)):
                lost = {}
                for search in ("compat", "best"):
                    if bits == 4 and src == wide:  # 320 columns are no whole steps of 128
                        continue
                    out = work / f"{Path(src).name}-{scheme}-{search}"
                    if tap.run(f"pare makes {out.name}", [common.PARE, "convert", src, "-o", out, "--to", "ktransformers", "-r", scheme, "--search", search,
                                                          "-q"]):
                        lost[search] = check(src, out, bits, experts, layers, search == "compat")
                if lost:
                    tap.ok(lost["best"] <= lost["compat"], f"{Path(src).name}: {scheme} with the search loses no more", f"{lost}")
        refused = work / "refused"
        done = subprocess.run([common.PARE, "convert", wide, "-o", refused, "--to", "ktransformers", "-r", "AMXINT4", "-q"], capture_output=True, text=True)
        tap.ok(done.returncode == 3 and "cannot be stored" in done.stderr, "matrices that tiles do not divide are refused", done.stderr)
    tap.done()


main()
