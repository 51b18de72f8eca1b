# SPDX-License-Identifier: MIT
"""usage: bench_compressed.py FP8_CHECKPOINT OUT THREADS: seconds that the compressed-tensors package takes to make a W4A16 checkpoint of
it, shard by shard: FP8 times scales to BF16, the package's scales of groups of 128, its rounding and packing, a safetensors file."""
import sys
import time
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils.helpers import calculate_qparams
from safetensors import safe_open
from safetensors.torch import save_file

GROUP, KEPT = 128, ("kv_b_proj",)


def main(source, out, threads):
    torch.set_num_threads(threads)
    args = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=GROUP)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format="pack-quantized")
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    shards = sorted(source.glob("*.safetensors"))
    files = [safe_open(s, "pt") for s in shards]
    where = {n: f for f in files for n in f.keys()}
    out.mkdir()
    start = time.monotonic()
    for shard, file in zip(shards, files):
        tensors = {}
        for name in file.keys():
            if name.endswith("_scale_inv"):
                continue
            w = file.get_tensor(name)
            if name + "_scale_inv" in where:
                scale = where[name + "_scale_inv"].get_tensor(name + "_scale_inv")
                full = scale.repeat_interleave(128, 0)[:w.shape[0]].repeat_interleave(128, 1)[:, :w.shape[1]]
                w = (w.float() * full).bfloat16()
            if name + "_scale_inv" not in where or any(k in name for k in KEPT):
                tensors[name] = w
                continue
            groups = w.reshape(w.shape[0], -1, GROUP)
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
            state = compressor.compress({"weight": w, "weight_scale": scale, "weight_zero_point": zero}, scheme)
            tensors.update({f"{name.removesuffix('.weight')}.{part}": t.contiguous() for part, t in state.items()})
        save_file(tensors, out / shard.name, metadata={"format": "pt"})
    print(f"{time.monotonic() - start:.2f}")


main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
