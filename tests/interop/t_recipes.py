# SPDX-License-Identifier: MIT
"""What changes a preset's types or values, given to us and to llama-quantize alike: lists of tensor types, a BF16 file in place of
an F32 one, an output that is the embedding. Whole files are equal in type and bytes. Recipe files are valid by their schema."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema

import common
import tap

PRESETS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0",
           "IQ4_XS", "IQ4_NL", "MXFP4_MOE")
# Order, lower case, overlaps, entries without a match, types that do not fit attn_k_b's rows, quirks of the expressions
LISTS = (
    ("attn_q_a=q8_0 ATTN_Q=Q5_1\nffn_(up|gate)_exps=iq4_nl\tffn_.*exps=q3_K never=f16", "Q4_K_M"),
    ("blk\\.[02]\\.ffn_down=q6_K\r\nblk.1.=Q5_K\n^output=F16 ^token=bf16 norm=q8_0 ffn_gate_inp=q4_0", "Q3_K_M"),
    ("BLK\\.\\D\\.attn=q4_1 attn_k_b=q6_K attn_v_b=iq4_xs weight$=q2_K", "IQ4_XS"),
    ("(?:ffn|attn)_[a-d]=mxfp4 ^blk[.](1|3)[.]=q4_0 [^]v_b=q5_0 \\bffn_up\\b=f32", "Q5_K_S"),
)


class Work:
    """One checkpoint, what llama-quantize makes of its F32 and BF16 files, and what we make of it."""

    def __init__(self, quantize, source, folder):
        self.quantize, self.source, self.folder = quantize, source, folder
        self.inputs = {kind: folder / f"{kind}.gguf" for kind in ("F32", "BF16")}
        self.ready = all(common.convert(source, path, kind) for kind, path in self.inputs.items())

    def same(self, what, preset, from_kind, their_options, our_options):
        theirs, ours = self.folder / "theirs.gguf", self.folder / "ours.gguf"
        title = f"{self.source.name} {preset} {what}"
        if tap.run(f"llama-quantize makes {title}", [self.quantize, *their_options, self.inputs[from_kind], theirs, preset, "2"]) and \
                common.convert(self.source, ours, preset, "--search", "compat", "--force", "-q", *our_options):
            common.same_tensors(common.Gguf(ours), common.Gguf(theirs), title)


def check_lists(work):
    types = work.folder / "types"
    for number, (text, preset) in enumerate(LISTS, 1):
        types.write_bytes(text.encode())
        options = ("--tensor-type-file", str(types))
        work.same(f"with list {number} of tensor types", preset, "F32", options, options)
    options = ("--tensor-type", "blk.1.attn_q=q8_0", "--tensor-type-file", str(types), "--tensor-type", "attn_q=q2_K", "--pure")
    work.same("with list and options, pure", "Q4_0", "F32", options, options)
    work.same("with types of embedding and output", "Q4_K_S", "F32",
              ("--token-embedding-type", "q5_0", "--output-tensor-type", "f16", "--tensor-type", "output=q4_0"),
              ("--type", "token_embd=Q5_0", "--type", "output=F16", "--tensor-type", "output=q4_0"))


def check_via(work):
    for preset in PRESETS:
        work.same("via bf16", preset, "BF16", (), ("--via", "bf16"))


def check_tied(quantize, source, folder):
    tied = folder / "tied"
    shutil.copytree(source, tied, ignore=shutil.ignore_patterns("golden"))
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    work = Work(quantize, tied, folder)
    for preset in ("Q4_K_M", "Q2_K", "Q8_0", "IQ4_XS", "Q4_0", "MXFP4_MOE"):
        work.same("whose embedding is its output", preset, "F32", (), ())


def check_schema(folder):
    """Valid by the schema is what pare takes, and what it refuses by form is not valid."""
    schema = json.loads(Path("schemas", "recipe.json").read_text())
    rule = {"roles": ["ffn_down_exps"], "layers": "0-1,2", "experts": "0-7", "name": "exps", "type": "Q6_K"}
    for good, recipe in ((True, {"base": "Q4_K_M", "rules": [rule], "name": "a"}), (True, {"default": "Q4_K"}),
                         (False, {"base": "Q4_K_M", "default": "Q4_K"}), (False, {"base": "Q4_K_M", "rules": [{**rule, "layers": 1}]}),
                         (False, {"base": "Q4_K_M", "rules": [{**rule, "kind": 1}]}), (False, {"base": "Q4_K_M", "rules": [{"layers": "1"}]}),
                         (False, {"rules": []}), (False, {"base": "Q4_K_M", "rules": [{**rule, "roles": []}]}), (False, [])):
        path = folder / "recipe.json"
        path.write_text(json.dumps(recipe))
        done = subprocess.run([common.PARE, "plan", common.fixture("nano-v3"), "-r", path], capture_output=True, check=False)
        valid = jsonschema.Draft202012Validator(schema).is_valid(recipe)
        tap.ok(valid == good and done.returncode == (0 if good else 3),
               f"{json.dumps(recipe)[:90]}: {'valid by the schema and taken' if good else 'neither valid nor taken'}", done.stderr)


with common.workdir() as tmp:
    check_schema(Path(tmp))
env = str(Path(sys.executable).parent.parent)
built = subprocess.run(["sh", Path(__file__).with_name("llama_quantize.sh"), env], capture_output=True, text=True, check=False)
if tap.ok(built.returncode == 0, "llama-quantize is built from llama.cpp's sources", built.stderr):
    program = built.stdout.strip()
    for fixture in ("nano-v3", "tiny-v3"):
        if not (found := common.fixture(fixture)):
            tap.skip(f"{fixture}: recipes", "it is not there")
            continue
        with common.workdir() as tmp:
            if (made := Work(program, found, Path(tmp))).ready:
                check_lists(made)
                check_via(made)
    with common.workdir() as tmp:
        check_tied(program, common.fixture("nano-v3"), Path(tmp))
tap.done()
