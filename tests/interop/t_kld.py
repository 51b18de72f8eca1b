# SPDX-License-Identifier: MIT
"""llama-perplexity's base files (--kl-divergence-base), both ways: it reads ours, and we read its; the divergences are the same."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import common
import tap

NANO = common.fixture("nano-v3")
CTX, CHUNKS = 128, 4


def build():
    env = str(Path(sys.executable).parent.parent)
    built = subprocess.run(["sh", Path(__file__).with_name("llama_quantize.sh"), env, "llama-perplexity"], capture_output=True, text=True, check=False)
    tap.ok(built.returncode == 0, "llama-perplexity is built from llama.cpp's sources", built.stderr)
    return built.stdout.strip()


def pare(*argv):
    done = subprocess.run([common.PARE, *argv], capture_output=True, text=True, check=False)
    tap.ok(done.returncode == 0, " ".join(["pare", *(Path(a).name for a in map(str, argv))]), done.stderr)
    return json.loads(done.stdout) if "--json" in argv else None


def perplexity(program, title, *argv):
    done = subprocess.run([program, *map(str, argv), "-t", "2", "-c", str(CTX), "--chunks", str(CHUNKS), "-b", str(CTX), "--no-warmup"], capture_output=True,
                          text=True, check=False)
    text = done.stdout + done.stderr
    tap.ok(done.returncode == 0, title, text[-2000:])
    return text


def mean_kld(text):
    found = re.search(r"Mean\s+KLD:\s+([-0-9.e]+)", text)
    return float(found[1]) if found else float("nan")


def close(ours, theirs, what):
    tap.ok(abs(ours - theirs) < 1e-4, f"{what}: {ours:.6f} is llama-perplexity's {theirs:.6f} within 1e-4")


with common.workdir() as tmp:
    work = Path(tmp)
    text, base, rounded, cand = work / "text", work / "base.gguf", work / "q2.gguf", work / "cand.gguf"
    text.write_text("\n".join(p.read_text() for p in sorted(Path("docs").glob("*.md")))[:20000])
    program = build()
    # the candidate's weights are those of 2 bits, stored as F32: then llama.cpp rounds nothing on the way, as pare does not
    if program and common.convert(NANO, base, "F32") and common.convert(NANO, rounded, "Q2_K", "--search", "compat") and \
            common.convert(rounded, cand, "F32", "--requantize"):
        here = ["--text", text, "--ctx", str(CTX), "--chunks", str(CHUNKS), "--align", "llama", "-q"]
        ours, theirs = work / "ours.kld", work / "theirs.kld"
        pare("verify", base, *here, "--save-base", ours, "--base-form", "llama")
        log = perplexity(program, "llama-perplexity writes its base file", "-m", base, "-f", text, "--kl-divergence-base", theirs)
        one, two = np.fromfile(ours, np.uint8), np.fromfile(theirs, np.uint8)
        tap.ok(one.size == two.size, f"ours has its {two.size} bytes")
        head = 20 + 4 * CTX * CHUNKS
        ids = [np.frombuffer(x[20:head].tobytes(), np.int32).reshape(CHUNKS, CTX)[:, 1:] for x in (one, two)]
        tap.ok((one[:20] == two[:20]).all() and (ids[0] == ids[1]).all(), "with the same sizes and tokens, but for the first of each chunk, which is BOS")
        words = [np.frombuffer(x[head:].tobytes(), np.uint16).astype(int) for x in (one, two)]
        tap.ok((abs(words[0] - words[1]) <= 64).mean() > 0.99, "and codes that differ by rounding only")
        direct = pare("verify", base, cand, *here, "--no-local", "--json")["kld"]["mean"]
        judged = mean_kld(perplexity(program, "llama-perplexity accepts our base file", "-m", cand, "--kl-divergence", "--kl-divergence-base", ours))
        close(direct, judged, "what it finds with our file")
        close(pare("verify", ours, cand, "--json", "-q")["kld"]["mean"], judged, "what we find with our file")
        other = mean_kld(perplexity(program, "llama-perplexity judges by its own base file", "-m", cand, "--kl-divergence", "--kl-divergence-base", theirs))
        close(pare("verify", theirs, cand, "--json", "-q")["kld"]["mean"], other, "what we find with its file")
tap.done()
