# SPDX-License-Identifier: MIT
"""Quantized checkpoints of a small model, made without pare: by the compressed-tensors package, and for GPTQ, AWQ and blocks of INT8
by packers written from their published layouts. Beside each a plain F32 checkpoint of what it decodes to."""
import json
import shutil
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils.helpers import calculate_qparams, generate_gparam
from safetensors import safe_open
from safetensors.torch import save_file

torch.set_num_threads(1)    # matrices are small: threads would only wait for one another

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
SIDE_FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")

INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
FLOAT4 = {"num_bits": 4, "type": "float", "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
PACKED = {  # name: (format, weights)
    "W4A16-G128": ("pack-quantized", INT4),
    "W4A16-G64": ("pack-quantized", {**INT4, "group_size": 64}),
    "W4A16-G32": ("pack-quantized", {**INT4, "group_size": 32}),
    "W4A16-G128-ASYM": ("pack-quantized", {**INT4, "symmetric": False}),
    "W4A16-G32-ASYM": ("pack-quantized", {**INT4, "symmetric": False, "group_size": 32}),
    "W4A16-C": ("pack-quantized", {**INT4, "strategy": "channel", "group_size": None}),
    "W4A16-C-ASYM": ("pack-quantized", {**INT4, "strategy": "channel", "group_size": None, "symmetric": False}),
    "W8A16-G128": ("pack-quantized", {**INT4, "num_bits": 8}),
    "W8A16-C": ("pack-quantized", {**INT4, "num_bits": 8, "strategy": "channel", "group_size": None}),
    "W8A8-INT8": ("int-quantized", {**INT4, "num_bits": 8, "strategy": "channel", "group_size": None}),
    "FP8-C": ("float-quantized", {**FP8, "strategy": "channel"}),
    "FP8-BLOCK": ("float-quantized", {**FP8, "strategy": "block", "block_structure": [128, 128]}),
    "MXFP4A16": ("mxfp4-pack-quantized", {**FLOAT4, "strategy": "group", "group_size": 32}),
    "NVFP4A16": ("nvfp4-pack-quantized", {**FLOAT4, "strategy": "tensor_group", "group_size": 16}),
}


class Source:
    """A DeepSeek checkpoint: plain tensors, and its FP8 matrices as F32."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = json.loads((self.folder / "config.json").read_text())
        self.plain, self.linear, scales = {}, {}, {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            with safe_open(shard, "pt") as f:
                for name in f.keys():
                    (scales if name.endswith("_scale_inv") else self.plain)[name] = f.get_tensor(name)
        for name, scale in scales.items():
            w = self.plain.pop(name.removesuffix("_scale_inv")).float()
            by_row = scale.repeat_interleave(128, 0)[:w.shape[0]]
            self.linear[name.removesuffix(".weight_scale_inv")] = w * by_row.repeat_interleave(128, 1)[:, :w.shape[1]]


def save(source, out, tensors, quantization):
    out.mkdir()
    save_file({n: t.contiguous() for n, t in {**source.plain, **tensors}.items()}, out / "model.safetensors")
    config = {k: v for k, v in source.config.items() if k != "quantization_config"}
    if quantization:
        config["quantization_config"] = quantization
    (out / "config.json").write_text(json.dumps(config, indent=2))
    for name in SIDE_FILES:
        shutil.copy(source.folder / name, out / name)


def pair(source, work, name, tensors, decoded, quantization):
    """Two folders: the quantized checkpoint and what it decodes to, in F32."""
    save(source, work / name, tensors, quantization)
    save(source, work / (name + "-f32"), {m + ".weight": w for m, w in decoded.items()}, None)
    return work / name, work / (name + "-f32")


def ranges_of(w, args):
    """Smallest and largest of each group, row or block."""
    if args.strategy == "block":
        rows, cols = args.block_structure
        padded = torch.nn.functional.pad(w, (0, -w.shape[1] % cols, 0, -w.shape[0] % rows))
        blocks = padded.reshape(padded.shape[0] // rows, rows, -1, cols)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = w.reshape(w.shape[0], -1, args.group_size or w.shape[1])
    return groups.amin(-1), groups.amax(-1)


def compress(w, scheme):
    """The package's tensors of one weight. Scales are BF16, of FP8 blocks too."""
    args = scheme.weights
    state = {"weight": w}
    low, high = ranges_of(w, args)
    if args.strategy == "tensor_group":
        state["weight_global_scale"] = generate_gparam(w.min(), w.max())
    scale, zero = calculate_qparams(low, high, args, state.get("weight_global_scale"))
    fp4 = args.num_bits == 4 and args.type == "float"
    state["weight_scale"] = scale if fp4 else scale.bfloat16()
    state["weight_zero_point"] = zero
    return BaseCompressor.get_value_from_registry(scheme.format).compress(state, scheme)


def decompress(state, scheme, dtype):
    """The package's weight. It computes in the type of the scales, and FP4 in BF16 whatever they are: with F32 its steps are taken
    one by one."""
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    state = dict(state)
    if "weight_packed" in state and scheme.weights.type == "float" and dtype == torch.float32:
        rows, cols = state["weight_packed"].shape
        values = unpack_fp4_from_uint8(state["weight_packed"], rows, 2 * cols).float()
        return dequantize(values, compressor._decompress_scale(state["weight_scale"], dtype), args=scheme.weights, dtype=dtype,
                          global_scale=state.get("weight_global_scale"))
    if "weight_packed" not in state or scheme.weights.type == "int":
        state["weight_scale"] = state["weight_scale"].to(dtype)
    return compressor.decompress(state, scheme)["weight"]


def group_config(name, targets=("Linear",)):
    form, weights = PACKED[name]
    return {"targets": list(targets), "weights": weights, "input_activations": None, "output_activations": None, "format": form}


def compressed(source, work, name, modules=None):
    """A checkpoint by compressed-tensors; modules (default: all linear ones) are quantized, the others BF16."""
    form, weights = PACKED[name]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights), format=form)
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        if modules and not modules(module):
            tensors[module + ".weight"] = w.bfloat16()
            decoded[module] = w.bfloat16().float()
            continue
        state = compress(w, scheme)
        tensors.update({f"{module}.{part}": t for part, t in state.items()})
        decoded[module] = decompress(state, scheme, torch.float32).float()
        # in BF16 the package is slow: one layer says it
        if ".layers.0." in module and not torch.equal(decompress(state, scheme, torch.bfloat16), decoded[module].bfloat16()):
            raise ValueError(f"{name}: {module} in BF16 is not its F32 rounded")
    config = {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
              "config_groups": {"group_0": group_config(name)}}
    return pair(source, work, name, tensors, decoded, config)


def mixed(source, work):
    """Experts INT4, all other matrices FP8 in blocks: two groups, told apart by patterns."""
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        form, weights = PACKED["W4A16-G32" if ".experts." in module else "FP8-BLOCK"]
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights), format=form)
        state = compress(w, scheme)
        tensors.update({f"{module}.{part}": t for part, t in state.items()})
        decoded[module] = decompress(state, scheme, torch.float32).float()
    config = {"quant_method": "compressed-tensors", "format": "mixed-precision", "ignore": ["lm_head"], "config_groups": {
        "group_0": group_config("FP8-BLOCK"), "group_1": group_config("W4A16-G32", [r"re:.*mlp\.experts\.\d+\..*_proj$"])}}
    return pair(source, work, "MIXED", tensors, decoded, config)


def whole_numbers(w, bits, group, symmetric):
    """Codes, scales (F16, exact in F32) and zeros of groups along the rows of w [O][I]."""
    groups = w.reshape(w.shape[0], -1, group or w.shape[1])
    top = 2**bits - 1
    if symmetric:
        scale = (groups.abs().amax(-1) * 2 / top).half().float()
        zero = torch.full_like(scale, 2**(bits - 1))
    else:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = ((high - low) / top).half().float()
        zero = (-low / scale).round().clamp(1, top)
    codes = ((groups / scale[..., None]).round() + zero[..., None]).clamp(0, top)
    decoded = (codes - zero[..., None]) * scale[..., None]
    return codes.reshape(w.shape).long(), scale, zero.long(), decoded.reshape(w.shape)


def words(codes, bits, dim):
    """Packs along a dimension, the first code in the low bits."""
    codes = codes.movedim(dim, -1)
    per = 32 // bits
    shifts = torch.arange(per) * bits
    packed = (codes.reshape(*codes.shape[:-1], -1, per) << shifts).sum(-1)
    return ((packed + 2**31) % 2**32 - 2**31).int().movedim(-1, dim)


def gptq(source, work, bits=4, group=128, symmetric=True, version="gptq"):
    name = f"{version}-{bits}-g{group}{'' if symmetric else '-asym'}"
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        codes, scale, zero, decoded[module] = whole_numbers(w, bits, group, symmetric)
        tensors[module + ".qweight"] = words(codes.T, bits, 0)
        tensors[module + ".qzeros"] = words((zero - int(version == "gptq")).T, bits, 1)
        tensors[module + ".scales"] = scale.T.half()
        tensors[module + ".g_idx"] = (torch.arange(w.shape[1]) // (group or w.shape[1])).int()
    config = {"quant_method": "gptq", "bits": bits, "group_size": group or -1, "desc_act": False, "sym": symmetric,
              "checkpoint_format": version, "lm_head": False}
    return pair(source, work, name, tensors, decoded, config)


def awq(source, work, group=128):
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        codes, scale, zero, decoded[module] = whole_numbers(w, 4, group, False)
        order = [8 * i + k for i in range(w.shape[0] // 8) for k in AWQ_ORDER]
        tensors[module + ".qweight"] = words(codes.T[:, order], 4, 1)
        tensors[module + ".qzeros"] = words(zero.T[:, order], 4, 1)
        tensors[module + ".scales"] = scale.T.half()
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm",
              "modules_to_not_convert": ["lm_head", "mlp.gate."]}
    return pair(source, work, f"awq-g{group}", tensors, decoded, config)


def int8_block(source, work):
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        low, high = ranges_of(w, QuantizationArgs(**PACKED["FP8-BLOCK"][1]))
        scale = torch.maximum(-low, high) / 127
        full = scale.repeat_interleave(128, 0)[:w.shape[0]].repeat_interleave(128, 1)[:, :w.shape[1]]
        codes = (w / full).round().clamp(-127, 127)
        tensors[module + ".weight"], tensors[module + ".weight_scale_inv"], decoded[module] = codes.to(torch.int8), scale, codes * full
    config = {"quant_method": "blockwise_int8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    return pair(source, work, "int8-block", tensors, decoded, config)


def w4afp8(source, work):
    """SGLang's: experts in INT4, two of them a byte, the even column in its low nibble; all else FP8 as it was."""
    tensors, decoded = {}, {}
    for module, w in source.linear.items():
        if ".experts." not in module:
            low, high = ranges_of(w, QuantizationArgs(**PACKED["FP8-BLOCK"][1]))
            scale = torch.maximum(-low, high) / 448
            full = scale.repeat_interleave(128, 0)[:w.shape[0]].repeat_interleave(128, 1)[:, :w.shape[1]]
            codes = (w / full).to(torch.float8_e4m3fn)
            decoded[module] = codes.float() * full
        else:
            groups = w.reshape(w.shape[0], -1, 128)
            scale = (groups.abs().amax(-1) / 7).bfloat16().float()
            q = (groups / scale[..., None]).round().clamp(-8, 7)
            decoded[module] = (q * scale[..., None]).reshape(w.shape)
            q = q.reshape(w.shape).to(torch.int8)
            codes = (q[:, 1::2] << 4) | (q[:, 0::2] & 15)
        tensors[module + ".weight"], tensors[module + ".weight_scale_inv"] = codes, scale
    config = {"quant_method": "w4afp8", "activation_scheme": "dynamic", "group_size": 128, "weight_block_size": [128, 128]}
    return pair(source, work, "w4afp8", tensors, decoded, config)
