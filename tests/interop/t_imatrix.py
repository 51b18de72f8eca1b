# SPDX-License-Identifier: MIT
"""Importance matrices that llama.cpp's llama-imatrix made: read, written and added up by pare as by llama-imatrix itself, and
whole files quantized with them, in type and bytes what llama-quantize makes with them."""
import subprocess
import sys
from pathlib import Path

import numpy as np

import common
import tap

PRESETS = ("Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
           "Q8_0", "IQ4_NL", "IQ4_XS", "MXFP4_MOE")
CTX = 128
# what llama-quantize writes with the path it was given
PATHS = ("quantize.imatrix.file", "quantize.imatrix.dataset")


class Tools:
    def __init__(self):
        self.quantize, self.imatrix = (self._built(name) for name in ("llama-quantize", "llama-imatrix"))

    @staticmethod
    def _built(name):
        env = str(Path(sys.executable).parent.parent)
        script = Path(__file__).with_name("llama_quantize.sh")
        built = subprocess.run(["sh", script, env, name], capture_output=True, text=True, check=False)
        tap.ok(built.returncode == 0, f"{name} is built from llama.cpp's sources", built.stderr)
        return built.stdout.strip()


def text_of_repository(out):
    """Something to run a model over: the documentation."""
    out.write_text("\n".join(p.read_text() for p in (Path("README.md"), *sorted(Path("docs").glob("*.md")))))
    return out


def same_bytes(a, b, title):
    tap.ok(Path(a).read_bytes() == Path(b).read_bytes(), title)


def same_file(mine, theirs, title):
    """Every tensor in type and bytes, and the keys of the imatrix but for paths."""
    ours, other = common.Gguf(mine), common.Gguf(theirs)
    wrong = [f"{n}: {ours.tensors[n].tensor_type.name}, theirs {t.tensor_type.name}" for n, t in other.tensors.items()
             if n not in ours.tensors or ours.tensors[n].tensor_type != t.tensor_type or ours.tensors[n].data.tobytes() != t.data.tobytes()]
    tap.ok(len(ours.tensors) == len(other.tensors) and not wrong, f"{title}: our {len(ours.tensors)} tensors are llama-quantize's",
           "\n".join(wrong[:20]))
    keys = [k for k in (*other.keys, *ours.keys) if k.startswith("quantize.")]
    differ = [f"{k}: {ours.keys.get(k)} instead of {other.keys.get(k)}" for k in keys if k not in PATHS and ours.keys.get(k) != other.keys.get(k)]
    differ += [k for k in PATHS if ours.value(k) != Path(other.value(k) or "").name]
    tap.ok(keys and not differ, f"{title}: so are its keys of the imatrix, paths cut to names", "\n".join(differ))


def compare(tools, source, f32, imatrix, kind, work):
    """One preset with one imatrix: theirs from our F32 file, ours straight from the checkpoint."""
    theirs, mine = work / "theirs.gguf", work / "mine.gguf"
    what = f"{source.name} {kind} {imatrix.name}"
    if tap.run(f"llama-quantize makes {what}", [tools.quantize, "--imatrix", imatrix, f32, theirs, kind, "2"]) and \
            tap.run(f"pare makes {what}", [common.PARE, "convert", source, "-o", mine, "-r", kind, "--search", "compat", "--imatrix", imatrix,
                                           "-q", "--force"]):
        same_file(mine, theirs, what)


def same_quantized(tools, f32, a, b, work):
    """llama-quantize takes two imatrix files for the same."""
    outs = [work / f"by-{i}.gguf" for i in range(2)]
    for out, imatrix in zip(outs, (a, b)):
        tap.run(f"llama-quantize takes {imatrix.name}", [tools.quantize, "--imatrix", imatrix, f32, out, "Q4_K_M", "2"])
    x, y = (common.Gguf(out) for out in outs)
    tap.ok(all(t.data.tobytes() == y.tensors[n].data.tobytes() for n, t in x.tensors.items()),
           f"{f32.stem}: it makes the same tensors by {a.name} and {b.name}")


def check_forms(tools, f32, made, dat, work):
    """Our writing of both forms against llama-imatrix's."""
    pare = [common.PARE, "imatrix"]
    tap.run("pare inspect shows an imatrix in GGUF", [common.PARE, "inspect", made])
    tap.run("and in the older form", [common.PARE, "inspect", dat])
    ours_dat, ours_gguf, back = (work / n for n in ("ours.dat", "ours.gguf", "back.gguf"))
    tap.run("pare writes the older form", [*pare, made, "-o", ours_dat])
    same_bytes(ours_dat, dat, f"{f32.stem}: its bytes are those that llama-imatrix writes")
    tap.run("pare writes GGUF", [*pare, made, "-o", ours_gguf])
    same_bytes(ours_gguf, made, f"{f32.stem}: its bytes are llama-imatrix's, too")
    tap.run("pare makes GGUF of the older form", [*pare, dat, "-o", back])
    same_quantized(tools, f32, dat, back, work)
    same_quantized(tools, f32, dat, ours_dat, work)


def check_sum(tools, f32, first, second, work):
    ours, theirs = work / "sum.gguf", work / "their-sum.gguf"
    tap.run("pare adds two imatrices up", [common.PARE, "imatrix", first, second, "-o", ours])
    argv = [tools.imatrix, "-m", f32, "--in-file", first, "--in-file", second, "-o", theirs, "-c", CTX, "-b", CTX]
    if not tap.run("llama-imatrix adds them up", argv):
        return
    x, y = common.Gguf(ours), common.Gguf(theirs)
    wrong = [n for n, t in y.tensors.items() if n not in x.tensors or not np.array_equal(x.tensors[n].data, t.data)]
    tap.ok(len(x.tensors) == len(y.tensors) > 0 and not wrong, f"the sum's {len(x.tensors)} tensors are llama-imatrix's", "\n".join(wrong))
    tap.ok(x.keys == y.keys, "and so are its keys", f"{x.keys}\n{y.keys}")


def collect(tools, f32, text, out, *options):
    argv = [tools.imatrix, "-m", f32, "-f", text, "-o", out, "-c", CTX, "-b", CTX, "--no-ppl", "-t", 2, "-ngl", 0, *options]
    return tap.run(f"llama-imatrix makes {out.name} of {f32.stem}", argv)


def idle_experts(path):
    counts = [t.data for n, t in common.Gguf(path).tensors.items() if n.endswith("exps.weight.counts")]
    return sum(int((c == 0).sum()) for c in counts)


def check_model(tools, source, text, work):
    f32, few, many, dat = (work / n for n in (f"{source.name}.gguf", "few.gguf", "many.gguf", "few.dat"))
    if not common.convert(source, f32, "F32"):
        return
    short = work / "short.txt"
    short.write_text("the the the the " * 200)
    if not (collect(tools, f32, short, few, "--chunks", 1) and collect(tools, f32, short, dat, "--chunks", 1, "--output-format", "dat") and
            collect(tools, f32, text, many, "--chunks", 12, "--process-output")):
        return
    tap.note(f"{source.name}: experts without a token, of one chunk {idle_experts(few)}, of twelve {idle_experts(many)}")
    check_forms(tools, f32, few, dat, work)
    check_sum(tools, f32, few, many, work)
    for kind in PRESETS:
        compare(tools, source, f32, few, kind, work)
    for kind in ("Q2_K", "Q4_K_M", "IQ4_XS"):
        compare(tools, source, f32, many, kind, work)
    compare(tools, source, f32, dat, "Q3_K_M", work)
    for path in work.iterdir():
        if path != text:
            path.unlink()


with common.workdir() as tmp:
    programs, folder = Tools(), Path(tmp)
    if programs.imatrix and programs.quantize:
        words = text_of_repository(folder / "text.txt")
        check_model(programs, common.fixture("nano-v3"), words, folder)
        if (tiny := common.fixture("tiny-v3")):
            check_model(programs, tiny, words, folder)
        else:
            tap.skip("all presets of tiny-v3 with an imatrix", "it is not there")
tap.done()
