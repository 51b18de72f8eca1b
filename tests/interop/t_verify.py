# SPDX-License-Identifier: MIT
"""pare verify computes what the judges compute: transformers' logits in F64, the fixtures' known answers, statistics done
here from transformers' logits of our own files as the gguf package decodes them, llama.cpp's perplexity."""
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import common
import llama
import tap
from reference_logits import Reference, checkpoint_weights, gguf_weights

CTX, BOS = 512, 0
# How far a logit may be from F64; logits reach 13 to 19. An F32 run of transformers is 3e-5 to 8e-4 away: where its own
# error is more than a third of this, three times its error is allowed.
BOUND = 5e-4
TIE = 1.5       # positions whose best token, or fifth best, may be another because two logits are equal to F32
NANO, N_VOCAB = common.fixture("nano-v3"), 2048


def verify(*args, env=None):
    """pare verify --json: its output, or None and a failed test."""
    argv = [common.PARE, "verify", *map(str, args), "--json", "-q"]
    done = subprocess.run(argv, capture_output=True, env={**os.environ, **(env or {})}, check=False)
    words = [f"{k}={v}" for k, v in (env or {}).items()] + ["pare", *(Path(a).name for a in argv[1:-2])]
    passed = tap.ok(done.returncode == 0, " ".join(words), lambda: f"exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout if passed else None


def number(report, path):
    """kld.mean and the like; NaN where the report has no such number."""
    at = json.loads(report)
    for name in path.split("."):
        at = at.get(name) if isinstance(at, dict) else None
    return float("nan") if at is None else float(at)


def close(got, want, title, relative=0.0, absolute=0.0):
    tap.ok(abs(got - want) <= max(relative * abs(want), absolute), f"{title}: {got:.8g}, the reference {want:.8g}",
           f"off by {got - want:.3g}, allowed {relative:g} relative or {absolute:g}")


def saved_logits(file, n_vocab=N_VOCAB):
    return np.fromfile(file, dtype="<f4").reshape(-1, n_vocab)


def same_logits(logits, reference, chunks, what):
    exact = reference.logits64(chunks)
    own = np.abs(reference.logits(chunks) - exact).max()
    off = np.abs(logits - exact).max() if logits.shape == exact.shape else float("nan")
    bound = max(BOUND, 3 * own)
    tap.ok(off <= bound, f"{what}: logits of {chunks.size} tokens are {off:.1e} from transformers in F64, whose F32 is {own:.1e} from it",
           f"{logits.shape}, {exact.shape}; allowed {bound:.1e}; logits reach {np.abs(exact).max():.1f}")


def loaded(src, what, weights=None, **changes):
    reference = Reference(src, checkpoint_weights(src) if weights is None else weights, **changes)
    tap.ok(not reference.missing and not reference.unexpected, f"{what}: transformers has a place for each tensor and a tensor for each place",
           f"missing {reference.missing}, unexpected {reference.unexpected}")
    return reference


# The fixtures' known answers.

def check_golden(src, work):
    golden, name, out = src / "golden", src.name, work / "logits.bin"
    four, tokens = json.loads((golden / "golden4.json").read_text()), golden / "tokens.bin"
    if half := verify(src, "--tokens", tokens, "--save-logits", out):
        close(number(half, "base.ppl"), four["ppl_half"], f"{name}: perplexity over 4 chunks", relative=1e-5)
        close(number(half, "base.ppl_stderr"), four["ppl_half_stderr"], f"{name}: its standard error", relative=1e-5)
        close(number(half, "positions"), four["scored_half"], f"{name}: scored positions")
        got, want = (saved_logits(file, four["vocab_size"]) for file in (out, golden / "logits.bin"))
        tap.ok(len(got) == 4 * CTX, f"{name}: logits of {4 * CTX} positions are saved", len(got))
        off = np.abs(got[:len(want)] - want).max()
        tap.ok(off <= BOUND, f"{name}: the logits of {len(want)} positions are {off:.1e} from the known ones", f"allowed {BOUND:g}")
    if every := verify(src, "--tokens", tokens, "--all-positions", "--mtp"):
        close(number(every, "base.ppl"), four["ppl_all"], f"{name}: perplexity over all positions", relative=1e-5)
        close(number(every, "positions"), four["scored_all"], f"{name}: all scored positions")
        close(number(every, "mtp.loss"), four["mtp_loss"], f"{name}: the MTP layer's loss", absolute=1e-4)
        close(number(every, "mtp.top1_agreement"), four["mtp_top1_agreement_with_main"], f"{name}: the MTP layer agrees with the model",
              absolute=TIE / four["scored_all"])


def check_text(src, work):
    text = common.FIXTURES / "text" / "eval.txt"
    if not text.is_file():
        tap.skip(f"{src.name}: perplexity of a text over 16 chunks", f"no {text.name} in the fixtures")
        return
    want = json.loads((src / "golden" / "golden16.json").read_text())
    if report := verify(src, "--text", text, "--chunks", 16):
        close(number(report, "base.ppl"), want["ppl_half"], f"{src.name}: perplexity of a text over 16 chunks", relative=1e-5)
    # llama-perplexity puts BOS before the text, so its chunks are a token off
    ids = Tokenizer.from_file(str(src / "tokenizer.json")).encode(text.read_bytes().decode(), add_special_tokens=False).ids
    np.array([BOS, *ids], dtype=np.int32).tofile(work / "ids.bin")
    reports = [verify(src, *given, "--chunks", 1) for given in (("--text", text, "--align", "llama"), ("--tokens", work / "ids.bin"))]
    tap.ok(reports[0] and reports[0] == reports[1], f"{src.name}: --align llama is BOS and the ids that tokenizers finds")


# transformers, on every layout of the family.

def changed(a, b):
    return 100 * (a != b).any(axis=-1).mean()


def bias_matters(src, reference, chunks, name):
    without = Reference(src, checkpoint_weights(src))
    for router in without.routers:
        router.e_score_correction_bias.zero_()
    share = changed(reference.experts(chunks), without.experts(chunks))
    tap.ok(share > 5, f"{name}: without the correction bias {share:.0f} % of the choices of experts are others")


def groups_matter(src, reference, chunks, name):
    ungrouped = Reference(src, checkpoint_weights(src), n_group=1, topk_group=1)
    share = changed(reference.experts(chunks), ungrouped.experts(chunks))
    tap.ok(share > 5, f"{name}: without groups {share:.0f} % of the choices of experts are others")
    return ungrouped


def yarn_matters(src, reference, chunks, name):
    """The same attention scale with plain frequencies."""
    plain = Reference(src, checkpoint_weights(src))
    plain.model.model.rotary_emb.inv_freq.copy_(10000.0 ** (-torch.arange(0, 64, 2) / 64))
    off = np.abs(plain.logits(chunks) - reference.logits(chunks))[-1].max()
    tap.ok(off > 0.1, f"{name}: without YaRN the logits of token {chunks.size} are {off:.1f} away")


def indexer_matters(src, reference, chunks, name):
    dense = Reference(src, checkpoint_weights(src), index_topk=2048)
    off = np.abs(dense.logits(chunks) - reference.logits(chunks)).max(axis=1).reshape(chunks.shape)
    tap.ok(off[:, :16].max() < 1e-4 and np.median(off[:, 16:]) > 0.1, f"{name}: with dense attention the logits after "
           f"token 16 are {np.median(off[:, 16:]):.1f} away", f"up to token 16 {off[:, :16].max()}")


def write_tokens(work, n, ctx):
    """n chunks and most of another, which counts for nothing; the chunks as they are to be fed."""
    tokens = np.random.default_rng(1).integers(3, N_VOCAB, size=n * ctx + ctx - 1, dtype=np.int32)
    tokens.tofile(work / "tokens.bin")
    chunks = tokens[:n * ctx].reshape(n, ctx)
    chunks[:, 0] = BOS
    return chunks


def check_same_file(src, work, arguments, name, mtp):
    """The F32 GGUF has the checkpoint's weights, kv_b_proj split and its keys transposed."""
    out = work / f"{name}.gguf"
    keep = ("--mtp", "keep") if mtp else ()
    if common.convert(src, out, "F32", *keep) and (report := verify(src, out, *arguments, *keep[:1])):
        worst, agree = number(report, "kld.max"), number(report, "top1_agreement")
        tap.ok(abs(worst) <= 1e-6 and agree == 1, f"{name}: the F32 GGUF is the checkpoint: KL divergence at most {worst:.1e}, "
               f"top-1 agreement {agree:g}")
        if mtp:
            close(number(report, "mtp.candidate_loss"), number(report, "mtp.loss"), f"{name}: its MTP layer too", relative=1e-6)


def check_ungrouped(src, reference, chunks, arguments, out, name):
    if verify(src, *arguments, "--group-routing", "off", "--save-logits", out):
        same_logits(saved_logits(out), reference, chunks, f"{name} without groups")


def check_mtp(src, reference, chunks, arguments, name):
    if report := verify(src, *arguments, "--mtp"):
        want = llama.loss(reference.mtp_logits(chunks), chunks[:, 2:].ravel()).mean()
        close(number(report, "mtp.loss"), want, f"{name}: the MTP layer's loss", absolute=1e-4)


# family, options, chunks, tokens in each, what of the layout must show in the reference's result
LAYOUTS = (
    ("v3", ("--rope-parameters",), 1, 4096, {"bias", "groups", "yarn", "mtp"}),
    ("v3.1", ("--scale", "e8m0", "--q-lora", 192), 3, 45, {"bias", "mtp"}),
    # With the default of 4 heads 1 in 16 scores is 0, none of the heads agreeing with the key; where 0 is the sixteenth best,
    # it is not said which of the keys is taken (we take the first). The released 64 heads have no such ties.
    ("v3.2", ("--index-topk", 16, "--index-heads", 64), 2, 125, {"bias", "indexer", "mtp"}),
    ("v2", (), 1, 128, {"groups"}),                 # 3 of 8 groups by their largest score, softmax, weights times 16
    ("v2-lite", ("--layers", 27), 1, 128, set()),   # no q_lora; widths 352 and 96
)


def check_layout(family, options, n, ctx, traits, work):
    name, src, out = f"random {family}", work / family, work / "logits.bin"
    if not common.make_checkpoint(family, src, "--vocab", N_VOCAB, "--tokenizer", NANO, *options):
        return
    chunks = write_tokens(work, n, ctx)
    arguments = ("--tokens", work / "tokens.bin", "--ctx", ctx)
    reference = loaded(src, name)
    for trait, check in (("bias", bias_matters), ("yarn", yarn_matters), ("indexer", indexer_matters)):
        if trait in traits:
            check(src, reference, chunks, name)
    if verify(src, *arguments, "--save-logits", out):
        same_logits(saved_logits(out), reference, chunks, name)
    if "groups" in traits:
        check_ungrouped(src, groups_matter(src, reference, chunks, name), chunks, arguments, out, name)
    if "mtp" in traits:
        check_mtp(src, reference, chunks, arguments, name)
    if ctx < CTX:
        check_same_file(src, work, arguments, name, "mtp" in traits)


def golden_chunks():
    return np.fromfile(NANO / "golden" / "tokens.bin", dtype=np.int32).reshape(-1, CTX)


def check_nano(work):
    chunks, name, out = golden_chunks(), NANO.name, work / "logits.bin"
    reference, arguments = loaded(NANO, name), ("--tokens", NANO / "golden" / "tokens.bin")
    bias_matters(NANO, reference, chunks, name)
    if verify(NANO, *arguments, "--save-logits", out):
        same_logits(saved_logits(out), reference, chunks, name)
    check_ungrouped(NANO, groups_matter(NANO, reference, chunks, name), chunks, arguments, out, name)


# Two models: every statistic, from logits that transformers computes with the weights that the gguf package decodes.

def log_softmax(logits):
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def statistics(base, candidate, chunks):
    """By the definitions of llama-perplexity, without its 16-bit base file; probabilities from 0 to 1."""
    scored = slice(CTX // 2, CTX - 1)
    base, candidate = (x.reshape(*chunks.shape, -1)[:, scored].reshape(-1, N_VOCAB) for x in (base, candidate))
    p, q, targets = log_softmax(base), log_softmax(candidate), chunks[:, CTX // 2 + 1:].ravel()
    at, n = np.arange(len(targets)), len(targets)
    kld, ratio = (np.exp(p) * (p - q)).sum(axis=1), p[at, targets] - q[at, targets]
    dp = np.exp(q[at, targets]) - np.exp(p[at, targets])
    five = [np.argsort(-x, axis=1, kind="stable")[:, :5] for x in (base, candidate)]
    found = {"positions": n, "base.ppl": np.exp(-p[at, targets].mean()), "candidate.ppl": np.exp(-q[at, targets].mean()),
             "ln_ppl_ratio.mean": ratio.mean(), "ln_ppl_ratio.stderr": ratio.std() / np.sqrt(n - 1),
             "kld.mean": kld.mean(), "kld.stderr": kld.std() / np.sqrt(n - 1), "kld.max": kld.max(),
             "dp.mean": dp.mean(), "dp.rms": np.sqrt((dp ** 2).mean())}
    found |= {f"kld.{name}": np.quantile(kld, f) for name, f in
              (("median", .5), ("p90", .9), ("p95", .95), ("p99", .99), ("p999", .999))}
    found["top1_agreement"] = (five[0][:, 0] == five[1][:, 0]).mean()
    found["top5_agreement"] = np.mean([len(set(a) & set(b)) for a, b in zip(*five)]) / 5
    return found


def check_statistics(report, want, what):
    for path, value in want.items():
        if path.endswith("agreement"):
            close(number(report, path), value, f"{what}: {path}", absolute=TIE / want["positions"])
        else:
            close(number(report, path), value, f"{what}: {path}", relative=1e-5 if path.endswith("ppl") else 1e-4, absolute=1e-7)


def check_layers(report, base, candidate, chunks, what):
    """The error after each layer, the layer's own (from the base's input), and how often both choose the same experts."""
    inputs, want = base.layers(chunks)
    own_path, base_path = candidate.layers(chunks)[1], candidate.layers(chunks, inputs)[1]
    rows = json.loads(report)["layers"]
    for i, exact in enumerate(want):
        for key, got in (("accumulated_error", own_path[i]), ("local_error", base_path[i])):
            close(rows[i][key], float((got - exact).norm() / exact.norm()), f"{what}: {key} of layer {i}", relative=1e-3)
    chosen = [model.experts(chunks) for model in (base, candidate)]
    for row, a, b in zip((r for r in rows if "experts" in r), *chosen):
        close(row["same_experts"], (a == b).all(axis=1).mean(), f"{what}: same_experts of layer {row['layer']}", absolute=TIE / chunks.size)
        for key, ids in (("tokens", a), ("candidate_tokens", b)):
            off = np.abs([e[key] for e in row["experts"]] - np.bincount(ids.ravel(), minlength=len(row["experts"]))).max()
            tap.ok(off <= TIE, f"{what}: {key} of each expert of layer {row['layer']}", f"off by {off}")
    outputs = [model.expert_outputs(chunks, inputs) for model in (base, candidate)]
    for row, (a, sent_a), (b, sent_b) in zip((r for r in rows if "experts" in r), *outputs):
        both = (sent_a & sent_b)[..., None]             # tokens that an expert gets from both routers
        want = ((both * (b - a)).flatten(1).norm(dim=1) / (both * a).flatten(1).norm(dim=1)).numpy()
        off = np.abs([e.get("output_error", np.nan) for e in row["experts"]] / want - 1).max()
        tap.ok(off <= 1e-3, f"{what}: output_error of each expert of layer {row['layer']}", f"off by {off:.1e} of it")


def check_quantized(work):
    tokens, chunks, base = NANO / "golden" / "tokens.bin", golden_chunks(), loaded(NANO, NANO.name)
    base_logits = base.logits(chunks)
    for recipe in ("Q8_0", "Q4_0"):
        out, what = work / f"{recipe}.gguf", f"{NANO.name} {recipe}"
        if not common.convert(NANO, out, recipe) or not (report := verify(NANO, out, "--tokens", tokens)):
            continue
        candidate = loaded(NANO, what, gguf_weights(out))
        check_statistics(report, statistics(base_logits, candidate.logits(chunks), chunks), what)
        check_layers(report, base, candidate, chunks, what)
        with llama.Llama(out) as model:
            # llama.cpp rounds activations to 8 bits before it multiplies
            close(number(report, "candidate.ppl"), model.perplexity(chunks.ravel(), len(chunks), BOS),
                  f"{what}: llama.cpp's perplexity", relative=1e-2)


# The same bytes everywhere, and how long it takes.

def check_bytes(work):
    out, saved = work / "Q8_0.gguf", work / "same.bin"
    flags = Path("/proc/cpuinfo").read_text().split()
    runs = [(("-j", j), None) for j in (1, 2, 3)] + [((), {"PARE_CPU": "scalar"})]
    for isa, flag in (("avx2", "avx2"), ("avx512", "avx512vl")):
        if flag in flags:
            runs.append(((), {"PARE_CPU": isa}))
        else:
            tap.skip(f"the same report with {isa}", f"no {flag} here")
    results = []
    given = (NANO, out, "--tokens", NANO / "golden" / "tokens.bin", "--ctx", 128, "--chunks", 2)
    for options, env in runs:
        report = verify(*given, "--save-logits", saved, *options, env=env)
        results.append((report, saved.read_bytes()) if report else None)
        saved.unlink(missing_ok=True)
    tap.ok(results[0] and all(r == results[0] for r in results), f"the same report and logits, byte for byte, from {len(results)} runs")


def check_speed(src, work):
    """16 chunks of one F32 file, from start to perplexity, the faster of two runs."""
    out, ids = work / "f32.gguf", np.tile(np.fromfile(src / "golden" / "tokens.bin", dtype=np.int32), 4)
    ids.tofile(work / "ids.bin")
    if not common.convert(src, out, "F32"):
        return
    ours, theirs = [], []
    for _ in range(2):
        start = time.monotonic()
        verify(out, "--tokens", work / "ids.bin")
        ours.append(time.monotonic() - start)
        start = time.monotonic()
        with llama.Llama(out) as model:
            model.perplexity(ids, 16, BOS)
        theirs.append(time.monotonic() - start)
    ratio = min(ours) / min(theirs)
    tap.note(f"{len(ids)} tokens of {src.name}: pare {min(ours):.2f} s, llama.cpp {min(theirs):.2f} s")
    tap.ok(ratio < 1.5, f"16 chunks of {src.name} take {ratio:.2f} of llama.cpp's time, not more than 1.5")


with common.workdir() as scratch:
    for fixture in ("nano-v3", "tiny-v3", "tiny-v3.1"):
        if found := common.fixture(fixture):
            check_golden(found, Path(scratch))
            check_text(found, Path(scratch))
        else:
            tap.skip(f"{fixture}: the known answers", f"no {fixture} in tests/data or the fixtures")
    check_nano(Path(scratch))
for row in LAYOUTS:
    with common.workdir() as scratch:
        check_layout(*row, Path(scratch))
with common.workdir() as scratch:
    check_quantized(Path(scratch))
    check_bytes(Path(scratch))
    if tiny := common.fixture("tiny-v3"):
        check_speed(tiny, Path(scratch))
    else:
        tap.skip("16 chunks of tiny-v3 against llama.cpp's time", "no tiny-v3 in the fixtures")
tap.done()
