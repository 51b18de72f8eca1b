# SPDX-License-Identifier: MIT
"""Block codecs against ggml's own, by the program quantize-rows: encoders byte for byte with ggml_quantize_chunk, with and
without importance, --search best block for block no worse, decoders bit for bit with to_float, on random, adversarial and real rows."""
import os
import subprocess
import tempfile

import numpy as np

import common
import llama
import tap
from reference_logits import checkpoint_weights

ENCODED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4")
READ = ENCODED + ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0")
COLS, ROWS = 1792, 24
REAL_ROWS = 200                  # of each tensor
rng = np.random.default_rng(6)


def near_powers_of_two():
    """Largest magnitudes a few steps of F32 below 2^k: where a logarithm in F32 rounds up, and a few do not."""
    k = np.repeat(np.arange(-126, 127), 64)
    amax = np.ldexp(1.0 - np.tile(np.arange(64), 253) * 2.0 ** -24, k).astype(np.float32)
    x = np.zeros((len(k), 32), dtype=np.float32)
    x[:, 5], x[:, 20] = amax, -amax / 3
    return x.reshape(-1, 1024)[:, :1024]


def patterns():
    """Title -> rows [ROWS][COLS]."""
    normal = rng.standard_normal((ROWS, COLS))
    heavy = normal * np.exp2(rng.uniform(-20, 4, (ROWS, COLS)))
    by_block = np.repeat(np.exp2(rng.uniform(-40, 4, (ROWS, COLS // 16))), 16, axis=1)
    sparse = np.where(rng.random((ROWS, COLS)) < 0.03, normal, 0)
    outlier = normal * 0.02
    outlier[:, ::256] = 9
    few = rng.integers(-3, 4, (ROWS, COLS)) / 4
    constant = np.repeat(rng.standard_normal((ROWS, COLS // 256)), 256, axis=1)
    subnormal = rng.integers(-2 ** 23, 2 ** 23, (ROWS, COLS)) * 2.0 ** -149
    return {"normal": normal * 0.02, "all positive": np.abs(normal), "all negative": -np.abs(normal), "heavy-tailed": heavy,
            "blocks of unlike size": normal * by_block, "sparse": sparse, "an outlier per 256": outlier,
            "multiples of 1/4": few, "constant": constant, "zero": normal * 0, "minus zero": normal * -0.0 * 0,
            "tiny": normal * 1e-16, "very tiny": normal * 1e-30, "subnormal": subnormal, "huge": normal * 500}


def importances():
    """Title -> row [COLS]."""
    smooth = np.exp(rng.standard_normal(COLS))
    return {"no importance": None, "importance": smooth, "importance with zeros": np.where(rng.random(COLS) < 0.2, 0, smooth),
            "importance of 0": np.zeros(COLS), "large importance": smooth * 1e9, "small importance": smooth * 1e-20}


def ours(option, kind, cols, data, importance=None, cpu=None):
    with tempfile.NamedTemporaryFile() as file:
        argv = [common.TOOLS / "quantize-rows", *option, kind, str(cols)]
        if importance is not None:
            file.write(np.asarray(importance, dtype=np.float32).tobytes())
            file.flush()
            argv.append(file.name)
        env = {**os.environ, **({"PARE_CPU": cpu} if cpu else {})}
        done = subprocess.run(argv, input=data, capture_output=True, check=False, env=env)
    return done.stdout if done.returncode == 0 else done.stderr


def difference(got, want, kind):
    """Empty, or a diagnostic about blocks."""
    size = llama.lib.ggml_get_type_traits(llama.type_id(kind)).type_size
    if len(got) != len(want):
        return f"{len(got)} bytes instead of {len(want)}"
    a, b = (np.frombuffer(x, dtype=np.uint8).reshape(-1, size) for x in (got, want))
    wrong = np.flatnonzero((a != b).any(axis=1))
    return "" if not len(wrong) else (f"{len(wrong)} of {len(a)} blocks differ, the first is block {wrong[0]}:\n"
                                      f"got  {a[wrong[0]].tobytes().hex()}\nwant {b[wrong[0]].tobytes().hex()}")


def check_encode(kind, cases, title, weights):
    wrong = []
    for name, rows in cases.items():
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        w = None if weights is None else np.resize(weights, rows.shape[1]).astype(np.float32)
        found = difference(ours([], kind, rows.shape[1], rows.tobytes(), w), llama.quantize(rows, kind, w), kind)
        wrong += [f"{name}: {found}"] if found else []
    blocks = sum(np.size(r) for r in cases.values())
    tap.ok(not wrong, f"{kind}, {title}: ggml_quantize_chunk's bytes for {blocks} weights", "\n".join(wrong))


def check_best(kind, cases, title, weights):
    """No block of --search best has a larger error than ggml's of the same weights, and the sum of all is smaller."""
    block = llama.lib.ggml_get_type_traits(llama.type_id(kind)).blck_size
    worse, sums = [], np.zeros(2)
    for name, rows in cases.items():
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        w = None if weights is None else np.resize(weights, rows.shape[1]).astype(np.float32)
        errors, by_block = [], rows.reshape(-1, block).astype(np.float64)
        sizes = np.sqrt((by_block ** 2).mean(axis=1, keepdims=True)) + np.abs(by_block)
        sizes = sizes.reshape(rows.shape)
        for blocks in (llama.quantize(rows, kind, w), ours(["--best"], kind, rows.shape[1], rows.tobytes(), w)):
            y = llama.dequantize(blocks, kind, rows.size).reshape(rows.shape)
            e = (rows.astype(np.float64) - y) ** 2 * (sizes if w is None else w.astype(np.float64))
            errors.append(e.reshape(-1, block).sum(axis=1))
        above = np.flatnonzero(~(errors[1] <= errors[0] * (1 + 1e-6)) & ~np.isnan(errors[0]))
        worse += [f"{name}: {len(above)} of {len(errors[0])} blocks, the first {above[0]}"] if len(above) else []
        sums += [e.sum() for e in errors]
    tap.ok(not worse and sums[1] <= sums[0], f"{kind}, best, {title}: no block's error is above ggml's", "\n".join(worse))
    return sums[1] / sums[0]


def same_floats(a, b):
    """Bits, but any NaN is as good as another."""
    both_nan = np.isnan(a) & np.isnan(b)
    return np.flatnonzero(~both_nan & (a.view(np.uint32) != b.view(np.uint32)))


def check_decode(kind, blocks, title):
    traits = llama.lib.ggml_get_type_traits(llama.type_id(kind))
    count = len(blocks) // traits.type_size * traits.blck_size
    got = np.frombuffer(ours(["--decode"], kind, traits.blck_size, blocks), dtype=np.float32)
    want = llama.dequantize(blocks, kind, count)
    wrong = same_floats(got, want) if len(got) == count else np.arange(1)
    tap.ok(not len(wrong), f"{kind}, {title}: to_float's bits for {count} weights",
           f"{len(wrong)} differ" + (f", the first at {wrong[0]}: {got[wrong[0]]} instead of {want[wrong[0]]}" if len(wrong) and len(got) == count else ""))


def real_rows():
    """Rows of trained weights of all kinds, by width."""
    rows = {}
    for name in ("nano-v3", "tiny-v3"):
        folder = common.fixture(name)
        for key, tensor in (checkpoint_weights(folder) if folder else {}).items():
            w = np.asarray(tensor, dtype=np.float32)
            if w.ndim >= 2 and w.shape[-1] % 256 == 0 and ("experts.1." in key or "self_attn" in key or "embed" in key):
                rows.setdefault(f"{name} {w.shape[-1]}", []).append(w.reshape(-1, w.shape[-1])[:REAL_ROWS])
    return {title: np.concatenate(parts) for title, parts in rows.items()}


random_rows, real = patterns(), real_rows()
tap.ok(real, f"real rows are at hand: {', '.join(real)}")
for kind in ENCODED:
    for title, weights in importances().items():
        check_encode(kind, random_rows, title, weights)
    check_encode(kind, real, "real rows", None)
    check_encode(kind, real, "real rows with importance", importances()["importance"])
for kind in (k for k in ENCODED if k != "Q8_0"):
    for title, weights in importances().items():
        check_best(kind, random_rows, title, weights)
    ratios = [check_best(kind, real, "real rows", None),
               check_best(kind, real, "real rows with importance", importances()["importance"])]
    print(f"# {kind}: error of real rows {ratios[0]:.4f} times ggml's, with importance {ratios[1]:.4f}")
check_encode("MXFP4", {"": near_powers_of_two()}, "largest magnitudes just below powers of two", None)
check_encode("NVFP4", {"": near_powers_of_two()}, "the same", None)
for kind in READ:
    size = llama.lib.ggml_get_type_traits(llama.type_id(kind)).type_size
    check_decode(kind, rng.integers(0, 256, 2000 * size, dtype=np.uint8).tobytes(), "random bytes")
    if kind in ENCODED:
        check_decode(kind, llama.quantize(random_rows["normal"], kind), "blocks of normal rows")
tap.done()
