# SPDX-License-Identifier: MIT
"""pare plan with a budget at the shape of a 671B model: sizes to the byte, in seconds. Checkpoint and calibration are holes, what would have been
measured is made up."""
import json
import random
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import common
import tap

HIDDEN, INTER, MOE, LAYERS, DENSE, HEADS, Q_LORA, KV_LORA, NOPE, VALUE, EXPERTS, USED = 7168, 18432, 2048, 61, 3, 128, 1536, 512, 128, 128, 256, 8
TOKENS = 64
BITS = {"Q2_K": 2.625, "Q3_K": 3.4375, "Q4_0": 4.5, "IQ4_NL": 4.5, "IQ4_XS": 4.25, "Q4_K": 4.5, "Q5_0": 5.5, "Q5_1": 6, "Q5_K": 5.5, "Q6_K": 6.5625,
        "Q8_0": 8.5, "BF16": 16}
BYTES = {"F32": 4, "BF16": 2, "I16": 2}


def write_holes(path, tensors):
    header, at = {}, 0
    for name, dtype, *shape in tensors:
        size = BYTES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def moment(name, slabs, n):
    lower = sum((n - panel) * 64 for panel in range(0, n, 64))
    return f"{name}.moment", "F32", slabs, lower


def make_calibration(folder):
    folder.mkdir()
    for layer in range(LAYERS):
        write_holes(folder / f"layer-{layer:03d}-attention.safetensors",
                    [moment("attn", 1, HIDDEN), moment("q_latent", 1, Q_LORA), moment("kv_latent", 1, KV_LORA), moment("q_nope", HEADS, NOPE),
                     moment("mixed_latent", HEADS, KV_LORA), moment("heads", 1, HEADS * VALUE)])
        experts = [moment("shexp_inner", 1, MOE), ("ffn.inputs", "BF16", TOKENS, HIDDEN), ("expert.chosen", "I16", TOKENS, USED),
                   ("expert.gates", "F32", TOKENS, USED), ("expert.counts", "F32", EXPERTS), ("expert.sums2", "F32", EXPERTS, HIDDEN),
                   ("expert_inner.sums2", "F32", EXPERTS, MOE)]
        write_holes(folder / f"layer-{layer:03d}-mlp.safetensors",
                    [moment("ffn", 1, HIDDEN), *([moment("ffn_inner", 1, INTER)] if layer < DENSE else experts)])
    write_holes(folder / "output.safetensors", [moment("output", 1, HIDDEN)])
    none = "0" * 32
    record = {"format": "pare calibration 1", "tool": "none", "model": "DeepSeek-V3", "family": "DeepSeek-V3", "text": "none", "run": none,
              "source_xxh3_128": none, "tokens_xxh3_128": none, "chunks": 1, "ctx": TOKENS, "group_routing": True,
              "params": {"hidden_size": HIDDEN, "intermediate_size": INTER, "moe_intermediate_size": MOE, "num_hidden_layers": LAYERS,
                         "first_k_dense_replace": DENSE, "num_attention_heads": HEADS, "q_lora_rank": Q_LORA, "kv_lora_rank": KV_LORA,
                         "qk_nope_head_dim": NOPE, "v_head_dim": VALUE, "n_routed_experts": EXPERTS, "n_shared_experts": 1, "num_experts_per_tok": USED},
              "few_tokens": 224, "files": [],
              "layers": [{"layer": layer, "tokens": [2] * EXPERTS, "gate_mass": [1.0] * EXPERTS, "gate_mass2": [1.0] * EXPERTS}
                         for layer in range(DENSE, LAYERS)]}
    (folder / "calibration.json").write_text(json.dumps(record))


def weight(role, layer, slabs, kl):
    size = [random.uniform(0.5, 2) for _ in range(slabs)]
    errors = {name: [x * random.uniform(0.4, 0.6) * 4 ** -bits for x in size] for name, bits in BITS.items()}
    return {"role": role, "layer": layer, "kl": kl * random.uniform(0.5, 2), "off": 0.007, "output": [1.0] * slabs, "coarse": [0.007] * slabs, "types": errors}


def make_measurements(folder, settings):
    roles = {"attn_q_a": 1, "attn_q_b": 1, "attn_kv_a_mqa": 1, "attn_output": 1, "attn_k_b": HEADS, "attn_v_b": HEADS}
    dense = {"ffn_gate": 1, "ffn_up": 1, "ffn_down": 1}
    sparse = {f"ffn_{part}_{kind}": EXPERTS if kind == "exps" else 1 for part in ("gate", "up", "down") for kind in ("exps", "shexp")}
    weights = [weight("token_embd", -1, 1, 1e-3), weight("output", -1, 1, 1e-3)]
    for layer in range(LAYERS):
        weights += [weight(role, layer, slabs, 1e-4) for role, slabs in (roles | (dense if layer < DENSE else sparse)).items()]
    whole = [{"level": level, "kl": kl} for level, kl in ((0.125, 0.001), (0.35, 0.004), (1, 0.017))]
    tool = settings.split(",")[0]
    gains = {"settings": f"{tool}, 4096 tokens, layers -1", "tokens": 4096, "streams": 23, "whole": whole}
    (folder / "sensitivity.json").write_text(json.dumps({"format": "pare sensitivity 1", "settings": settings, "gains": gains, "weights": weights}))


def pare(*argv):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([common.PARE, *map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


random.seed(1)
with common.workdir() as tmp:
    model, calibration, recipe = Path(tmp, "model"), Path(tmp, "calibration"), Path(tmp, "recipe.json")
    subprocess.run([common.TOOLS / "mkcheckpoint", "--family", "v3", "--real", "--sparse", "--out", model], check=True, stdout=subprocess.DEVNULL)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(common.fixture("nano-v3") / name, model)
    make_calibration(calibration)
    plain = json.loads(pare("plan", model, "--calib", calibration, "--json")[0])
    version = pare("--version")[0].split()[1]
    make_measurements(calibration, f"pare {version}, {plain['calibration']}")
    last = None
    for budget in (250e9, 380e9, 450e9):
        out, seconds = pare("plan", model, "--calib", calibration, "--size", f"{budget:.0f}", "-q", "--json", "-o", recipe)
        said = json.loads(out)
        missed = 1 - said["total_bytes"] / budget
        tap.ok(said["measured"] == 0 and 0 <= missed <= 1e-3, f"{budget / 1e9:.0f} GB are missed by {missed:.7f}, and not exceeded")
        tap.ok(seconds < 10, f"in {seconds:.1f} seconds of a processor")
        tap.ok(said["rules"] < 200, f"by {said['rules']} rules")
        again = json.loads(pare("plan", model, "-r", recipe, "--calib", calibration, "--json")[0])
        tap.ok(again["total_bytes"] == said["total_bytes"], "a conversion by the recipe has these bytes")
        tap.ok(last is None or said["predicted_kl"] < last, "and loses less than by a smaller budget")
        last = said["predicted_kl"]
sys.exit(tap.done())
