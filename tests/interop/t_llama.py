# SPDX-License-Identifier: MIT
"""llama.cpp computes the fixtures' known answers from our files: logits, perplexities, the MTP layer's loss, ids."""
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import common
import llama
import tap

CHUNKS, CTX, BOS = 64, 512, 0


class Golden:
    """Known answers of a fixture, over the first four chunks unless the evaluation text is there."""

    def __init__(self, src):
        folder = src / "golden"
        self.tokens = np.fromfile(folder / "tokens.bin", dtype=np.int32).reshape(-1, CTX)
        self.four = json.loads((folder / "golden4.json").read_text())
        self.all = json.loads((folder / "golden.json").read_text())
        self.logits = np.fromfile(folder / "logits.bin", dtype=np.float32).reshape(-1, self.all["vocab_size"])


def close(got, want, relative, title):
    off = abs(got / want - 1)
    tap.ok(off <= relative, f"{title} is {got:.6f}, within {100 * relative:g} % of {want:.6f}", f"off by {100 * off:.3g} %")


def converted(src, work, recipe, *options):
    """Our file loaded by llama.cpp, or None."""
    out = Path(work) / f"{src.name}-{'-'.join((recipe,) + options)}.gguf"
    if not common.convert(src, out, recipe, *options):
        return None
    mtp = "keep" in options
    try:
        model = llama.Llama(out, mtp=mtp)
    except RuntimeError as e:
        tap.ok(False, f"llama.cpp loads {out.name}", str(e))
        return None
    tap.ok(True, f"llama.cpp loads {out.name}{' with its MTP layer' if mtp else ''}")
    return model


def check_logits(model, golden, name):
    first = model.logits(golden.tokens[0])
    worst = np.abs(first[:len(golden.logits)] - golden.logits).max()
    tap.ok(worst <= 2e-4, f"{name} F32: the logits of 64 positions are within 2e-4 of the known ones", f"off by {worst}")
    close(model.perplexity(golden.tokens.ravel(), 4, BOS), golden.four["ppl_half"], 1e-5, f"{name} F32: perplexity over 4 chunks")
    return first


def check_mtp(src, work, golden, without):
    """The MTP layer is there and right, and its presence changes nothing else."""
    if not (model := converted(src, work, "F32", "--mtp", "keep")):
        return
    with model:
        tap.ok(np.array_equal(model.logits(golden.tokens[0]), without),
               f"{src.name} F32: the same logits with the MTP layer as without it")
        loss = np.mean([llama.loss(model.mtp_logits(c), c[2:]).mean() for c in golden.tokens])
        close(loss, golden.four["mtp_loss"], 1e-5, f"{src.name} F32: the MTP layer's loss over 4 chunks")


def check_tokenizer(model, tokenizer, text, name):
    want = tokenizer.encode(text, add_special_tokens=False).ids
    got = model.tokenize(text, parse_special=True)
    tap.ok(got == want, f"{name}: llama.cpp's {len(want)} ids of a mixed text are those of tokenizers",
           lambda: common.id_difference(got, want, tokenizer))


def check_fixture(src, work):
    golden, tokenizer = Golden(src), Tokenizer.from_file(str(src / "tokenizer.json"))
    if model := converted(src, work, "F32"):
        with model:
            without = check_logits(model, golden, src.name)
            check_tokenizer(model, tokenizer, common.MIXED_TEXT, src.name)
        check_mtp(src, work, golden, without)


def check_perplexity(src, work):
    """nano-v3 over 64 chunks of the evaluation text."""
    text = common.FIXTURES / "text" / "eval.txt"
    if not text.is_file():
        tap.skip(f"perplexity of {src.name} over {CHUNKS} chunks", f"no {text}")
        return
    golden, tokenizer = Golden(src), Tokenizer.from_file(str(src / "tokenizer.json"))
    ids = tokenizer.encode(text.read_bytes().decode(), add_special_tokens=False).ids
    tap.ok(len(ids) == golden.all["tokens_in_text"], f"{text.name} has {golden.all['tokens_in_text']} tokens", len(ids))
    for recipe, relative in (("F32", 1e-5), ("Q8_0", 5e-3)):
        if model := converted(src, work, recipe):
            with model:
                close(model.perplexity(ids, CHUNKS, BOS), golden.all["ppl_half"], relative,
                      f"{src.name} {recipe}: perplexity over {CHUNKS} chunks")


for fixture in ("nano-v3", "tiny-v3", "tiny-v3.1"):
    if found := common.fixture(fixture):
        with common.workdir() as folder:
            check_fixture(found, folder)
    else:
        tap.skip(f"{fixture}: llama.cpp's logits", f"no {fixture} in tests/data or {common.FIXTURES}")
with common.workdir() as folder:
    check_perplexity(common.fixture("nano-v3"), folder)
tap.done()
