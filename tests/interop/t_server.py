# SPDX-License-Identifier: MIT
"""A running llama.cpp server (xllamacpp) judged by pare verify --server against a base file, as verify judges the same weights itself."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import common
import tap

NANO = common.fixture("nano-v3")
VOCAB, CTX, CHUNKS = 4096, 64, 2
SERVER = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.n_ctx, p.n_parallel, p.warmup, p.cpuparams.n_threads = sys.argv[1], 0, 512, 2, False, 2
server = xllamacpp.Server(p)
print("ADDRESS", server.listening_address, flush=True)
time.sleep(600)
"""


def pare(*argv):
    done = subprocess.run([common.PARE, *argv], capture_output=True, text=True, check=False, env={**os.environ, "no_proxy": "127.0.0.1"})
    tap.ok(done.returncode == 0, " ".join(["pare", *(Path(a).name for a in map(str, argv))]), done.stderr)
    return json.loads(done.stdout) if done.returncode == 0 and "--json" in argv else None


def serve(model):
    """The process and its address, or None."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, model], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    end = time.time() + 60
    while time.time() < end:
        line = process.stdout.readline()
        if line.startswith("ADDRESS"):
            return process, line.split()[1]
        if not line:
            break
    process.kill()
    return None, None


with common.workdir() as tmp:
    work = Path(tmp)
    base, rounded, cand = work / "base", work / "q2.gguf", work / "cand.gguf"
    # weights of 2 bits stored as F32: llama.cpp then rounds nothing on the way
    if common.convert(NANO, rounded, "Q2_K", "--search", "compat") and common.convert(rounded, cand, "F32", "--requantize"):
        here = ["--text", "README.md", "--ctx", str(CTX), "--chunks", str(CHUNKS), "-q"]
        pare("verify", NANO, *here, "--save-base", base, "--base-form", "exact")
        truth = pare("verify", base, cand, "--json", "-q")
        process, address = serve(cand)
        tap.ok(address is not None, "xllamacpp's server listens")
        if address:
            whole = pare("verify", base, "--server", address, "--server-top", str(VOCAB), "--json", "-q")
            few = pare("verify", base, "--server", address, "--server-top", "50", "--json", "-q")
            both = pare("verify", base, "--server", address, "--server-top", "50", "--server-parallel", "2", "--json", "-q")
            process.kill()
            if whole and few:
                ours, theirs = truth["kld"]["mean"], whole["kld"]["mean"]
                tap.ok(abs(theirs / ours - 1) < 2e-3, f"with the whole vocabulary its divergence {theirs:.6f} is verify's {ours:.6f} within 0.2 %")
                tap.ok(abs(whole["candidate"]["ppl"] / truth["candidate"]["ppl"] - 1) < 1e-3, "so is its perplexity within 0.1 %")
                tap.ok(whole["top1_agreement"] == truth["top1_agreement"], "and its share of same best tokens")
                bound = few["kld"]["mean"]
                tap.ok(0.4 * theirs < bound <= theirs, f"with 50 tokens it is at least {bound:.6f}")
                tap.ok(both is not None and abs(both["kld"]["mean"] / bound - 1) < 1e-3, "and the same from two slots at a time")
                tap.ok("ppl_ratio" not in few and few["untold"]["targets"] > 0, "and of tokens that were not told nothing is guessed")
tap.done()
