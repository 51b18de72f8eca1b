#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: tests/gptq.py MODEL TEXT OUT [--chunks N] [--all] [--group N] [--damp X] [--static]

A baseline to measure against: GPTQ (arXiv 2210.17323) as it is published, on a DeepSeek checkpoint, written as a compressed-tensors
W4A16 folder. Layer by layer, each calibrated on what the quantized layers before it put out; H = X'X of the tokens that a matrix sees,
an expert of those routed to it; damping of 1 % of the mean diagonal; columns in order, in blocks of 128; the scale of a group is the
min-max one of the weights as they are when the sweep reaches it. --static is the other published way: columns by descending diagonal
of H, scales of the original weights, chosen before. Scales are BF16, as everywhere. An expert without tokens is rounded.
Only experts are quantized, with --all every linear layer but kv_b. Runs in the environment of tests/interop/env.sh."""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).with_name("interop")))
import quantized  # noqa: E402
from reference_logits import Reference, checkpoint_weights  # noqa: E402

CTX, BOS, BLOCK = 512, 0, 128


def chunks_of(model, text, n):
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(text.read_text(), add_special_tokens=False).ids
    chunks = np.array(ids[:min(n, len(ids) // CTX) * CTX], dtype=np.int64).reshape(-1, CTX)
    chunks[:, 0] = BOS
    return chunks


def scale_of(w):
    return (w.abs().amax(-1, keepdim=True) / 7.5).bfloat16().float().clamp(min=2**-23)


def rounded(w, scale):
    return (w / scale).round().clamp(-8, 7) * scale


def gptq(w, h, args):
    """The quantized weights [O][I] and their scales [O][I / group]."""
    w, h = w.clone(), h.clone()
    n = w.shape[1]
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    order = torch.argsort(h.diagonal(), descending=True) if args.static else torch.arange(n)
    fixed = scale_of(w.reshape(w.shape[0], -1, args.group))[..., 0]
    w, h = w[:, order], h[order][:, order]
    h += args.damp * h.diagonal().mean() * torch.eye(n)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h.double())), upper=True).float()
    out, scales = torch.zeros_like(w), fixed.clone()
    for first in range(0, n, BLOCK):
        end = min(first + BLOCK, n)
        errors = torch.zeros(w.shape[0], end - first)
        for i in range(first, end):
            group = int(order[i]) // args.group
            if not args.static and i % args.group == 0:
                # what reaches into a group from columns before it in this block is in w already
                scales[:, group] = scale_of(w[:, i:i + args.group])[:, 0]
            q = rounded(w[:, i], scales[:, group])
            out[:, i] = q
            error = (w[:, i] - q) / inverse[i, i]
            w[:, i:end] -= error[:, None] * inverse[i, i:end]
            errors[:, i - first] = error
        w[:, end:] -= errors @ inverse[first:end, end:]
    back = torch.empty_like(out)
    back[:, order] = out
    return back, scales


class Recorder:
    """Second moments of the inputs of one layer's matrices, by module name."""

    def __init__(self):
        self.h = {}

    def add(self, name, x):
        x = x.reshape(-1, x.shape[-1])
        self.h[name] = self.h.get(name, 0) + x.T @ x

    def watch(self, layer, prefix):
        handles = [m.register_forward_pre_hook(lambda _m, a, n=prefix + name: self.add(n, a[0]))
                   for name, m in layer.named_modules() if isinstance(m, torch.nn.Linear)]
        if hasattr(layer.mlp, "experts"):
            handles.append(layer.mlp.experts.register_forward_pre_hook(lambda m, a: self.add_experts(m, a, prefix)))
        return handles

    def add_experts(self, experts, args, prefix):
        x, chosen = args[0], args[1]
        for e in range(experts.num_experts):
            mine = x[(chosen == e).any(-1)]
            if len(mine):
                gate, up = (mine @ experts.gate_up_proj[e].T).chunk(2, dim=-1)
                for part in ("gate_proj", "up_proj"):
                    self.add(f"{prefix}mlp.experts.{e}.{part}", mine)
                self.add(f"{prefix}mlp.experts.{e}.down_proj", experts.act_fn(gate) * up)


def place_of(layer, name):
    """The weights of a module as a view into the running model."""
    parts = name.split(".")
    if "experts" not in parts:
        return layer.get_submodule(name).weight.data
    e, experts = int(parts[2]), layer.mlp.experts
    if parts[3] == "down_proj":
        return experts.down_proj.data[e]
    half = experts.gate_up_proj.shape[1] // 2
    return experts.gate_up_proj.data[e][half * (parts[3] == "up_proj"):][:half]


@torch.no_grad()
def quantize(reference, source, chunks, args):
    wanted = [m for m in source.linear if ".experts." in m or (args.all and not m.endswith("kv_b_proj"))]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**{**quantized.INT4, "group_size": args.group}), format="pack-quantized")
    tensors = {m + ".weight": w.bfloat16() for m, w in source.linear.items() if m not in wanted}
    for i, layer in enumerate([*reference.model.model.layers, None]):
        prefix = f"model.layers.{i}."
        names = [m for m in wanted if m.startswith(prefix)] if layer is not None else \
            [m for m in wanted if int(m.split(".")[2]) >= i]    # an MTP layer is out of the model's reach: rounded
        recorder = Recorder()
        if layer is not None:
            handles = recorder.watch(layer, prefix)
            reference.logits(chunks)
            for handle in handles:
                handle.remove()
        for name in names:
            w, h = source.linear[name], recorder.h.get(name)
            if h is None:
                scales = scale_of(w.reshape(w.shape[0], -1, args.group))[..., 0]
                q = rounded(w.reshape(w.shape[0], -1, args.group), scales[..., None]).reshape(w.shape)
            else:
                q, scales = gptq(w, h, args)
            state = {"weight": q, "weight_scale": scales.bfloat16(), "weight_zero_point": torch.zeros_like(scales, dtype=torch.int8)}
            packed = BaseCompressor.get_value_from_registry("pack-quantized").compress(state, scheme)
            if not torch.equal(quantized.decompress(packed, scheme, torch.float32).float(), q):
                raise ValueError(f"{name} is not what was packed")
            tensors.update({f"{name}.{part}": t for part, t in packed.items()})
            if layer is not None:
                place_of(layer, name.removeprefix(prefix)).copy_(q)
    ignore = ["lm_head", r"re:.*mlp\.gate$", r"re:.*kv_b_proj$"] if args.all else ["lm_head", r"re:.*self_attn.*", r"re:.*shared_experts.*",
                                                                                  r"re:.*mlp\.(gate|gate_proj|up_proj|down_proj)$"]
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "ignore": ignore,
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": {**quantized.INT4, "group_size": args.group},
                                            "input_activations": None, "output_activations": None}}}
    quantized.save(source, args.out, tensors, config)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chunks", default=64, type=int)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--group", default=128, type=int)
    parser.add_argument("--damp", default=0.01, type=float)
    parser.add_argument("--static", action="store_true")
    args = parser.parse_args()
    source = quantized.Source(args.model)
    reference = Reference(args.model, checkpoint_weights(args.model))
    quantize(reference, source, chunks_of(args.model, args.text, args.chunks), args)


main()
