# SPDX-License-Identifier: MIT
"""Every preset at full size: which type each tensor of the released shapes gets, held against llama-quantize --dry-run on a
GGUF of the same tensors whose data are holes; and every preset's file of the trained checkpoints, run by llama.cpp."""
import json
import re
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

import common
import perplexity
import tap

# Presets whose types we write without an importance matrix
PRESETS = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q5_1", "Q5_0",
           "Q4_1", "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4_MOE")
# family, options of mkcheckpoint, of pare plan, number of tensors
SHAPES = (
    ("v3", (), (), 1086),
    ("v3", (), ("--mtp", "keep"), 1110),
    ("v3.2", (), (), 1420),
    ("v2", (), (), None),
    ("v2-lite", (), (), None),
    ("v2-lite", ("--layers", 9, "--hidden", 2112), (), None),   # rows that no superblock divides
)
# llama-quantize takes V3.2's small indexer.proj for any other matrix; the converter and we keep it in F32, which is what the
# indexer was trained with.
KEPT = re.compile(r"indexer\.proj\.weight$")


def plan(source, preset, *options):
    argv = [common.PARE, "plan", source, "-r", preset, "--json", "--no-vocab", *options]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["tensors"] if done.returncode == 0 else tap.note(done.stderr)


def write_holes(path, arch, config, tensors):
    """A GGUF of these tensors, in BF16 where they have more than one dimension, and without a byte of their data."""
    writer = gguf.GGUFWriter(path, arch)
    layers = 1 + max(int(m[1]) for t in tensors if (m := re.match(r"blk\.(\d+)\.", t["name"])))
    mtp = layers - config["num_hidden_layers"]
    for key, value in (("context_length", 4096), ("embedding_length", config["hidden_size"]), ("block_count", layers),
                       ("feed_forward_length", config["intermediate_size"]), ("vocab_size", config["vocab_size"]),
                       ("leading_dense_block_count", config["first_k_dense_replace"]), ("expert_count", config["n_routed_experts"]),
                       ("expert_used_count", config["num_experts_per_tok"]), ("expert_shared_count", config["n_shared_experts"]),
                       ("expert_feed_forward_length", config["moe_intermediate_size"]), ("expert_gating_func", 2),
                       ("attention.head_count", config["num_attention_heads"]), ("attention.head_count_kv", 1),
                       ("attention.kv_lora_rank", config["kv_lora_rank"]), ("attention.q_lora_rank", config["q_lora_rank"] or 0),
                       ("attention.key_length", config["kv_lora_rank"] + 64), ("attention.value_length", config["kv_lora_rank"]),
                       ("attention.key_length_mla", 192), ("attention.value_length_mla", 128), ("rope.dimension_count", 64),
                       ("attention.indexer.head_count", 64), ("attention.indexer.key_length", 128), ("attention.indexer.top_k", 2048),
                       ("nextn_predict_layers", mtp)):
        writer.add_uint32(f"{arch}.{key}", value)
    writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-6)
    size = 0
    for t in tensors:
        kind = gguf.GGMLQuantizationType.F32 if t["type"] == "F32" else gguf.GGMLQuantizationType.BF16
        n = int(np.prod(t["shape"], dtype=np.int64)) * (4 if t["type"] == "F32" else 2)
        writer.add_tensor_info(t["name"], t["shape"], np.dtype(np.float32), n, raw_dtype=kind)
        size += (n + 31) // 32 * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate((file.seek(0, 2) + 31) // 32 * 32 + size)


def dry_run(quantize, path, preset, *options):
    """{name: type} of what llama-quantize would write, or None."""
    done = subprocess.run([quantize, "--dry-run", *options, path, preset], capture_output=True, text=True, check=False)
    line = re.compile(r"^\[ *\d+/ *\d+\] (\S+) .*type = +(\w+), size = +[0-9.]+ MiB(?: -> +[0-9.]+ MiB \((\w+)\))?")
    found = {m[1]: (m[3] or m[2]).upper() for m in map(line.match, (done.stdout + done.stderr).splitlines()) if m}
    return found if done.returncode == 0 and found else tap.note((done.stdout + done.stderr)[-2000:])


def compare(quantize, source, holes, preset, name, options, *both):
    ours, theirs = plan(source, preset, *options, *both), dry_run(quantize, holes, preset, *both)
    preset = " ".join((preset, *both))
    if not ours or not theirs:
        tap.ok(False, f"{name} {preset}: is planned by both")
        return
    wrong = [f"{t['name']}: {t['type']}, theirs {theirs.get(t['name'])}" for t in ours
             if theirs.get(t["name"]) != t["type"] and not KEPT.search(t["name"])]
    kinds = sorted({t["type"] for t in ours})
    tap.ok(len(ours) == len(theirs) and not wrong, f"{name} {preset}: all {len(ours)} types are llama-quantize's ({', '.join(kinds)})",
           "\n".join(wrong[:20]))


def check_shape(quantize, family, checkpoint, options, count, work):
    name = " ".join(map(str, (family, *checkpoint, *options)))
    source, holes = work / "source", work / "holes.gguf"
    if not common.make_checkpoint(family, source, "--real", "--sparse", *checkpoint):
        return
    tensors = plan(source, "BF16", *options)
    if not tap.ok(tensors and count in (None, len(tensors)), f"{name}: {len(tensors or [])} tensors are planned"):
        return
    arch = "deepseek32" if family == "v3.2" else "deepseek2"
    write_holes(holes, arch, json.loads((source / "config.json").read_text()), tensors)
    tap.note(f"{name}: {holes.stat().st_size} bytes, of which {holes.stat().st_blocks * 512} on the disk")
    for preset in PRESETS:
        compare(quantize, source, holes, preset, name, options)
    compare(quantize, source, holes, "Q3_K_M", name, options, "--pure")
    for pattern in ("blk\\.(1?[0-9])\\.ffn_down=q5_K", "attn_=iq4_xs"):
        compare(quantize, source, holes, "Q4_K_M", name, options, "--tensor-type", pattern)


def check_runs(source, work):
    """llama.cpp loads each preset's file; its perplexity is pare verify's."""
    for preset in PRESETS:
        out = work / f"{source.name}-{preset}.gguf"
        if common.convert(source, out, preset, "-q"):
            perplexity.check(out, source / "golden" / "tokens.bin", f"{source.name} {preset}")
            out.unlink()


with common.workdir() as tmp:
    env = str(Path(sys.executable).parent.parent)
    built = subprocess.run(["sh", Path(__file__).with_name("llama_quantize.sh"), env], capture_output=True, text=True, check=False)
    if tap.ok(built.returncode == 0, "llama-quantize is built from llama.cpp's sources", built.stderr):
        for row in SHAPES:
            with common.workdir() as folder:
                check_shape(built.stdout.strip(), *row, Path(folder))
    for fixture in ("nano-v3", "tiny-v3"):
        if (found := common.fixture(fixture)):
            check_runs(found, Path(tmp))
        else:
            tap.skip(f"{fixture}: perplexity of every preset", "it is not there")
tap.done()
