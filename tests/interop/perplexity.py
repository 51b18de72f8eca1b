# SPDX-License-Identifier: MIT
"""llama.cpp's perplexity of our files held against pare verify's."""
import json
import subprocess

import numpy as np

import common
import llama
import tap


def check(path, tokens, title):
    """llama.cpp loads the file, and its perplexity of the first two chunks of a file of token ids is ours to 1 %."""
    done = subprocess.run([common.PARE, "verify", path, "--tokens", tokens, "--chunks", "2", "--json", "-q"], capture_output=True,
                          text=True, check=False)
    ours = json.loads(done.stdout)["base"]["ppl"] if done.returncode == 0 else float("nan")
    try:
        with llama.Llama(path) as model:
            theirs = model.perplexity(np.fromfile(tokens, dtype=np.int32)[:2 * 512], 2, 0)
    except RuntimeError as e:
        tap.ok(False, f"llama.cpp loads {path.name}", str(e))
        return
    tap.ok(abs(ours / theirs - 1) < 0.01, f"{title}: perplexity {ours:.4f} is within 1 % of llama.cpp's {theirs:.4f} "
           f"({100 * (ours / theirs - 1):+.3f} %)", done.stderr)
