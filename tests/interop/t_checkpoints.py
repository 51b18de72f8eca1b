# SPDX-License-Identifier: MIT
"""Checkpoints that pare writes: the compressed-tensors package accepts their configuration and decompresses every scheme to exactly what
pare reads; GPTQ, AWQ and blocks unpack by their published layouts to the same; BF16 is the official cast, FP8 comes back from it;
transformers loads W4A16 with nothing missing or left over and has the perplexity that pare verify has."""
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationConfig
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import common
import quantized
import tap

SCHEMES = ["W4A16", "W4A16_ASYM", "W4A16_EXPERTS", "W4A16_FP8", "W4AFP8", "W8A16", "W8A8", "FP8", "FP8_UE8M0", "FP8_CHANNEL", "MXFP4", "NVFP4"]
GROUPED = [("W4A16", 32), ("W4A16", 64), ("W4A16_ASYM", 32), ("W4A16_ASYM", -1), ("W8A16", -1)]
PARTS = {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_global_scale", "weight"}


def convert(source, out, target, *words):
    argv = [common.PARE, "convert", source, "-o", out, "--to", target, *words, "-q"]
    return tap.run(f"pare converts {Path(source).name} to {' '.join([target, *words])}", argv)


def stored(folder):
    """All tensors of a checkpoint by name, as its index has them, where it has one."""
    tensors = {}
    for shard in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(shard, "pt") as f:
            tensors.update({name: f.get_tensor(name) for name in f.keys()})
    return tensors


def same_values(folder, decoded, source, work, what):
    """pare reads from the folder exactly these numbers."""
    plain = {n: t for n, t in stored(folder).items() if n.rsplit(".", 1)[0] not in decoded or n.endswith("bias")}
    out = work / (folder.name + "-plain")
    holder = quantized.Source.__new__(quantized.Source)
    holder.folder, holder.config, holder.plain = source.folder, json.loads((folder / "config.json").read_text()), plain
    quantized.save(holder, out, {m + ".weight": w.float() for m, w in decoded.items()}, None)
    done = subprocess.run([common.PARE, "diff", folder, out], capture_output=True, text=True, check=False)
    tap.ok(done.returncode == 0, f"{what}: unpacks to exactly what pare reads", done.stdout[-600:] + done.stderr)


def matches(rules, module):
    return any(re.match(r[3:], module) if r.startswith("re:") else r == module for r in rules)


def scheme_of(config, module):
    """The group of a module: names before classes, as the package and engines look for it."""
    if matches(config.ignore, module):
        return None
    groups = sorted(config.config_groups.values(), key=lambda g: "Linear" in g.targets)
    return next(g for g in groups if "Linear" in g.targets or matches(g.targets, module))


def check_compressed(source, work, folder, what):
    text = json.loads((folder / "config.json").read_text())["quantization_config"]
    try:
        config = QuantizationConfig.model_validate(text)
    except ValueError as e:
        tap.ok(False, f"{what}: the package accepts the configuration", e)
        return
    tap.ok(config.quant_method == "compressed-tensors", f"{what}: the package accepts the configuration")
    tensors, decoded, wrong = stored(folder), {}, []
    for module in source.linear:
        state = {n.removeprefix(module + "."): t for n, t in tensors.items() if n.rsplit(".", 1)[0] == module}
        scheme = scheme_of(config, module)
        if scheme is None:
            wrong += [module] if set(state) != {"weight"} or not state["weight"].is_floating_point() else []
            continue
        if not set(state) <= PARTS or "weight_scale" not in state:
            wrong.append(module)
            continue
        scheme.format = scheme.format or config.format
        decoded[module] = quantized.decompress(state, scheme, torch.float32).float()
        if what == "W4A16" and not torch.equal(quantized.decompress(state, scheme, torch.bfloat16), decoded[module].bfloat16()):
            wrong.append(module + " in BF16")
    tap.ok(not wrong, f"{what}: the {len(decoded)} modules that the rules name are packed, {len(source.linear) - len(decoded)} others are not", wrong[:5])
    same_values(folder, decoded, source, work, what)


def unpack_words(words, bits, dim):
    words = words.movedim(dim, -1)
    codes = (words.long()[..., None] >> (torch.arange(32 // bits) * bits)) & (2**bits - 1)
    return codes.flatten(-2).movedim(-1, dim)


def unpack_gptq(state, bits, version):
    codes, zeros = unpack_words(state["qweight"], bits, 0), unpack_words(state["qzeros"], bits, 1) + (version == "gptq")
    group = state["g_idx"].long()
    return ((codes - zeros[group]) * state["scales"].float()[group]).T


def unpack_awq(state):
    inverse = [0, 4, 1, 5, 2, 6, 3, 7]
    codes, zeros = (unpack_words(state[n], 4, 1) for n in ("qweight", "qzeros"))
    order = [8 * i + k for i in range(codes.shape[1] // 8) for k in inverse]
    group = torch.arange(codes.shape[0]) // (codes.shape[0] // zeros.shape[0])
    return ((codes[:, order] - zeros[:, order][group]) * state["scales"].float()[group]).T


def unpack_block(state):
    codes, scale = state["weight"].float(), state["weight_scale_inv"]
    full = scale.repeat_interleave(128, 0)[:codes.shape[0]].repeat_interleave(128, 1)[:, :codes.shape[1]]
    return codes * full


def check_layout(source, work, folder, what, mark, unpack):
    tensors, decoded = stored(folder), {}
    for module in source.linear:
        state = {n.removeprefix(module + "."): t for n, t in tensors.items() if n.rsplit(".", 1)[0] == module}
        if mark in state:
            decoded[module] = unpack(state)
    tap.ok(len(decoded) >= 41, f"{what}: {len(decoded)} modules are packed")
    same_values(folder, decoded, source, work, what)


def check_plain(source, work):
    folder = work / "bf16"
    convert(source.folder, folder, "bf16")
    tensors = stored(folder)
    wrong = [m for m, w in source.linear.items() if not torch.equal(tensors[m + ".weight"], w.bfloat16())]
    wrong += [n for n, t in source.plain.items() if not torch.equal(tensors[n], t)]
    tap.ok(not wrong and len(tensors) == len(source.linear) + len(source.plain), "bf16: every tensor is the official cast's", wrong[:5])
    back, release = work / "fp8", stored(source.folder)
    convert(folder, back, "fp8", "--search", "compat")
    ours, tiles, equal, off = stored(back), 0, 0, 0.0
    for module in source.linear:
        a, b = (t[module + ".weight"].view(torch.uint8) for t in (ours, release))
        sa, sb = (t[module + ".weight_scale_inv"] for t in (ours, release))
        for i in range(sb.shape[0]):
            for k in range(sb.shape[1]):
                place = slice(128 * i, 128 * i + 128), slice(128 * k, 128 * k + 128)
                if int((b[place] & 127).max()) != 0x7e:
                    continue
                tiles += 1
                equal += int(torch.equal(a[place], b[place]))
                off = max(off, abs(float(sa[i, k] / sb[i, k]) - 1))
    tap.ok(tiles and equal == tiles, f"fp8 from BF16: the release's codes in all {tiles} tiles whose largest is 448", equal)
    tap.ok(off <= 2**-8, f"fp8 from BF16: their scales within 2^-8 ({off:.2e})")


def perplexity(folder, tokens):
    """transformers', in F32 on the weights as the package decompresses them, with what it missed or did not know."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    for p in model.parameters():
        if p.is_floating_point():
            p.data = p.data.float()
    losses = []
    with torch.no_grad():
        for chunk in torch.from_numpy(tokens):
            logits = model(chunk[None]).logits[0].double().log_softmax(-1)
            losses.append(-logits[256:-1].gather(1, chunk[257:, None]))
    return float(torch.cat(losses).mean().exp()), info


def check_transformers(name, work):
    source = common.fixture(name)
    if not source:
        tap.skip(f"transformers loads {name} in W4A16", "the fixture is not there")
        return
    folder, file = work / f"{name}-w4a16", source / "golden/tokens.bin"
    convert(source, folder, "compressed-tensors", "--mtp", "drop")
    tokens = np.fromfile(file, dtype=np.int32)[:2 * 512].reshape(2, 512).astype(np.int64)
    tokens[:, 0] = 0
    theirs, info = perplexity(folder, tokens)
    tap.ok(not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"],
           f"transformers loads {name} in W4A16, no key missing or left over", info)
    done = subprocess.run([common.PARE, "verify", folder, "--tokens", file, "--chunks", "2", "--json", "-q"], capture_output=True, text=True,
                          check=False)
    ours = json.loads(done.stdout)["base"]["ppl"] if done.returncode == 0 else float("nan")
    tap.ok(abs(ours / theirs - 1) < 1e-3, f"its perplexity {theirs:.4f} is pare verify's {ours:.4f} ({100 * (ours / theirs - 1):+.4f} %)", done.stderr)


def main(source, work):
    for scheme in SCHEMES:
        if convert(source.folder, work / scheme, "compressed-tensors", "--recipe", scheme):
            check_compressed(source, work, work / scheme, scheme)
    for scheme, group in GROUPED:
        folder = work / f"{scheme}{group}"
        if convert(source.folder, folder, "compressed-tensors", "--recipe", scheme, "--group-size", str(group)):
            check_compressed(source, work, folder, folder.name)
    for version, bits, words in (("gptq", 4, []), ("gptq_v2", 4, ["--recipe", "W4A16_ASYM"]), ("gptq", 4, ["--recipe", "W4A16_ASYM", "--group-size", "32"]),
                                 ("gptq_v2", 8, ["--recipe", "W8A16"])):
        folder = work / "-".join([version, *words[1::2]])
        if convert(source.folder, folder, version, *words):
            check_layout(source, work, folder, folder.name, "qweight", lambda s, b=bits, v=version: unpack_gptq(s, b, v))
    for words in ([], ["--group-size", "64"], ["--recipe", "W4A16"]):
        folder = work / "-".join(["awq", *words[1::2]])
        if convert(source.folder, folder, "awq", *words):
            check_layout(source, work, folder, folder.name, "qweight", unpack_awq)
    for target in ("fp8", "int8-block"):
        folder = work / (target + "-blocks")
        if convert(source.folder, folder, target, *(["--recipe", "FP8_UE8M0"] if target == "fp8" else [])):
            check_layout(source, work, folder, folder.name, "weight_scale_inv", unpack_block)
    check_plain(source, work)
    for name in ("nano-v3", "tiny-v3"):
        check_transformers(name, work)


found = common.fixture("nano-v3")
if not found:
    tap.bail("nano-v3 is not there")
with common.workdir() as tmp:
    main(quantized.Source(found), Path(tmp))
tap.done()
