# SPDX-License-Identifier: MIT
"""Every result in JSON, and every manifest, is valid by its schema in schemas/."""
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema

import common
import tap

NANO = common.fixture("nano-v3")


def valid(command, text, title):
    """The text is JSON that the command's schema accepts."""
    schema = json.loads(Path("schemas", f"{command}.json").read_text())
    try:
        jsonschema.validate(json.loads(text), schema)
        tap.ok(True, title)
    except (ValueError, jsonschema.ValidationError) as error:
        tap.ok(False, title, str(error)[:500])


with common.workdir() as tmp:
    out, split = Path(tmp, "x.gguf"), Path(tmp, "split.gguf")
    weights, older, weighed = (Path(tmp, name) for name in ("w.gguf", "w.dat", "weighed.gguf"))
    subprocess.run([common.TOOLS / "mkimatrix", NANO, weights, "--idle", "3", "--extra", "blk.99.none.weight", "--without", "blk.1.attn_q_a.weight"],
                   check=True)
    calibration = Path(tmp, "calibration")
    subprocess.run([common.PARE, "calibrate", NANO, "-o", calibration, "--tokens", NANO / "golden" / "tokens.bin", "--chunks", "1", "-q"],
                   check=True, capture_output=True)
    in_files = ["-r", "Q8_0", "--split-max-size", "400k"]
    for argv in (["inspect", NANO], ["inspect", NANO, "--tensors"], ["inspect", NANO / "model-00001-of-000003.safetensors"],
                 ["plan", NANO, "-r", "Q4_0"], ["plan", NANO, "--type", "output=F16", "--tensor-type", "attn_q=q6_K", "--via", "bf16"], ["convert", NANO, "-o", out, "-r", "Q8_0"], ["inspect", out], ["check", out],
                 ["check", NANO, "--target", "vllm"], ["check", out, "--target", "sglang"], ["check", out, "--target", "llama.cpp"],
                 ["diff", NANO, out, "--all"], ["plan", NANO, *in_files], ["status", out],
                 ["convert", NANO, "-o", split, *in_files, "--part", "1/2"], ["convert", NANO, "-o", split, *in_files, "--part", "2/2"],
                 ["convert", NANO, "-o", Path(tmp, "x.tar"), "--to", "pack"], ["inspect", Path(tmp, "x.tar")], ["check", Path(tmp, "x.tar")], ["plan", NANO, "--to", "pack"],
                 ["convert", NANO, "-o", Path(tmp, "y.tar"), "--to", "pack", "--experts", "1:0-3"], ["diff", Path(tmp, "x.tar"), Path(tmp, "y.tar")],
                 ["imatrix", weights, "-o", older], ["inspect", weights], ["inspect", older], ["imatrix", older, "-o", Path(tmp, "again.gguf")],
                 ["plan", NANO, "-r", "Q4_0", "--imatrix", weights], ["plan", NANO, "-r", "Q2_K", "--imatrix", older, "--imatrix-missing", "layer"],
                 ["plan", NANO, "-r", "Q4_0", "--calib", calibration], ["convert", NANO, "-o", Path(tmp, "fed.gguf"), "-r", "Q4_0", "--calib", calibration],
                 ["convert", NANO, "-o", weighed, "-r", "Q3_K_M", "--imatrix", weights], ["merge", *(f"{split}.part-{i}-of-2.manifest.json" for i in (1, 2))], ["check", split]):
        done = subprocess.run([common.PARE, *argv, "--json"], capture_output=True)
        words = " ".join(Path(a).name if isinstance(a, Path) or a.startswith(os.sep) else a for a in argv)
        valid(argv[0], done.stdout, f"pare {words} --json is valid by schemas/{argv[0]}.json")
    tokens = NANO / "golden" / "tokens.bin"
    part = Path(tmp, "part.json")
    for argv in (["verify", NANO, "--tokens", tokens, "--mtp"], ["verify", NANO, out, "--tokens", tokens, "--tensors", "--max-kld", "1"],
                 ["verify", NANO, out, "--tokens", tokens, "--by-layer", "1", "--kv", "f16"]):
        done = subprocess.run([common.PARE, *argv, "--chunks", "1", "-q", "--json"], capture_output=True)
        valid("report", done.stdout, f"the report of pare verify with {len(argv)} words is valid by schemas/report.json")
    subprocess.run([common.PARE, "verify", NANO, out, "--tokens", tokens, "-q", "--by-layer", "1", "--kv", "f16", "--part", "1/4", "-o", part], check=True)
    valid("part", part.read_text(), "a part of a verification is valid by schemas/part.json")
    for name, what in (("x.gguf", "a conversion"), ("x.tar", "a pack"), ("weighed.gguf", "one by an imatrix"), ("fed.gguf", "one by a calibration"), ("split.gguf.part-1-of-2", "a part"), ("split.gguf", "joined parts")):
        valid("manifest", Path(tmp, f"{name}.manifest.json").read_text(), f"the manifest of {what} is valid by schemas/manifest.json")
    valid("calibration", (calibration / "calibration.json").read_text(), "calibration.json is valid by schemas/calibration.json")
    recipe = Path(tmp, "recipe.json")
    done = subprocess.run([common.PARE, "plan", NANO, "--calib", calibration, "--fit", "10M", "--ctx", "256", "--pool", "Q4_0,Q8_0", "--gain-tokens", "64",
                           "--gain-layers", "1", "-q", "-o", recipe, "--json"], capture_output=True, text=True)
    valid("planned", done.stdout, "pare plan with a budget is valid by schemas/planned.json")
    valid("recipe", recipe.read_text(), "the recipe by schemas/recipe.json")
    valid("sensitivity", (calibration / "sensitivity.json").read_text(), "and what was measured by schemas/sensitivity.json")
    done = subprocess.run([common.PARE, "calibrate", NANO, "--tokens", tokens, "--plan", "--json"], capture_output=True, text=True)
    valid("calibration", done.stdout, "and so is the plan of one")
    made = Path(tmp, "m.json")
    subprocess.run([common.PARE, "manifest", NANO, "-o", made], check=True, stdout=subprocess.DEVNULL)
    valid("manifest", made.read_text(), "the manifest of a checkpoint is valid by schemas/manifest.json")
sys.exit(tap.done())
