#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the hand-made seeds of the fuzz targets: tests/fuzz/seeds.py, from the top of the repository. Valid files, small,
and files that broke other readers. Seeds that an engine found lie beside them and are left alone."""
import json
import os
import struct

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
NANO = os.path.join(ROOT, "../../data/nano-v3")


def seed(target, name, data):
    os.makedirs(f"{ROOT}/{target}", exist_ok=True)
    with open(f"{ROOT}/{target}/{name}", "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def dump(x):
    return json.dumps(x, ensure_ascii=False, separators=(",", ":"))


# --- JSON
for name, text in {
    "all-types": '{"a":[1,-2.5e-3,true,false,null,"x"],"b":{"":0},"c":[]}', "escapes": '["\\u00e9\\n\\"\\\\\\/\\ud83d\\ude00"]',
    "utf8": '{"<｜begin▁of▁sentence｜>":"é€😀"}', "numbers": "[0,-0,1e15,1e999,9007199254740991,9007199254740993,0.1,5e-324,1E+2]",
    "duplicate-keys": '{"a":1,"\\u0061":2}', "nul-escape": '{"a":"\\u0000"}', "lone-surrogate": '"\\ud800"',
    "text-after": "{}{}", "deep": "[" * 999 + "]" * 999, "too-deep": "[" * 2000, "leading-zero": "[01]", "nan": "[NaN]",
    "raw-control": '"a\nb"', "bom": "\ufeff{}", "case": '{"a":1,"A":2}', "padding": "{}   \n\t\r ",
    "wide": "[" + ",".join("{}" for _ in range(400)) + "]",
}.items():
    seed("json", name, text)
seed("json", "bad-utf8", b'["\xff\xc0\x80"]')


# --- safetensors
def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header, data=0, length=None):
    text = (header if isinstance(header, str) else dump(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


A = entry("F32", [2], 0, 8)
for name, args in {
    "one": ({"a": A}, 8), "empty": ({}, 0), "padded": ('{"a":' + dump(A) + "}    ", 8),
    "metadata": ({"__metadata__": {"format": "pt"}, "a": A}, 8), "scalar": ({"s": entry("F64", [], 0, 8)}, 8),
    "empty-between": ({"a": A, "e": entry("U8", [0, 7], 8, 8), "z": entry("F4", [2], 8, 9)}, 9),
    "three": ({"w": entry("F8_E4M3", [2, 3], 0, 6), "s": entry("F32", [1, 1], 6, 10), "b": entry("BF16", [3], 10, 16)}, 16),
    "overlap": ({"a": A, "b": entry("F32", [2], 4, 12)}, 12), "alias": ({"a": A, "b": A}, 8),
    "hole": ({"a": A, "b": entry("U8", [1], 9, 10)}, 10), "trailing": ({"a": A}, 300), "short": ({"a": A}, 7),
    "wrap-elements": ({"a": entry("U8", [274177, 67280421310721], 0, 1)}, 1),
    "wrap-to-zero": ({"a": entry("U8", [2**32, 2**32], 0, 0)}, 0), "above-2-53": ({"a": entry("U8", [1], 2**53, 2**53 + 1)}, 1),
    "negative": ({"a": entry("U8", [-1], -1, 0)}, 0), "fraction": ('{"a":{"dtype":"U8","shape":[16.0],"data_offsets":[0,1.6e1]}}', 16),
    "nul-padded": ('{"a":' + dump(A) + "}\0\0\0", 8), "nul-in-name": ('{"a\\u0000b":' + dump(A) + "}", 8),
    "metadata-as-tensor": ({"__metadata__": A}, 8), "duplicate": ('{"a":' + dump(A) + ',"a":' + dump(A) + "}", 8),
    "rank-100": ({"a": entry("U8", [1] * 100, 0, 1)}, 1), "unknown-dtype": ({"a": entry("F128", [1], 0, 16)}, 16),
    "length-max": ({}, 0, 2**64 - 1), "length-wraps": ({}, 0, 2**64 - 8), "length-long": ({}, 0, 3),
    "many": ({f"layers.{i}": entry("U8", [0], 0, 0) for i in range(60)}, 0),
}.items():
    seed("safetensors", name, safetensors(*args))
seed("safetensors", "7-bytes", bytes(7))
seed("safetensors", "lfs-pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4300000000\n")

# --- index
S, T = {"a": "s", "b": "s"}, {"c": "t", "d.weight_scale_inv": "t"}
for name, x in {
    "one-shard": {"weight_map": S}, "two-shards": {"metadata": {"total_size": 16}, "weight_map": {**S, **T}},
    "scale-left-out": {"weight_map": {**S, "c": "t"}}, "wrong-total": {"metadata": {"total_size": 9}, "weight_map": S},
    "empty": {"weight_map": {}}, "no-map": {}, "list": {"weight_map": ["s"]}, "number": {"weight_map": {"a": 1}},
    "wrong-shard": {"weight_map": {**S, "c": "s"}}, "missing-shard": {"weight_map": {"a": "S", "b": "s"}},
    **{f"path-{i}": {"weight_map": {"a": p, "b": "s"}} for i, p in enumerate(
        ["../s", "/etc/passwd", "./s", "a/../s", "", ".", "..", "..\\s", "s\n", "model.safetensors.index.json", "s/", "//s"])},
}.items():
    seed("index", name, dump(x))
seed("index", "path-nul", '{"weight_map":{"a":"s\\u0000x","b":"s"}}')
seed("index", "key-twice", '{"weight_map":{"a":"s","b":"s","b":"s"}}')

# --- config.json
V3 = json.load(open(f"{NANO}/config.json"))
V32 = {**V3, "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32"}
INDEX = {"index_n_heads": 4, "index_head_dim": 64, "index_topk": 32}
ROPE = {"rope_type": "yarn", "rope_theta": 10000, "factor": 40, "original_max_position_embeddings": 4096}
for name, x in {
    "v3": V3, "v2": {**V3, "architectures": ["DeepseekV2ForCausalLM"], "scoring_func": "softmax", "topk_method": "greedy"},
    "v32": {**V32, **INDEX}, "rope-parameters": {**V3, "rope_parameters": ROPE},
    "no-rope": {**V3, "rope_scaling": None}, "no-q-lora": {**V3, "q_lora_rank": None},
    "ue8m0": {**V3, "quantization_config": {**V3["quantization_config"], "scale_fmt": "ue8m0"}},
    "bf16": {k: v for k, v in V3.items() if k != "quantization_config"}, "type-only": {**V3, "architectures": []},
    "other-family": {**V3, "architectures": ["LlamaForCausalLM"]}, "layers-2-32": {**V3, "num_hidden_layers": 2**32},
    "experts-0": {**V3, "n_routed_experts": 0}, "groups-3": {**V3, "n_group": 3}, "fraction": {**V3, "vocab_size": 2048.5},
    "huge-eps": {**V3, "rms_norm_eps": 1e308, "rope_theta": -1}, "huge-tiles": {**V3, "quantization_config": {
        **V3["quantization_config"], "weight_block_size": [2**53 - 1, 2**53 - 1]}},
    "other-scoring": {**V3, "scoring_func": "tanh"}, "other-topk": {**V3, "topk_method": "best"},
    "other-rope": {**V3, "rope_scaling": {**V3["rope_scaling"], "type": "linear"}}, "list": [],
}.items():
    seed("config", name, dump(x))
ARGS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}


def compressed(form, *groups):
    return {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"], "config_groups": {
        f"group_{i}": {"targets": targets, "weights": {**ARGS, **args}, "input_activations": None} for i, (targets, args) in enumerate(groups)}}


BLOCK = {"num_bits": 8, "type": "float", "strategy": "block", "group_size": None, "block_structure": [128, 128]}
MIXED = compressed("mixed-precision", (["Linear"], BLOCK), (["re:.*mlp.experts.*", "model.layers.1.mlp.down_proj"], {"group_size": 32}))
for group, form in zip(MIXED["config_groups"].values(), ("float-quantized", "pack-quantized")):
    group["format"] = form
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False, "checkpoint_format": "gptq"}
for name, q in {
    "compressed-mixed": MIXED, "compressed-tensor": compressed("float-quantized", (["Linear"], {"strategy": "tensor", "group_size": None})),
    "compressed-3-bits": compressed("pack-quantized", (["Linear"], {"num_bits": 3})),
    "compressed-pattern": compressed("pack-quantized", (["re:("], {})), "compressed-format": compressed("marlin-24", (["Linear"], {})),
    "compressed-nvfp4": compressed("nvfp4-pack-quantized", (["Linear"], {"type": "float", "strategy": "tensor_group", "group_size": 16})),
    "gptq-dynamic": {**GPTQ, "dynamic": {"-:.*mlp.gate.*": {}, "+:.*down_proj": {"bits": 8, "group_size": 32}}},
    "gptq-row": {**GPTQ, "group_size": -1, "checkpoint_format": "gptq_v2"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"},
    "awq-gemv": {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemv"},
    "int8-block": {"quant_method": "blockwise_int8", "weight_block_size": [64, 256]},
    "other-method": {"quant_method": "bitsandbytes"},
}.items():
    seed("config", name, dump({**V3, "quantization_config": q}))
seed("config", "v32-second-file", dump(V32) + "\0" + dump(INDEX))
seed("config", "v32-disagrees", dump({**V32, **INDEX}) + "\0" + dump({**INDEX, "index_topk": 33}))


# --- quantized: config.json NUL safetensors, one layer of 32 x 32 matrices
SMALL = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 32,
    "moe_intermediate_size": 32, "num_hidden_layers": 1, "first_k_dense_replace": 0, "num_attention_heads": 1, "q_lora_rank": None,
    "kv_lora_rank": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 2, "v_head_dim": 32, "n_routed_experts": 2, "n_shared_experts": 0,
    "num_experts_per_tok": 1, "max_position_embeddings": 64, "scoring_func": "softmax", "topk_method": "greedy"}
SELF = "model.layers.0.self_attn."
PLAIN = {"model.embed_tokens": (8, 32), "lm_head": (8, 32), "model.norm": (32,), "model.layers.0.input_layernorm": (32,),
         "model.layers.0.post_attention_layernorm": (32,), SELF + "q_proj": (34, 32), SELF + "kv_a_proj_with_mqa": (34, 32),
         SELF + "kv_a_layernorm": (32,), SELF + "o_proj": (32, 32), "model.layers.0.mlp.gate": (2, 32)}
LINEAR = {SELF + "kv_b_proj": 64, **{f"model.layers.0.mlp.experts.{e}.{x}_proj": 32 for e in (0, 1) for x in ("gate", "up", "down")}}
SIZES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}


def noise(n):
    return bytes((i * 167 + i // 7 * 59) & 0x77 for i in range(n))      # no NaN of E4M3


def quantized(quantization, parts):
    """parts(rows): {suffix: (dtype, shape, data or None for noise)} of a weight of 32 columns."""
    tensors = {n + ".weight": ("BF16", list(shape), None) for n, shape in PLAIN.items()}
    for name, rows in LINEAR.items():
        tensors.update({name + suffix: part for suffix, part in parts(rows).items()})
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        n = SIZES[dtype]
        for d in shape:
            n *= d
        header[name] = entry(dtype, shape, len(data), len(data) + n)
        data += (values * n)[:n] if values else noise(n)
    return dump({**SMALL, "quantization_config": quantization}).encode() + b"\0" + safetensors(header) + data


FLOAT = {"type": "float", "group_size": None}
ONE = {"BF16": b"\x80\x3f", "F16": b"\x00\x3c", "F32": b"\0\0\x80\x3f"}
G32 = {"group_size": 32}
for name, x in {
    "int4": (compressed("pack-quantized", (["Linear"], G32)), lambda o: {
        ".weight_packed": ("I32", [o, 4], None), ".weight_scale": ("BF16", [o, 1], ONE["BF16"]),
        ".weight_shape": ("I64", [2], struct.pack("<QQ", o, 32))}),
    "int4-asym": (compressed("pack-quantized", (["Linear"], {**G32, "symmetric": False})), lambda o: {
        ".weight_packed": ("I32", [o, 4], None), ".weight_scale": ("BF16", [o, 1], ONE["BF16"]),
        ".weight_zero_point": ("I32", [o // 8, 1], None)}),
    "int8": (compressed("int-quantized", (["Linear"], {"num_bits": 8, "strategy": "channel", "group_size": None})), lambda o: {
        ".weight": ("I8", [o, 32], None), ".weight_scale": ("BF16", [o, 1], ONE["BF16"])}),
    "fp8-tiles": ({"quant_method": "fp8", "weight_block_size": [24, 10]}, lambda o: {
        ".weight": ("F8_E4M3", [o, 32], None), ".weight_scale_inv": ("F32", [(o + 23) // 24, 4], ONE["F32"])}),
    "w4afp8": ({"quant_method": "w4afp8", "group_size": 32, "weight_block_size": [24, 10]}, lambda o: {
        ".weight": ("I8", [o, 16], None), ".weight_scale_inv": ("BF16", [o, 1], ONE["BF16"])} if o == 32 else {
        ".weight": ("F8_E4M3", [o, 32], None), ".weight_scale_inv": ("F32", [(o + 23) // 24, 4], ONE["F32"])}),
    "mxfp4": (compressed("mxfp4-pack-quantized", (["Linear"], {**FLOAT, **G32})), lambda o: {
        ".weight_packed": ("U8", [o, 16], None), ".weight_scale": ("U8", [o, 1], None)}),
    "nvfp4": (compressed("nvfp4-pack-quantized", (["Linear"], {**FLOAT, "strategy": "tensor_group", "group_size": 16})), lambda o: {
        ".weight_packed": ("U8", [o, 16], None), ".weight_scale": ("F8_E4M3", [o, 2], None),
        ".weight_global_scale": ("F32", [1], ONE["F32"])}),
    "gptq": ({**GPTQ, **G32}, lambda o: {
        ".qweight": ("I32", [4, o], None), ".qzeros": ("I32", [1, o // 8], b"\x77"), ".scales": ("F16", [1, o], ONE["F16"]),
        ".g_idx": ("I32", [32], b"\0")}),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}, lambda o: {
        ".qweight": ("I32", [32, o // 8], None), ".qzeros": ("I32", [1, o // 8], None), ".scales": ("F16", [1, o], ONE["F16"])}),
}.items():
    seed("quantized", name, quantized(*x))


# --- tokenizer
def alphabet(byte):
    hidden = [b for b in range(256) if b <= 0x20 or 0x7f <= b <= 0xa0 or b == 0xad]
    return chr(0x100 + hidden.index(byte)) if byte in hidden else chr(byte)


def tokenizer(vocab={}, merges=[], added=[], **changes):
    real = json.load(open(f"{NANO}/tokenizer.json"))
    bytes_ = {alphabet(b): b for b in range(256)}
    model = {"type": "BPE", "byte_fallback": False, "vocab": {**bytes_, **vocab}, "merges": merges}
    return {"pre_tokenizer": real["pre_tokenizer"], "normalizer": None, "added_tokens": added, "model": model, **changes}


def added(i, text, **flags):
    return {"id": i, "content": text, "special": True, "normalized": False, **flags}


WORDS = {"th": 256, "he": 257, "the": 258, "Ġ": 32, "Ġthe": 259, "ab": 260}
MERGES = ["t h", ["h", "e"], "th e", "Ġ the", "a b"]
BOS = added(300, "<｜begin▁of▁sentence｜>")
TEXT = "the theab the\n1234 é\U0001f600 <｜begin▁of▁sentence｜><think> 12<|x|>"
for name, (x, config, text) in {
    "bytes": (tokenizer(), {}, TEXT), "merges": (tokenizer(WORDS, MERGES), {}, TEXT),
    "added": (tokenizer(WORDS, MERGES, [BOS, added(301, "<think>", special=False), added(302, "<th", special=False, normalized=True)]),
              {"bos_token": "<｜begin▁of▁sentence｜>", "add_bos_token": True, "chat_template": "{{x}}"}, TEXT),
    "strips": (tokenizer(added=[{**BOS, "lstrip": True}]), {}, TEXT), "id-beyond": (tokenizer(added=[added(512, "x")]), {}, ""),
    "merge-unknown": (tokenizer(WORDS, ["q q"]), {}, ""), "merge-no-pair": (tokenizer(WORDS, ["th"]), {}, ""),
    "merge-twice": (tokenizer(WORDS, ["t h", "t h"]), {}, ""), "same-id": (tokenizer({"zz": 97}), {}, ""),
    "unknown-pre": (tokenizer(pre_tokenizer={"type": "Whitespace"}), {}, ""),
    "normalizer": (tokenizer(normalizer={"type": "NFC"}), {}, ""), "empty-token": (tokenizer({"": 260}), {}, TEXT),
    "wordpiece": ({"model": {"type": "WordPiece"}}, {}, ""), "template-list": (
        tokenizer(), {"chat_template": [{"name": "default", "template": "x"}], "eos_token": {"content": "a"}}, ""),
}.items():
    seed("tokenizer", name, dump(x) + "\0" + dump(config) + "\0" + text)
seed("tokenizer", "bad-utf8-text", (dump(tokenizer()) + "\0{}\0").encode() + b"\xff\xe2\x82 \xf0\x9f\x98a\xc0\x80")
for size in (300, 2**24, 2**31, 2**53 - 1):
    seed("tokenizer", f"vocab-size-{size}", dump(tokenizer()) + "\0{}\0x\0" + dump({"vocab_size": size, "bos_token_id": 1}))

# --- GGUF
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == ARRAY:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(value(v[0], x) for x in v[1])
    return text(v) if kind == STRING else struct.pack({U32: "<I", F32: "<f", BOOL: "<B", U64: "<Q", 5: "<i"}[kind], v)


def gguf(pairs, tensors, version=3, data=None, n_kv=None, n_tensors=None):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors, len(pairs) if n_kv is None else n_kv)
    for key, (kind, v) in pairs.items():
        out += text(key) + struct.pack("<I", kind) + (v if isinstance(v, bytes) and kind != STRING else value(kind, v))
    at = 0
    for name, (ne, kind) in tensors.items():
        n = 4 if kind == 0 else 1
        for d in ne:
            n *= d
        out += text(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, kind, at % 2**64)
        at += (n + 31) // 32 * 32
    return out + bytes(-len(out) % 32) + bytes(min(at, 4096) if data is None else data)


KEYS = {f"deepseek2.{k}": (F32 if isinstance(v, float) else U32, v) for k, v in {
    "block_count": 1, "context_length": 8, "embedding_length": 2, "feed_forward_length": 1, "vocab_size": 2,
    "attention.head_count": 1, "attention.kv_lora_rank": 1, "rope.dimension_count": 2, "attention.key_length": 3,
    "attention.value_length": 1, "attention.layer_norm_rms_epsilon": 1e-6, "expert_count": 2, "expert_used_count": 1,
    "expert_feed_forward_length": 1, "leading_dense_block_count": 1}.items()}
KEYS = {"general.architecture": (STRING, "deepseek2"), **KEYS}
ATTENTION = {"token_embd.weight": [2, 2], "output_norm.weight": [2], "output.weight": [2, 2], "blk.0.attn_norm.weight": [2],
             "blk.0.attn_q.weight": [2, 3], "blk.0.attn_kv_a_mqa.weight": [2, 3], "blk.0.attn_kv_a_norm.weight": [1],
             "blk.0.attn_k_b.weight": [1, 1, 1], "blk.0.attn_v_b.weight": [1, 1, 1], "blk.0.attn_output.weight": [1, 2],
             "blk.0.ffn_norm.weight": [2]}
DENSE = {"blk.0.ffn_gate.weight": [2, 1], "blk.0.ffn_up.weight": [2, 1], "blk.0.ffn_down.weight": [1, 2]}
MOE = {"blk.0.ffn_gate_inp.weight": [2, 2], "blk.0.ffn_gate_exps.weight": [2, 1, 2], "blk.0.ffn_up_exps.weight": [2, 1, 2],
       "blk.0.ffn_down_exps.weight": [1, 2, 2]}
f32 = lambda tensors: {k: (v, 0) for k, v in tensors.items()}
BYTES = [alphabet(b) for b in range(256)]
TOKENS = {"tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "deepseek-v3"),
          "tokenizer.ggml.tokens": (ARRAY, (STRING, BYTES + ["th", "<x>"])), "tokenizer.ggml.merges": (ARRAY, (STRING, ["t h"])),
          "tokenizer.ggml.token_type": (ARRAY, (5, [1] * 257 + [3])), "tokenizer.ggml.bos_token_id": (U32, 257)}
ONE = {"t": ([8], 0)}
for name, x in {
    "empty": gguf({}, {}), "one": gguf({"a": (U32, 1)}, ONE), "dense": gguf(KEYS, f32({**ATTENTION, **DENSE})),
    "moe": gguf({**KEYS, "deepseek2.leading_dense_block_count": (U32, 0), "deepseek2.expert_gating_func": (U32, 1)}, f32({**ATTENTION, **MOE})),
    "factors": gguf({**KEYS, "deepseek2.leading_dense_block_count": (U32, 0), "deepseek2.expert_gating_func": (U32, 1)},
                    f32({**ATTENTION, **MOE, "blk.0.ffn_up_exps.scale": [2], "blk.0.attn_output.scale": [1], "blk.0.ffn_up_exps.input_scale": [2]})),
    "factor-orphan": gguf(KEYS, f32({**ATTENTION, **DENSE, "blk.0.attn_q_a.scale": [1]})),
    "factor-of-norm": gguf(KEYS, f32({**ATTENTION, **DENSE, "blk.0.attn_norm.scale": [1]})),
    "yarn": gguf({**KEYS, "deepseek2.rope.scaling.type": (STRING, "yarn"), "deepseek2.rope.scaling.factor": (F32, 40.0),
                  "deepseek2.rope.scaling.original_context_length": (U32, 4096)}, f32({**ATTENTION, **DENSE})),
    "tokenizer": gguf(TOKENS, {}), "version-2": gguf({}, ONE, 2), "version-4": gguf({}, ONE, 4), "big-endian": gguf({}, ONE, 0x3000000),
    "kinds": gguf({"b": (BOOL, 1), "s": (STRING, "x"), "a": (ARRAY, (STRING, ["x", ""])), "n": (ARRAY, (U32, [1, 2])), "q": (U64, 7)}, {}),
    "kv-2-63": gguf({}, {}, n_kv=2**63 - 1, data=64), "tensors-2-64": gguf({}, {}, n_tensors=2**64 - 1, data=64),
    "key-2-64": gguf({}, {}, n_kv=1) + struct.pack("<Q", 2**64 - 1), "array-2-62": gguf({"a": (ARRAY, struct.pack("<IQ", 0, 2**62))}, {}, data=64),
    "strings-2-60": gguf({"a": (ARRAY, struct.pack("<IQ", 8, 2**60))}, {}, data=64), "array-of-arrays": gguf({"a": (ARRAY, (ARRAY, [(0, [])]))}, {}),
    "type-13": gguf({"a": (13, b"\0" * 8)}, {}), "alignment-0": gguf({"general.alignment": (U32, 0)}, ONE),
    "alignment-64": gguf({"general.alignment": (U32, 64)}, {}), "alignment-2-31": gguf({"general.alignment": (U32, 2**31)}, ONE),
    "pad-wrap": gguf({}, {"t": ([2**62 - 1], 0), **ONE}), "ne-wrap": gguf({}, {"t": ([2**32, 2**32, 1, 1], 0)}),
    "ne-0": gguf({}, {"t": ([0], 0)}), "dims-5": gguf({}, {"t": ([1] * 5, 0)}), "removed-type": gguf({}, {"t": ([32], 4)}),
    "sum-wrap": gguf({}, {"t": ([2**63 - 32], 24), "u": ([2**63 - 1], 24)}), "trailing": gguf({}, ONE, data=300), "short": gguf({}, ONE, data=31),
    "types-as-u8": gguf({**TOKENS, "tokenizer.ggml.token_type": (ARRAY, struct.pack("<IQ", 0, 258) + bytes(258))}, {}),
    "layers-513": gguf({**KEYS, "deepseek2.block_count": (U32, 513)}, {}), "heads-0": gguf({**KEYS, "deepseek2.attention.head_count": (U32, 0)}, {}),
    "experts-max": gguf({**KEYS, "deepseek2.block_count": (U32, 512), "deepseek2.expert_count": (U32, 1024)}, {}),
    "gating-3": gguf({**KEYS, "deepseek2.expert_gating_func": (U32, 3)}, f32({**ATTENTION, **DENSE})),
    "norm-as-u32": gguf({**KEYS, "deepseek2.expert_weights_norm": (U32, 1)}, f32({**ATTENTION, **DENSE})),
    "rope-linear": gguf({**KEYS, "deepseek2.rope.scaling.type": (STRING, "linear")}, f32({**ATTENTION, **DENSE})),
    "yarn-nan": gguf({**KEYS, "deepseek2.rope.scaling.type": (STRING, "yarn"), "deepseek2.rope.scaling.factor": (F32, 40.0),
                      "deepseek2.rope.scaling.original_context_length": (U32, 4096),
                      "deepseek2.rope.scaling.yarn_beta_fast": (F32, float("nan"))}, f32({**ATTENTION, **DENSE})),
    "split-3": gguf({"split.count": (U32, 3), "split.no": (U32, 0)}, {}), "utf16-key": gguf({"\ufeffa": (U32, 1)}, {}),
}.items():
    seed("gguf", name, x)

# --- manifest
HASH = "0123456789abcdef" * 2
FILE = {"name": "x.gguf", "bytes": 96, "header_bytes": 64, "header_xxh3_128": HASH}
TENSOR = {"name": "t", "file": 0, "type": "F32", "shape": [2, 4], "offset": 64, "bytes": 32, "xxh3_128": HASH}
MANIFEST = {"format": "pare manifest", "version": 2, "tool": "pare 0.1.0", "source": "nano", "recipe": "Q8_0", "files": [FILE], "tensors": [TENSOR]}
for name, x in {
    "one": MANIFEST, "empty": {**MANIFEST, "files": [], "tensors": []}, "no-tool": {k: v for k, v in MANIFEST.items() if k != "tool"},
    "version-3": {**MANIFEST, "version": 3}, "file-1": {**MANIFEST, "tensors": [{**TENSOR, "file": 1}]},
    "beyond-file": {**MANIFEST, "tensors": [{**TENSOR, "offset": 90}]}, "bytes-2-53": {**MANIFEST, "tensors": [{**TENSOR, "bytes": 2**53 - 1}]},
    "large": {**MANIFEST, "files": [{**FILE, "bytes": 10**15 + 1}]}, "path": {**MANIFEST, "files": [{**FILE, "name": "../x"}]},
    "short-hash": {**MANIFEST, "tensors": [{**TENSOR, "xxh3_128": HASH[1:]}]}, "rank-9": {**MANIFEST, "tensors": [{**TENSOR, "shape": [1] * 9}]},
    "object-lists": {**MANIFEST, "files": {"a": FILE}, "tensors": {"b": TENSOR}}, "number-source": {**MANIFEST, "source": 1, "recipe": None},
    "sources": {**MANIFEST, "target": "gguf", "output": "x.gguf", "source_files": [FILE], "source_tensors": [TENSOR]},
    "beyond-source-file": {**MANIFEST, "source_files": [{**FILE, "bytes": 64}], "source_tensors": [TENSOR]},
    "part-2": {**MANIFEST, "part": 2, "parts": 3, "all_files": 9}, "part-4": {**MANIFEST, "part": 4, "parts": 3, "all_files": 9},
    "sources-without-files": {**MANIFEST, "files": [], "tensors": [], "source_files": [FILE], "source_tensors": [TENSOR]},
    "twice": {**MANIFEST, "files": [FILE, FILE], "tensors": [TENSOR, TENSOR]},
    "plan": {**MANIFEST, "plan_xxh3_128": HASH}, "plan-short": {**MANIFEST, "plan_xxh3_128": HASH[1:]},
}.items():
    seed("manifest", name, dump(x)[:-1])  # the target adds the last line


# --- pack: the file's size in blocks of 512, then a manifest; the target adds the last line, the tar header and zeros
SUMS = {"xxh3": HASH, "crc32": "01234567"}


def place(at, size, align):
    return at + 512 if (at + 512) % align == 0 else -(-(at + 1536) // align) * align


def pack(change=None, blocks=None, align=512, sides=(("config.json", 40),), tensors=(("a", "F32", [2, 3], 24),), layer=3, **more):
    """Places depend on the manifest's length, which depends on them: until nothing changes any more."""
    length = 0
    while True:
        at = 512 + -(-(length + 1) // 512) * 512
        files, singles = [], []
        for name, size in sides:
            offset = place(at, size, 512)
            files.append({"name": name, "offset": offset, "size": size, **SUMS})
            at = -(-(offset + size) // 512) * 512
        for name, kind, shape, size in tensors:
            offset = place(at, size, align)
            singles.append({"name": name, "type": kind, "shape": shape, "member": f"tensors/{name}", "offset": offset, "size": size, **SUMS})
            at = -(-(offset + size) // 512) * 512
        offset = place(at, 82, align)
        inner = [{"name": n, "type": "Q4_0", "shape": [1, 32], "offset": offset + x, "size": 18, **SUMS} for n, x in (("g", 0), ("u", 64))]
        experts = [{"layer": layer, "expert": 1, "member": f"experts/{layer:03}/001", "offset": offset, "size": 82, "tensors": inner}]
        end = -(-(offset + 82) // 512) * 512 + 1024
        tree = {"format": "pare-pack", "version": 1, "tool": "t", "source": "s", "recipe": "r", "model": {"layers": 4, "experts": 2}, "align": align,
                "layout": "bundle", "split": {"index": 1, "count": 1}, "files": files, "tensors": singles, "experts": experts, **more}
        text = dump(tree)[:-1]
        sealed = len(text.encode()) + len(',\n\t"manifest_xxh3_128":\t"') + 32 + len('"\n}\n')
        if -(-(sealed + 1) // 512) == -(-(length + 1) // 512):
            break
        length = sealed
    text = change(text) if change else text
    return struct.pack("<H", end // 512 if blocks is None else blocks) + text.encode()


for name, x in {
    "one": pack(), "align-4096": pack(align=4096), "no-sides": pack(sides=()), "no-tensors": pack(tensors=()), "subset": pack(subset="experts"),
    "experts-only": pack(subset="experts-only", tensors=()), "plain": pack(layout="plain"), "short": pack(blocks=3), "long": pack(blocks=100),
    "empty-tensor": pack(tensors=(("a", "F32", [0, 3], 0),)), "same-name": pack(tensors=(("g", "F32", [2, 3], 24),)),
    "split": pack(split={"index": 1, "count": 3}), "coded": pack(lambda t: t.replace('"type":"Q4_0"', '"coded":{"chunk":1},"type":"Q4_0"', 1)),
    "two-sides": pack(sides=(("config.json", 40), ("sub/x.json", 3))), "outside": pack(sides=(("../x", 3),)), "align-3": pack(align=512, more=1).replace(b'"align":512', b'"align":513'),
    "version-2": pack(version=2), "wrap": pack(lambda t: t.replace('"size":24', '"size":9007199254740991')), "layer-large": pack(layer=2**53 - 1),
    "model": pack(tensors=(("model.norm.weight", "BF16", [12], 24), ("model.layers.0.mlp.down_proj.weight", "Q8_0", [1, 32], 34))),
}.items():
    seed("pack", name, x)


# --- journal; the target puts the hashes right
def journal(records=(), identity='{"tool":"pare 0.1.0","recipe":"Q8_0"}', version=1, length=None, tail=b""):
    text = identity.encode()
    head = b"PAREJRNL" + struct.pack("<IIQQQ", version, len(text) if length is None else length, 5, 2**20, 0)
    return head + text + b"".join(struct.pack("<II5Q", kind, zero, *values, 0) for kind, zero, *values in records) + tail


START, UNIT, OUTPUT = (1, 0, 77, 1764000000, 0x74736f68, 0), (2, 0, 3, 2**18, 99, 0), (3, 0, 1, 98, 97, 0)
SOURCE, PROGRESS, LOST = (4, 0, 1, 96, 95, 0), (5, 0, 1764000001, 2**18, 1, 0), (0xff, 0, 0, 0, 0, 0)
for name, x in {
    "begun": journal(), "started": journal([START]), "all-kinds": journal([START, UNIT, OUTPUT, SOURCE, PROGRESS]),
    "torn": journal([START, UNIT], tail=b"\2\0\0\0\0\0\0\0\1"), "damaged-between": journal([START, LOST, UNIT, PROGRESS]),
    "damaged-tail": journal([START, UNIT, LOST, LOST]), "no-zero": journal([START, (2, 1, 3, 4, 5, 0)]), "unknown-kind": journal([START, (9, 0, 1, 2, 3, 4)]),
    "unit-2-64": journal([(2, 0, 2**64 - 1, 2**64 - 1, 0, 0)]), "version-2": journal([START], version=2), "identity-list": journal([START], "[]"),
    "identity-bad": journal([START], "{"), "identity-2-32": journal([START], length=2**32 - 1), "identity-long": journal([START], length=200),
    "identity-empty": journal([START], ""), "short": b"PAREJRNL\1\0\0\0", "other": b"GGUF" + bytes(60), "empty": b"",
    "many": journal([START] + [UNIT] * 80),
}.items():
    seed("journal", name, x)


# --- imatrix
def dat(*entries, n=None, chunks=3, dataset=b"t.txt", tail=b""):
    data = struct.pack("<i", len(entries) if n is None else n)
    for name, ncall, values in entries:
        data += struct.pack("<i", len(name)) + name + struct.pack("<ii", ncall, len(values)) + struct.pack(f"<{len(values)}f", *values)
    if chunks is not None:
        data += struct.pack("<i", chunks)
        if dataset is not None:
            data += struct.pack("<i", len(dataset)) + dataset
    return data + tail


W, X = (b"blk.0.attn_q.weight", 2, [1, 0, 3]), (b"blk.1.ffn_up_exps.weight", 4, [1, 2, 4, 4])
NAN, INF = float("nan"), float("inf")
for name, x in {
    "dat": dat(W, X), "dat-bare": dat(W, X, chunks=None), "dat-chunks": dat(W, dataset=None), "dat-no-calls": dat((b"a", 0, [1, 2])),
    "dat-nan": dat((b"a", 1, [NAN])), "dat-inf": dat((b"a", 1, [INF])), "dat-negative": dat((b"a", 1, [-1])), "dat-calls": dat((b"a", -1, [1])),
    "dat-twice": dat(W, W), "dat-more": dat(W, n=2), "dat-huge": dat(W, n=2**31 - 1), "dat-tail": dat(W, tail=b"x"), "dat-limit": dat((b"a", 1, [2.0**40])),
    "dat-zeros": dat((b"a", 3, [0, 0])), "dat-name": dat((b"\n" * 255, 1, [1])), "dat-calls-huge": dat((b"a", 2**31 - 1, [1])),
}.items():
    seed("imatrix", name, x)


def imatrix(entries, changes={}):
    pairs = {"general.type": (STRING, "imatrix"), "imatrix.datasets": (ARRAY, (STRING, ["t.txt"])), "imatrix.chunk_count": (U32, 3),
             "imatrix.chunk_size": (U32, 512), **changes}
    tensors, data = {}, b""
    for name, sums, counts in entries:
        for suffix, x, ne in ((".in_sum2", sums, [len(sums) // max(1, len(counts)), len(counts)]), (".counts", counts, [1, len(counts)])):
            if x:
                tensors[name + suffix] = (ne, 0)
                data += struct.pack(f"<{len(x)}f", *x) + bytes(-4 * len(x) % 32)
    return gguf({k: v for k, v in pairs.items() if v}, tensors, data=0) + data


Q, R = ("blk.0.attn_q.weight", [1, 0, 3], [2]), ("blk.1.ffn_up_exps.weight", [1, 2, 0, 0], [2, 0])
for name, x in {
    "gguf": imatrix([Q, R]), "gguf-one": imatrix([Q]), "gguf-empty": imatrix([]), "gguf-nan": imatrix([("a", [NAN], [1])]),
    "gguf-count-nan": imatrix([("a", [1], [NAN])]), "gguf-count-half": imatrix([("a", [1], [0.5])]), "gguf-count-0": imatrix([("a", [1], [0])]),
    "gguf-count-huge": imatrix([("a", [3e38], [3e38])]), "gguf-idle": imatrix([("a", [0, 0], [0])]), "gguf-no-counts": imatrix([("a", [1, 2], [])]),
    "gguf-no-sums": imatrix([("a", [], [1])]), "gguf-model": imatrix([Q], {"general.type": (STRING, "model")}),
    "gguf-no-datasets": imatrix([Q], {"imatrix.datasets": (ARRAY, (STRING, []))}), "gguf-size-0": imatrix([Q], {"imatrix.chunk_size": (U32, 0)}),
    "gguf-size-1": imatrix([Q], {"imatrix.chunk_size": (U32, 1)}), "gguf-datasets-u32": imatrix([Q], {"imatrix.datasets": (ARRAY, (U32, [1]))}),
    "gguf-other": imatrix([Q, ("b.in_sum", [], [1])]), "gguf-long": imatrix([("n" * 55, [1], [1])]),
}.items():
    seed("imatrix", name, x)

# --- a server's answer: three kinds in one, as far as their members go
VLLM = [None, {"1": {"logprob": -0.5}, "7": {"logprob": -1.5}}, {"4095": {"logprob": -1e300}, "0": {"logprob": 0}}]
LLAMA = [{"id": 1, "token": "\0", "logprob": -0.25}, {"id": 2, "token": "\\u0000", "logprob": None}, {"id": 3, "logprob": -2}]
SGLANG = {"input_token_logprobs": [[None, 1, None], [-1, 2, None]], "input_top_logprobs": [None, [[-1, 2, None], [-2, 3, "x"]]]}


def served(vllm=VLLM, llama=LLAMA, sglang=SGLANG):
    return {"choices": [{"prompt_logprobs": vllm}], "completion_probabilities": [{"top_logprobs": llama}], "meta_info": sglang}


for name, x in {
    "all": served(), "id-outside": served([None, {"4096": {"logprob": -1}}], [{"id": -1, "logprob": -1}]), "id-half": served(llama=[{"id": 1.5, "logprob": -1}]),
    "id-huge": served([None, {"9" * 30: {"logprob": -1}}], [{"id": 1e18, "logprob": -1}]), "twice": served(llama=[LLAMA[0], LLAMA[0]]),
    "above-1": served([None, {"1": {"logprob": 3}}], [{"id": 1, "logprob": 0.5}]), "sum": served([None, {"1": {"logprob": -0.1}, "2": {"logprob": -0.1}}]),
    "blank-id": served([None, {" 5": {"logprob": -1}, "": {"logprob": -1}}]), "empty": served([None, {}], [], {}), "no-list": {"choices": 3, "meta_info": []},
    "sglang-twice": served(sglang={**SGLANG, "input_top_logprobs": [None, [[-1, 2, None], [-1, 2, None]]]}), "least": served(llama=[{"id": 9, "logprob": -1e300}]),
}.items():
    seed("server", name, json.dumps(x))

# --- part of a verification
CHOICE = {"id": 7, "p": 0.25, "text": "x"}
CLOSEUP = {"chunk": 0, "position": 2, "kld": 0.01, "p_candidate": 0.2, "before": "a", "after": "b", "choices": [CHOICE] * 6 + [{"id": -1, "p": 0}] * 5}


def part(first=0, chunks=1, total=1, by_layer=0, **changes):
    score = [2, 1.5, 1.625, 0.01, 0.25, 0.2, 0.75, 7, 7, 8, 11]
    chunk = {"layers": [[1.5, 0.5, 2, 3, 4]] * 2, "experts": [[1, 2, 0.5, 0.25, 0.125, 1]] * 6, "mtp": [[0, 0, 0, 0, 0]], "alone": [], "scores": [score]}
    if by_layer:
        chunk["alone"] = [[0.25, 0.0625]] * 4
    return {"format": "pare verification part", "version": 3, "base": "a", "candidate": "b", "settings": "s", "tokens_xxh3_128": HASH,
            "models_xxh3_128": HASH, "ctx": 4, "first_chunk": first, "total_chunks": total, "by_layer": by_layer, "layers": 2, "dense_layers": 1, "experts": 3,
            "experts_used": 2, "mtp": False, "hidden": True, "routing": True, "base_bytes": 9, "candidate_bytes": 5, "closeups": [CLOSEUP], "chunks": [chunk] * chunks, **changes}


for name, x in {
    "whole": part(), "no-candidate": part(candidate=None), "missing-chunk": part(total=2), "version-1": part(version=1), "ctx-huge": part(ctx=2**20),
    "experts-huge": part(layers=512, experts=1024, chunks=40, total=40), "total-huge": part(total=2**24), "layers-513": part(layers=513),
    "dense-above-layers": part(dense_layers=9), "used-above-experts": part(experts_used=9), "empty-chunks": part(chunks=0, total=0),
    "huge-numbers": {**part(), "chunks": [{**part()["chunks"][0], "scores": [[1e300] * 11]}]},
    "negative": {**part(), "chunks": [{**part()["chunks"][0], "scores": [[-1] * 11]}]},
    "closeup-short": part(closeups=[{**CLOSEUP, "choices": [CHOICE]}]), "closeup-outside": part(closeups=[{**CLOSEUP, "chunk": 1}]),
    "by-layer": part(by_layer=1), "by-layer-above": part(by_layer=2), "alone-short": {**part(by_layer=1), "chunks": part()["chunks"]},
    "closeups-many": part(closeups=[CLOSEUP, {**CLOSEUP, "kld": 2}] * 15),
    "too-many-scores": {**part(), "chunks": [{**part()["chunks"][0], "scores": part()["chunks"][0]["scores"] * 5}]},
}.items():
    seed("part", name, dump(x))
seed("part", "two", dump(part(1, 1, 2)) + "\0" + dump(part(0, 1, 2)))
seed("part", "two-by-layer", dump(part(1, 1, 2, by_layer=2)) + "\0" + dump(part(0, 1, 2, by_layer=2)))
seed("part", "two-runs", dump(part(1, 1, 2)) + "\0" + dump(part(0, 1, 2, settings="t")))
seed("part", "same-twice", dump(part(0, 1, 2)) + "\0" + dump(part(0, 1, 2)))

# --- base files; the target seals them
def tensors_file(tensors):
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = dump(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def base(form, change=None, **about):
    a = {"format": "pare base", "version": 1, "form": form, "name": "n", "settings": "s", "tokens_xxh3_128": HASH, "models_xxh3_128": HASH, "bytes": 9, "chunks": 2,
         "ctx": 4, "first_scored": 2, "scored": 1, "vocab_size": 9, "layers": 2, "dense_layers": 1, "experts": 3, "experts_used": 2}
    a.update({"best": 5, "drawn": 2} if form == "sampled" else {})
    a.update(about)
    text = dump(a).encode()
    t = {"log_sums": ("F64", [2, 1], struct.pack("<2d", 3, 2.5)), "target_logits": ("F32", [2, 1], struct.pack("<2f", 1, 0.5))}
    if form == "exact":
        t["logits"] = ("F32", [2, 1, 9], struct.pack("<18f", *range(18)))
    else:
        t |= {"ids": ("I32", [2, 1, 7], struct.pack("<14i", 4, 3, 2, 1, 0, 7, 8, 8, 7, 6, 5, 4, 0, -1)), "top_logits": ("F32", [2, 1], struct.pack("<2f", 1, 2)),
              "thresholds": ("F32", [2, 1], struct.pack("<2f", -9, -float("inf"))), "codes": ("U16", [2, 1, 7], struct.pack("<14H", *range(14)))}
    t |= {"tokens": ("I32", [2, 4], struct.pack("<8i", *range(8))), "routing": ("U8", [2, 1, 4, 2], bytes([0, 1, 2, 0, 1, 2, 2, 1]) * 2),
          "hashes": ("U8", [2, 16], bytes(32)), "seal": ("U8", [16], bytes(16)), "about": ("U8", [len(text)], text)}
    t.update(change or {})
    return tensors_file(t)


def llama(ctx=4, vocab=5, chunks=2, scale=0.001, least=-20.0, cut=0):
    record = struct.pack("<ff", scale, least) + struct.pack("<5H", 0, 65535, 7, 19000, 20000)[:10] + bytes(2)
    data = b"_logits_" + struct.pack("<3i", ctx, vocab, chunks) + struct.pack("<8i", 0, 1, 2, 3, 4, 0, 1, 2) + record * 2
    return data[: len(data) - cut]


for name, x in {
    "exact": base("exact"), "sampled": base("sampled"), "id-outside": base("sampled", {"ids": ("I32", [2, 1, 7], struct.pack("<14i", *[99] * 14))}),
    "nan": base("exact", {"log_sums": ("F64", [2, 1], struct.pack("<2d", float("nan"), 0))}), "vocab-huge": base("exact", vocab_size=2**24),
    "expert-outside": base("exact", {"routing": ("U8", [2, 1, 4, 2], bytes([9] * 16))}), "no-experts": base("exact", experts=0, experts_used=0),
    "token-outside": base("exact", {"tokens": ("I32", [2, 4], struct.pack("<8i", *[9] * 8))}), "best-0": base("sampled", best=0, drawn=7),
    "scored-0": base("exact", scored=0), "first-behind": base("exact", first_scored=4), "chunks-huge": base("exact", chunks=2**24),
    "other": base("exact", {"x": ("U8", [1], b"x")}), "version-2": base("exact", version=2), "llama": llama(scale=0.0003, least=-19.0), "llama-cut": llama(cut=1),
    "llama-nan": llama(scale=float("nan")), "llama-above-1": llama(scale=0.5), "llama-vocab": llama(vocab=2**24), "llama-ctx": llama(ctx=2**20),
}.items():
    seed("base", name, x)

# --- what a planner measured
def sensitivity(*weights, **changes):
    gains = {"settings": "g", "tokens": 64, "streams": 2, "whole": [{"level": 0.125, "kl": 0.001}, {"level": 1, "kl": 0.02}]}
    return {"format": "pare sensitivity 1", "settings": "s", "gains": gains, "weights": weights, **changes}


def measured(role, layer, slabs=1, **changes):
    return {"role": role, "layer": layer, "kl": 0.001, "off": 0.01, "output": [1.5] * slabs, "coarse": [0.0078125] * slabs, "types": {"Q4_K": [0.001] * slabs},
            **changes}


for name, x in {
    "whole": sensitivity(measured("output", -1), measured("attn_q_a", 0), measured("ffn_up_exps", 3, 4), measured("attn_q_a", 9)),
    "no-kl": sensitivity({k: v for k, v in measured("output", -1).items() if k != "kl"}), "twice": sensitivity(measured("output", -1), measured("output", -1)),
    "other-settings": sensitivity(measured("output", -1), settings="t"), "other-gains": sensitivity(measured("output", -1), gains={"settings": "h"}),
    "huge": sensitivity(measured("output", -1, output=[1e300])), "negative": sensitivity(measured("output", -1, coarse=[-1])),
    "short": sensitivity(measured("output", -1, types={"Q4_K": []})), "no-type": sensitivity(measured("output", -1, types={"Q9_Z": [1]})),
    "kl-huge": sensitivity(measured("output", -1, kl=1e29, off=1e-29), measured("output_norm", -1, kl=0)), "layer": sensitivity(measured("attn_q_a", 1 << 40)),
    "many-levels": sensitivity(gains={"settings": "g", "tokens": 1, "streams": 1, "whole": [{"level": 1, "kl": 1}] * 9}), "format": sensitivity(format="x"),
}.items():
    seed("sensitivity", name, dump(x))

# --- recipe: a file NUL tensor types NUL overrides
RULE = {"roles": ["ffn_down_exps", "output"], "layers": "0-2,58-60", "experts": "0-7", "name": "^blk[.][0-9]+", "type": "Q6_K"}


def recipe(rules=(), types="", overrides="", **keys):
    return b"\0".join((json.dumps({**keys, "rules": list(rules)}).encode(), types.encode(), overrides.encode()))


for name, x in {
        "whole": recipe([RULE, {"type": "F16"}], "attn_q=q8_0\nBLK\\.[02]\\.ffn=IQ4_NL", "output=F16\nffn_up,ffn_gate=bf16", name="a", base="Q4_K_M", pure=False),
        "default": recipe(default="q5_1"), "both": recipe(base="Q8_0", default="Q8_0"), "pure-default": recipe(default="Q8_0", pure=True),
        "cut": recipe([{"roles": ["ffn_up_exps"], "experts": "0-2,5", "type": "F16"}], base="F16"),
        "range": recipe([{"layers": "3-1", "type": "F16"}], base="F16"), "range-large": recipe([{"layers": "0-4294967296", "type": "F16"}], base="F16"),
        "pattern": recipe([{"name": "a(b", "type": "F16"}], base="F16"),
        "pattern-steps": recipe([{"name": "^(?:[a-z0-9_.]+)+(?:[!?]|[#%])", "type": "F16"}], base="F16"),
        "pattern-size": recipe([{"name": "((a{1000}){1000})", "type": "F16"}], base="F16"),
        "controls": recipe([{"name": "\x1b[31m", "type": "F16"}], name="\x07", base="F16"),
        "no-type": recipe([{"roles": ["output"]}], base="F16"), "norm": recipe([{"roles": ["attn_norm"], "type": "F16"}], base="F16"),
        "types": recipe((), "a=F16\tb=f32 =x", base="F16"), "types-controls": recipe((), "\x1b=F16", base="F16"),
        "fused": recipe((), "", "attn_kv_b=Q8_0", base="F32"), "long": recipe((), "", "ffn_up," * 80 + "=F16", base="Q8_0"),
        "commas": recipe((), "", ",=Q8_0\nffn_up,,ffn_gate=F16\n=F16\nffn_up=", base="Q8_0"),
        "overrides": recipe((), "", "ffn_down_exps=Q4_0\nattn_q,attn_output=BF16\nffn_up=F8_E4M3\nffn_up=F16=F32", base="Q8_0"),
        "planned": recipe(default="Q4_K", planned={"predicted_kl": 0.001}), "planned-number": recipe(default="Q4_K", planned=1),
        "unknown-base": recipe(base="Q9_9"), "list": b"[]"}.items():
    seed("recipe", name, x)


# --- conversations: a template NUL lines
def said(role, content, **more):
    return {"role": role, "content": content, **more}


U, A, END, TOOL = "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜tool▁output▁begin｜>"
BEGIN, CONTENT = "{{bos_token}}", "' + message['content']"
JOINED = BEGIN + "{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
LATEST = BEGIN + "{% set ns.system_prompt = message['content'] %}"
USER, CUT = "{{'" + U + CONTENT + "}}", "{% set content = content.split('</think>')[-1] %}"
ANSWER = "{{'" + A + CONTENT + " + '" + END + "'}}"
TEMPLATES = {
    "v2": BEGIN + "{{ 'User: " + CONTENT + " + 'x' }}{{ 'Assistant: " + CONTENT + " + eos_token }}"
          "{% elif message['role'] == 'system' %}{{ message['content'] + 'x' }}",
    "v2.5": LATEST + USER + ANSWER, "v3": JOINED + USER + ANSWER,
    "v3-0324": JOINED + "{{'" + U + CONTENT + " + '" + A + "'}}{{content + '" + END + "'}}",
    "r1-first": LATEST + USER + CUT + "{{'" + A + "' + content + '" + END + "'}}",
    "r1": JOINED + USER + CUT + "{{'" + A + "' + content + '" + END + "'}}{{'" + TOOL + CONTENT,
    "r1-0528": JOINED + "{{'" + U + "' + content + '" + A + "'}}" + CUT + "{{content + '" + END + "'}}",
    "v3.1": JOINED + USER + "{% if ns.is_last_user %}{% set content = content.split('</think>', 1)[1] %}",
    "v3.2": "",
    "plain": BEGIN + "{{'" + U + "'+m['content']}}{{'" + A + "'+m['content']+'" + END + "'}}{% else %}{{m['content']}}",
}
TURNS = [said("system", "S"), said("user", "q"), said("assistant", "<think>r</think>a"), said("system", "T"), said("user", "é\n")]
TOOLS = [said("user", "q"), said("tool", "t"), said("tool", "u"), said("assistant", "r</think>a"), said("assistant", "b")]
SHAREGPT = dump({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})
PARTS = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
for name, template in TEMPLATES.items():
    lists = (TURNS,) if name in ("v2", "v3.2") else (TURNS, TOOLS)
    seed("conversation", name, template + "\0" + "".join(dump({"messages": m}) + "\n" for m in lists))
for name, lines in {
    "sharegpt": SHAREGPT + "\n\n \r\n" + SHAREGPT, "parts": dump({"messages": [said("user", PARTS)]}), "empty": "", "blank": " \n\t\r\n",
    "no-messages": '{"messages":[]}', "no-list": '{"messages":{}}', "no-role": '{"messages":[{"content":""}]}',
    "null": dump({"messages": [said("assistant", None, tool_calls=[{}])]}), "calls": dump({"messages": [said("assistant", "", tool_calls=[{}])]}),
    "image": dump({"messages": [said("user", [{"type": "image"}])]}), "second-line": SHAREGPT + "\n{", "role": dump({"messages": [said("king", "")]}),
    "control": '{"messages":[{"role":"user","content":"\\u0000"}]}', "deep": '{"messages":' + "[" * 900 + "]" * 900 + "}",
}.items():
    seed("conversation", name, TEMPLATES["v3"] + "\0" + lines)
seed("conversation", "unknown-template", "{{bos_token}}\0" + SHAREGPT)
