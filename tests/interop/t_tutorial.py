# SPDX-License-Identifier: MIT
"""The tutorial's way to a served quant, to its end: the blocks up to the server's line are run as they stand, and that line's model and
options are given to llama.cpp's server, which a client asks on this machine."""
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import common
import tap
import xllamacpp


def page_until_server(text):
    """The fenced blocks before the first line of llama-server, and that line's words."""
    before, line = re.split(r"^    (?=llama-server )", text, maxsplit=1, flags=re.MULTILINE)[:2]
    blocks = re.findall(r"^```sh\n(.*?)^```$", before, flags=re.MULTILINE | re.DOTALL)
    return blocks, line.splitlines()[0].split()


def ask(address, path, question=None):
    data = json.dumps(question).encode() if question else None
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def main():
    blocks, server = page_until_server(Path("docs/tutorial.md").read_text())
    options = dict(zip(server[1::2], server[2::2]))
    tap.ok(blocks and options.keys() == {"-m", "-c"}, f"the tutorial has {len(blocks)} blocks before {' '.join(server)}")
    root = Path.cwd()
    pare = str(Path(common.PARE).resolve())
    with common.workdir() as work:
        for folder in ("docs", "base", "convert", "tests"):
            (Path(work) / folder).symlink_to(root / folder)
        script = 'set -eu\npare() { "$PARE" "$@"; }\n' + "".join(blocks)
        p = subprocess.run(["sh", "-c", script], cwd=work, env={**os.environ, "PARE": pare}, capture_output=True, text=True, check=False)
        if not tap.ok(p.returncode == 0, "they run", p.stdout + p.stderr):
            return
        params = xllamacpp.CommonParams()
        params.model.path = str(Path(work) / options["-m"])
        params.n_ctx = int(options["-c"])
        params.n_parallel = 1
        params.warmup = False
        running = xllamacpp.Server(params)
        url = running.listening_address
        tap.ok(ask(url, "/health")["status"] == "ok", "llama.cpp's server loads the tutorial's GGUF")
        got = ask(url, "/completion", {"prompt": "The file is", "n_predict": 8, "temperature": 0})
        tap.ok(got["tokens_predicted"] == 8 and got["content"].strip(), "and goes on with a text by 8 tokens", json.dumps(got)[:400])
        models = ask(url, "/v1/models")["data"]
        tap.ok(len(models) == 1, "under the interface that OpenAI's clients speak", json.dumps(models)[:400])


main()
tap.done()
