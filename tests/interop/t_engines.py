# SPDX-License-Identifier: MIT
"""pare check --target transformers against what decides there: the compressed-tensors package's matching of ignored names and targets,
transformers' own matching of modules that are not converted. Both are asked about every module of a checkpoint, with the configuration as
pare wrote it and with others, and must blame the same modules."""
import json
import subprocess
from pathlib import Path

import torch
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import is_match, match_targets
from transformers.quantizers.quantizers_utils import should_convert_module

import common
import quantized
import tap

NANO = common.fixture("nano-v3")
LINEAR = torch.nn.Linear(1, 1, device="meta")
CODES = (".weight_packed", ".qweight", ".weight")


def modules(folder):
    """Linear modules of the layers that transformers builds, and whether they are stored quantized; of experts only the first."""
    shapes, layers = {}, json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    for shard in folder.glob("*.safetensors"):
        with open(shard, "rb") as f:
            shapes.update(json.loads(f.read(int.from_bytes(f.read(8), "little"))))
    found = {}
    shapes.pop("__metadata__", None)
    for name, info in shapes.items():
        module, end = name.rsplit(".", 1)
        step = module.split(".")
        if "." + end not in CODES or len(info["shape"]) != 2 or module in ("model.embed_tokens",) or module.endswith("mlp.gate"):
            continue
        if step[1:2] == ["layers"] and (int(step[2]) >= layers or (".experts." in module and step[5] != "0")):
            continue
        found[module] = end != "weight" or info["dtype"] in ("I8", "F8_E4M3")
    return found


def by_package(config, module):
    """Whether the package quantizes a module."""
    c = QuantizationConfig.model_validate(config)
    targets = [t for g in c.config_groups.values() for t in g.targets]
    return bool(match_targets(module, LINEAR, targets)) and not is_match(module, LINEAR, c.ignore)


def by_transformers(config, module):
    return module != "lm_head" and should_convert_module(joined(module), config.get("modules_to_not_convert"))


def by_awq(config, module):
    """Only linear layers are converted, and experts are one module that is none."""
    return by_transformers(config, module) and joined(module) == module


def joined(module):
    """What pare blames in place of one expert's matrix: all of them."""
    return module.rsplit(".", 2)[0] if ".experts.0." in module else module


def held(folder, edit, decide, what):
    """The same modules are blamed with this configuration."""
    path = folder / "config.json"
    text = path.read_text()
    whole = json.loads(text)
    edit(whole["quantization_config"])
    path.write_text(json.dumps(whole))
    done = subprocess.run([common.PARE, "check", "--target", "transformers", "--json", folder], capture_output=True, text=True, check=False)
    path.write_text(text)
    want = {joined(m) for m, stored in modules(folder).items() if decide(whole["quantization_config"], m) != stored}
    if done.returncode == 3:    # pare reads no module that is quantized and not said to be
        tap.ok(any(m in done.stderr for m in want), f"{what}: is refused, naming a module that the package leaves out", done.stderr)
        return
    got = {joined(f["tensor"].rsplit(".", 1)[0]) for f in json.loads(done.stdout)["findings"]}
    tap.ok(got == want, f"{what}: {len(want)} modules are blamed", f"only by pare: {sorted(got - want)}\nonly by the package: {sorted(want - got)}")


def ignoring(*rules):
    return lambda q: q.update(ignore=q["ignore"] + list(rules))


def without(word):
    return lambda q: q.update(ignore=[r for r in q["ignore"] if word not in r])


def targeting(*targets):
    def edit(q):
        q["config_groups"]["group_x"] = {**q["config_groups"]["group_0"], "targets": list(targets)}
    return edit


def findings(engine, folder):
    done = subprocess.run([common.PARE, "check", "--target", engine, "--json", folder], capture_output=True, text=True, check=False)
    return [f["text"] for f in json.loads(done.stdout)["findings"] if "is missing" not in f["text"]] # these folders have no tokenizer


with common.workdir() as tmp:
    for recipe in ("W4A16", "W4A16_EXPERTS", "W4A16_FP8", "W8A8", "NVFP4"):
        out = Path(tmp, recipe)
        subprocess.run([common.PARE, "convert", NANO, "-o", out, "--to", "compressed-tensors", "--recipe", recipe, "-q"], check=True, stdout=subprocess.DEVNULL)
        for what, edit in (("as written", lambda q: None), ("kv_b_proj not left out", without("kv_b_proj")), ("lm_head not left out", without("lm_head")),
                           ("a pattern more", ignoring("re:.*o_proj")), ("a pattern that is no prefix", ignoring("re:o_proj")),
                           ("a name more", ignoring("model.layers.1.self_attn.o_proj")), ("a part of a name", ignoring("o_proj")),
                           ("a class", ignoring("Linear")), ("a pattern for one layer", ignoring(r"re:.*layers\.(0|2)\..*q_b_proj$")),
                           ("experts of one layer", ignoring(r"re:.*layers\.1\.mlp\.experts.*")), ("nothing left out", lambda q: q.update(ignore=[])),
                           ("another target", targeting("re:.*eh_proj$"))):
            held(out, edit, by_package, f"{recipe}, {what}")
    for target, words in (("awq", []), ("awq", ["--recipe", "W4A16_EXPERTS"]), ("fp8", ["--type", "attn_output=BF16"])):
        out = Path(tmp, "-".join([target, *words]))
        subprocess.run([common.PARE, "convert", NANO, "-o", out, "--to", target, *words, "-q"], check=True, stdout=subprocess.DEVNULL)
        for what, names in (("as written", None), ("'mlp.gate'", ["mlp.gate"]), ("a layer", ["model.layers.1"]), ("the end of a name", ["o_proj"]),
                            ("the end of a step", ["proj"]), ("a pattern", [r"model\.layers\.\d+\.self_attn\.q"]), ("a step's begin", ["model.layers.1.self_attn.kv_b"])):
            held(out, lambda q: names and q.update(modules_to_not_convert=names + q.get("modules_to_not_convert", [])), by_awq if target == "awq" else by_transformers,
                 f"{' '.join([target, *words])}, {what}")
    stored, decoded = quantized.w4afp8(quantized.Source(NANO), Path(tmp))
    tap.ok(not findings("sglang", stored), "SGLang's own INT4 experts beside FP8 are its own", lambda: findings("sglang", stored)[:5])
    tap.ok(any("no quantization method 'w4afp8'" in f for f in findings("vllm", stored)), "and nobody else's")
tap.done()
