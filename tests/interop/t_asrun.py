# SPDX-License-Identifier: MIT
"""pare verify --act and --kv give what engines give: logits of llama.cpp on its CPU kernels, with each of its caches; and of transformers
with every input of a quantized module rounded by the compressed-tensors package, or as the FP8 release's kernels do it."""
import json
import subprocess
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils.helpers import compute_dynamic_scales_and_zp

import common
import llama
import quantized
import tap
from reference_logits import Reference, checkpoint_weights

CTX, CHUNKS, BOS = 512, 2, 0
FEWER = 5   # times the divergence must fall
TOKEN8 = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)


def golden_chunks(src):
    chunks = np.fromfile(src / "golden" / "tokens.bin", dtype=np.int32).reshape(-1, CTX)[:CHUNKS].copy()
    chunks[:, 0] = BOS
    return chunks


def ours(path, src, work, *options):
    """Logits of all positions as pare verify saves them."""
    out = work / "logits.bin"
    argv = [common.PARE, "verify", path, "--tokens", src / "golden" / "tokens.bin", "--chunks", str(CHUNKS), "--save-logits", out, "-q", *options]
    if not tap.run(" ".join(["pare verify", Path(path).name, *options]), argv):
        return None
    return np.fromfile(out, dtype="<f4").reshape(CHUNKS * CTX, -1)


def divergence(base, candidate):
    """Mean KL(base || candidate) over all positions, in nats."""
    p, q = (x.astype(np.float64) - x.max(axis=1, keepdims=True) for x in (base, candidate))
    p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (p, q))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def falls(theirs, path, src, work, what, *options, exact=None):
    """How far ours is from theirs without the options and with them. Returns ours without, for the next time."""
    exact = ours(path, src, work) if exact is None else exact
    rounded = ours(path, src, work, *options)
    if exact is None or rounded is None:
        return exact
    before, after = divergence(theirs, exact), divergence(theirs, rounded)
    tap.ok(after * FEWER <= before, f"{what}: KL to its logits is {after:.2e} with {' '.join(options)}, {before / after:.0f} times less "
           f"than the {before:.2e} without")
    return exact


# llama.cpp

CACHES = {
    "f32": {},
    "f16": {"type_k": llama.lib.GGML_TYPE_F16, "type_v": llama.lib.GGML_TYPE_F16, "flash_attn_type": llama.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED},
    "q8_0": {"type_k": llama.lib.GGML_TYPE_Q8_0, "type_v": llama.lib.GGML_TYPE_Q8_0,
             "flash_attn_type": llama.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED},
}


def check_llama(src, recipe, work, caches=("f32",)):
    out = work / f"{src.name}-{recipe}.gguf"
    if not common.convert(src, out, recipe, "-q"):
        return
    chunks, exact = golden_chunks(src), None
    with llama.Llama(out) as model:
        for cache in caches:
            theirs = np.concatenate([model.logits_with(chunk, **CACHES[cache]) for chunk in chunks])
            options = () if cache == "f32" else ("--kv", cache)
            exact = falls(theirs, out, src, work, f"{src.name} {recipe}, llama.cpp with a cache in {cache.upper()}", "--act", "q8_k", *options,
                          exact=exact)


# transformers, with inputs rounded

def by_token(x):
    """The package's dynamic INT8. It takes tokens to be the second dimension of three."""
    tokens = x.reshape(1, -1, x.shape[-1])
    scale, zero = compute_dynamic_scales_and_zp(tokens, TOKEN8, None)
    return fake_quantize(tokens, scale, zero, TOKEN8).reshape(x.shape)


def by_128(x, power=False):
    """DeepSeek's act_quant: E4M3 under a scale for each 128 features."""
    blocks = x.unflatten(-1, (-1, 128))
    scale = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-4) / 448
    if power:
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    return ((blocks / scale).to(torch.float8_e4m3fn).float() * scale).flatten(-2)


class Served(Reference):
    """A checkpoint whose modules round what they read; but for the router, the head and those left out."""

    def __init__(self, src, weights, rounded, left_out=()):
        super().__init__(src, weights)
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head" and name.rsplit(".", 1)[-1] not in left_out:
                module.register_forward_pre_hook(lambda _module, args: (rounded(args[0]), *args[1:]))
            elif name.endswith("mlp.experts"):
                module.forward = self._experts(module, rounded)

    @staticmethod
    def _experts(module, rounded):
        def forward(hidden, chosen, gates):
            out, x = torch.zeros_like(hidden), rounded(hidden)
            for expert in range(len(module.gate_up_proj)):
                token, slot = torch.where(chosen == expert)
                if not len(token):
                    continue
                gate, up = (x[token] @ module.gate_up_proj[expert].T).chunk(2, dim=-1)
                inner = rounded(torch.nn.functional.silu(gate) * up)
                out.index_add_(0, token, (inner @ module.down_proj[expert].T) * gates[token, slot, None])
            return out
        return forward


def int8_weights(folder):
    """F32 weights of a checkpoint whose matrices are INT8 with a scale per row."""
    weights = checkpoint_weights(folder)
    for name in [n for n in weights if n.endswith(".weight_scale")]:
        weights[name.removesuffix("_scale")] *= weights.pop(name)
    return weights


def check_int8(src, work):
    folder = work / "w8a8"
    argv = [common.PARE, "convert", src, "-o", folder, "--to", "compressed-tensors", "-r", "W8A8", "-q"]
    if not tap.run(f"pare converts {src.name} to W8A8", argv):
        return
    theirs = Served(src, int8_weights(folder), by_token, ("kv_b_proj",)).logits(golden_chunks(src))     # which ours leaves in BF16
    falls(theirs, folder, src, work, f"{src.name} W8A8, inputs rounded by compressed-tensors", "--act", "int8-token")


def check_int8_of_the_package(src, work):
    """Every linear module, kv_b_proj too."""
    stored, decoded = quantized.compressed(quantized.Source(src), work, "W8A8-INT8")
    theirs = Served(src, checkpoint_weights(decoded), by_token).logits(golden_chunks(src))
    falls(theirs, stored, src, work, f"{src.name} by compressed-tensors in W8A8", "--act", "int8-token")


def check_fp8(src, work):
    power = json.loads((src / "config.json").read_text())["quantization_config"].get("scale_fmt") == "ue8m0"
    theirs = Served(src, checkpoint_weights(src), lambda x: by_128(x, power), ("kv_b_proj",)).logits(golden_chunks(src))
    falls(theirs, src, src, work, f"{src.name} FP8, inputs rounded as its kernels do", "--act", "fp8-1x128")


with common.workdir() as scratch:
    nano = common.fixture("nano-v3")
    check_llama(nano, "Q8_0", Path(scratch))
    check_int8(nano, Path(scratch))
    check_fp8(nano, Path(scratch))
for fixture, caches in (("tiny-v3", CACHES), ("tiny-v3.1", ("f16",))):
    found = common.fixture(fixture)
    if not found:
        tap.skip(f"{fixture} as engines run it", f"no {fixture} in the fixtures")
        continue
    with common.workdir() as scratch:
        check_llama(found, "Q4_K_M", Path(scratch), caches)
        check_int8_of_the_package(found, Path(scratch))
        check_fp8(found, Path(scratch))
tap.done()
