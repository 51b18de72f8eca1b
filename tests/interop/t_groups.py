# SPDX-License-Identifier: MIT
"""Group, tiled and FP4 types against compressed-tensors: from F32 weights, calculate_qparams' scales rounded as a checkpoint has them are
our compat scales, and the package's quantize and pack with those scales give our bytes; its dequantize gives our numbers."""
import os
import subprocess

import numpy as np
import torch
from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8, unpack_fp4_from_uint8
from compressed_tensors.compressors.mx_utils import compress_mx_scale
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

import common
import tap
from reference_logits import checkpoint_weights

ROWS, COLS = 136, 384
SCALES = {"": torch.bfloat16, "-F16": torch.float16}
rng = np.random.default_rng(8)


def patterns():
    """Title -> rows, F32."""
    normal = rng.standard_normal((ROWS, COLS))
    outlier = normal * 0.02
    outlier[:, ::128] = 0.9
    cases = {"normal": normal * 0.02, "positive": np.abs(normal), "negative": -np.abs(normal) - 1, "outliers": outlier,
             "heavy-tailed": normal * np.exp2(rng.uniform(-20, 4, (ROWS, COLS))), "quarters": rng.integers(-8, 9, (ROWS, COLS)) / 4,
             "sparse": np.where(rng.random((ROWS, COLS)) < 0.02, normal, 0), "constant": np.repeat(rng.standard_normal((ROWS, COLS // 64)), 64, axis=1)}
    folder = common.fixture("nano-v3")
    for key, w in (checkpoint_weights(folder) if folder else {}).items():
        w = np.asarray(w, dtype=np.float32)
        if w.ndim == 2 and w.shape[1] % 128 == 0 and ("experts.1." in key or "q_b_proj" in key) and len(cases) < 12:
            cases[key] = w
    return {title: torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) for title, x in cases.items()}


def ours(kind, x, *options):
    argv = [common.TOOLS / "quantize-rows", *[o for o in options if o.startswith("--")], kind, str(x.shape[1]),
            *[o for o in options if not o.startswith("--")]]
    data = x if isinstance(x, bytes) else x.numpy().tobytes()
    return subprocess.run(argv, input=data, capture_output=True, check=True, env=os.environ).stdout


def decoded(kind, cols, blocks, *options):
    out = subprocess.run([common.TOOLS / "quantize-rows", "--decode", kind, str(cols), *options], input=blocks, capture_output=True, check=True)
    return torch.from_numpy(np.frombuffer(out.stdout, dtype=np.float32).copy()).reshape(-1, cols)


def qparams(x, args, dims, global_scale=None):
    """The package's scales and zeros of the last dimensions."""
    return calculate_qparams(x.amin(dim=dims), x.amax(dim=dims), args, global_scale)


def compare(title, pairs):
    """pairs: [(what, ours, the package's)]; reports the first difference of each case."""
    wrong, count = [], 0
    for what, a, b in pairs:
        a, b = a.reshape(-1), b.reshape(-1)
        count += len(b)
        at = torch.nonzero(a != b) if a.shape == b.shape else torch.zeros(1, 1, dtype=torch.long)
        wrong += [f"{what}: {len(at)} of {len(b)}, the first {int(at[0])}: {a[at[0]]} instead of {b[at[0]]}"] if len(at) else []
    tap.ok(not wrong, f"{title}: {count} scales, zeros, words and numbers are the package's", "\n".join(wrong))


def group_blocks(blocks, group, bits, asymmetric):
    """Scales, zeros with their sign, words of our blocks."""
    raw = np.frombuffer(blocks, dtype=np.uint8).reshape(-1, 4 + 4 * asymmetric + group * bits // 8)
    zero = raw[:, 4:8].copy().view(np.int32) - 2 ** (bits - 1) if asymmetric else np.zeros((len(raw), 1), np.int32)
    return (torch.from_numpy(raw[:, :4].copy().view(np.float32)), torch.from_numpy(zero.astype(np.int8)),
            torch.from_numpy(raw[:, 4 + 4 * asymmetric:].copy().view(np.int32)))


def check_groups(bits, group, asymmetric, suffix):
    kind = f"INT{bits}-G{group}{'-ASYM' * asymmetric}{suffix}"
    args = QuantizationArgs(num_bits=bits, type="int", symmetric=not asymmetric, strategy="group", group_size=group)
    pairs, above = [], 0
    for title, x in cases.items():
        blocks = ours(kind, x)
        scale, zero, words = group_blocks(blocks, group, bits, asymmetric)
        want, zeros = qparams(x.unflatten(-1, (-1, group)), args, -1)
        want = want.to(SCALES[suffix]).float()
        want[want == 0] = torch.finfo(torch.float32).eps
        q = quantize(x, want, zeros, args, dtype=torch.int8)
        y = dequantize(q, want, zeros, args)
        # zeros of F16 types are 1 at least, because GPTQ's first version cannot store 0: such groups are the package's with its zero moved
        same = torch.ones(want.numel(), dtype=torch.bool)
        if asymmetric and suffix:
            same = zeros.reshape(-1).to(torch.int8) != -(2 ** (bits - 1))
            above += int((~same & (zero.reshape(-1) == 1 - 2 ** (bits - 1))).sum()) - int((~same).sum())
        per = {"scales": (scale, want), "zeros": (zero, zeros.to(torch.int8)), "words": (words, pack_to_int32(q, bits)),
               "numbers": (decoded(kind, x.shape[1], blocks), y)}
        pairs += [(f"{title}, {what}", a.reshape(len(same), -1)[same], b.reshape(len(same), -1)[same]) for what, (a, b) in per.items()]
    compare(kind, pairs)
    if asymmetric and suffix:
        tap.ok(above == 0, f"{kind}: zeros are 1 where the package's are 0")


def check_tiled(kind, bits, is_float, block, asymmetric=False, dtype=torch.float32, peak=None):
    strategy = {"strategy": "block", "block_structure": [128, 128]} if block else {"strategy": "channel"}
    args = QuantizationArgs(num_bits=bits, type="float" if is_float else "int", symmetric=not asymmetric, **strategy)
    pairs = []
    for title, x in cases.items():
        x = x[:, :-40] if is_float and block else x # short tiles
        x = x.contiguous()
        rows, cols = x.shape
        down, across = (-(-rows // 128), -(-cols // 128)) if block else (rows, 1)
        out = ours(kind, x)
        codes = torch.from_numpy(np.frombuffer(out, dtype=np.uint8, count=rows * cols).copy()).reshape(rows, cols)
        at = rows * cols + 4 * down * across
        scale = torch.from_numpy(np.frombuffer(out[rows * cols:at], dtype=np.float32).copy()).reshape(down, across)
        zero = torch.from_numpy(np.frombuffer(out[at:at + down * across * asymmetric], dtype=np.int8).copy()).reshape(down, -1)
        y = torch.from_numpy(np.frombuffer(out[at + down * across * asymmetric:], dtype=np.float32).copy()).reshape(rows, cols)
        if block:
            padded = torch.nn.functional.pad(x, (0, across * 128 - cols, 0, down * 128 - rows))
            want, zeros = qparams(padded.reshape(down, 128, across, 128), args, (1, 3))
        else:
            want, zeros = (v.unsqueeze(-1) for v in qparams(x, args, -1))
        want = want.to(dtype).float()
        want[want == 0] = torch.finfo(torch.float32).eps
        # adding a zero of 0 would take the sign of -0 away, which a release's codes have
        q = quantize(x, want, None if is_float else zeros, args, dtype=torch.float8_e4m3fn if is_float else torch.int8)
        pairs += [(f"{title}, scales", scale, want), (f"{title}, codes", codes, q.view(torch.uint8)),
                  (f"{title}, numbers", y, dequantize(q, want, zeros, args))]
        pairs += [(f"{title}, zeros", zero, zeros.to(torch.int8))] if asymmetric else []
    compare(kind, pairs)


def fp4_blocks(blocks, group):
    raw = np.frombuffer(blocks, dtype=np.uint8).reshape(-1, 1 + group // 2)
    return torch.from_numpy(raw[:, 0].copy()), torch.from_numpy(raw[:, 1:].copy())


def check_mxfp4():
    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8)
    k = np.repeat(np.arange(-128, 127), 32)[:, None]
    edges = np.ldexp(np.tile(1 + np.arange(32) / 32, 255)[:, None] * rng.uniform(-1, 1, (len(k), 32)), k)
    edges[:, 3] = np.ldexp(1 + np.tile(np.arange(32) / 32, 255), k[:, 0])
    some = {**cases, "all exponents": torch.from_numpy(edges.astype(np.float32).reshape(-1, 1024)[:, :1024].copy())}
    pairs = []
    for title, x in some.items():
        blocks = ours("MXFP4-CT", x)
        scale, codes = fp4_blocks(blocks, 32)
        want, zeros = qparams(x.unflatten(-1, (-1, 32)), args, -1)
        q = quantize(x, want, None, args)
        pairs += [(f"{title}, scales", scale, compress_mx_scale(want, torch.uint8)), (f"{title}, codes", codes, pack_fp4_to_uint8(q)),
                  (f"{title}, numbers", decoded("MXFP4-CT", x.shape[1], blocks), dequantize(q, want, None, args))]
    compare("MXFP4-CT", pairs)


def check_nvfp4():
    """The package divides by scale / global, we multiply by global first: equal where that is exact, and nearly everywhere else."""
    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn)
    pairs, off_grid, on_grid = [], 0, []
    for title, x in cases.items():
        for exact in (True, False):
            g = generate_gparam(x.min(), x.max())
            g = torch.exp2(torch.floor(torch.log2(g))) if exact else g
            blocks = ours("NVFP4-CT", x * g)
            scale, codes = fp4_blocks(blocks, 16)
            want, _ = qparams(x.unflatten(-1, (-1, 16)), args, -1, g)
            q = quantize(x, want, None, args, global_scale=g)
            stored = want.to(torch.float8_e4m3fn).view(torch.uint8)
            read = unpack_fp4_from_uint8(codes.reshape(x.shape[0], -1), *x.shape, dtype=torch.float32)
            y = dequantize(read, scale.view(torch.float8_e4m3fn).float().reshape(x.shape[0], -1), None, args, global_scale=g)
            got = decoded("NVFP4-CT", x.shape[1], blocks, repr(float(g)))
            pairs += [(f"{title}, numbers", got, y)]
            if exact:
                pairs += [(f"{title}, scales", scale, stored), (f"{title}, codes", codes, pack_fp4_to_uint8(q))]
            else:
                differ = int((codes != pack_fp4_to_uint8(q).reshape(codes.shape)).sum())
                pairs += [(f"{title}, scales", scale, stored)]
                on_grid += [] if title in ("normal", "heavy-tailed") else [(differ, codes.numel())]
                off_grid += differ if title in ("normal", "heavy-tailed") else 0
    compare("NVFP4-CT", pairs)
    differ, total = (sum(v) for v in zip(*on_grid))
    tap.ok(not off_grid and differ <= 0.01 * total, f"NVFP4-CT: with any global scale no random weight's code differs, and {differ} of {total} bytes of weights "
           "that lie on a grid (of FP8 and others), at ties", f"{off_grid} and {differ}")


def check_best():
    """No larger error than compat's, in sum over each case."""
    for kind, group in [("INT4-G128", 128), ("INT4-G128-ASYM", 128), ("INT4-G32", 32), ("INT8-G128", 128), ("NVFP4-CT", 16), ("MXFP4-CT", 32)]:
        worse, sums = [], np.zeros(2)
        for title, x in cases.items():
            x = x * (2688 / x.abs().max()) if kind == "NVFP4-CT" else x
            parts = x.reshape(-1, group).double()
            w = (parts ** 2).mean(1, keepdim=True).sqrt() + parts.abs()
            e = [(w * (parts - decoded(kind, x.shape[1], ours(kind, x, *o)).reshape(-1, group).double()) ** 2).sum(1) for o in ((), ("--best",))]
            above = torch.nonzero(e[1] > e[0] * (1 + 1e-6))
            worse += [f"{title}: {len(above)} of {len(e[0])} groups, the first {int(above[0])}"] if len(above) else []
            if title.startswith("model."):
                sums += [float(v.sum()) for v in e]
        tap.ok(not worse, f"{kind}, best: no group's error is above compat's; trained rows {sums[1] / sums[0]:.4f} of it", "\n".join(worse))


cases = patterns()
for suffix in SCALES:
    for group in (32, 64, 128):
        for asymmetric in (False, True):
            check_groups(4, group, asymmetric, suffix)
        check_groups(8, group, False, suffix)
    check_tiled("INT8-C" + suffix, 8, False, False, dtype=SCALES[suffix])
    check_tiled("INT4-C" + suffix, 4, False, False, dtype=SCALES[suffix])
check_tiled("INT4-C-ASYM", 4, False, False, True, torch.bfloat16)
check_tiled("FP8-BLOCK", 8, True, True)
check_tiled("FP8-C", 8, True, False)
check_mxfp4()
check_nvfp4()
check_best()
tap.done()
