# SPDX-License-Identifier: MIT
"""transformers as the judge of logits: a checkpoint, or a GGUF file as the gguf package decodes it, run in F32 and in F64."""
import contextlib
import copy
import json
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import modeling_rope_utils
from transformers.modeling_layers import MtpLayer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TILE = 128
# A layer's tensors in a GGUF file that need nothing but another name; attn_k_b, attn_v_b and the experts need more.
GGUF_NAMES = {
    "attn_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q_a.weight": "self_attn.q_a_proj.weight", "attn_q_a_norm.weight": "self_attn.q_a_layernorm.weight",
    "attn_q_b.weight": "self_attn.q_b_proj.weight", "attn_q.weight": "self_attn.q_proj.weight",
    "attn_kv_a_mqa.weight": "self_attn.kv_a_proj_with_mqa.weight",
    "attn_kv_a_norm.weight": "self_attn.kv_a_layernorm.weight", "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight", "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight", "ffn_gate_inp.weight": "mlp.gate.weight",
    "exp_probs_b.bias": "mlp.gate.e_score_correction_bias", "ffn_down_exps.weight": "mlp.experts.down_proj",
    "ffn_gate_shexp.weight": "mlp.shared_experts.gate_proj.weight",
    "ffn_up_shexp.weight": "mlp.shared_experts.up_proj.weight",
    "ffn_down_shexp.weight": "mlp.shared_experts.down_proj.weight",
}
GGUF_ENDS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
             "output.weight": "lm_head.weight"}


def checkpoint_weights(src):
    """{name: F32 tensor} of a checkpoint folder; FP8 weights multiplied by the scales of their tiles in F32."""
    stored = {name: t for file in sorted(src.glob("*.safetensors")) for name, t in load_file(file).items()}
    weights = {}
    for name, tensor in stored.items():
        if name.endswith("_scale_inv"):
            continue
        weights[name] = tensor.float()
        if (scale := stored.get(name + "_scale_inv")) is not None:
            if scale.dtype == torch.uint8:      # a bare exponent
                scale = torch.exp2(scale.double() - 127)
            rows, columns = tensor.shape
            scale = scale.float().repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)
            weights[name] *= scale[:rows, :columns]
    return weights


def gguf_weights(path):
    """{name: F32 tensor} of a GGUF file under the checkpoint's names: keys and values together, experts stacked."""
    values = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
              for t in gguf.GGUFReader(path).tensors}
    weights = {GGUF_ENDS[name]: values.pop(name) for name in GGUF_ENDS}
    while values:
        layer = next(iter(values)).rsplit(".", 2)[0]        # blk.N
        prefix = f"model.layers.{layer.split('.')[1]}."
        mine = {name.removeprefix(layer + "."): values.pop(name) for name in list(values) if name.startswith(layer + ".")}
        # Keys are stored [head][rank][nope], values [head][v][rank]; kv_b_proj is [head][nope, then v][rank].
        kv_b = torch.cat([mine.pop("attn_k_b.weight").transpose(1, 2), mine.pop("attn_v_b.weight")], dim=1)
        weights[prefix + "self_attn.kv_b_proj.weight"] = kv_b.flatten(0, 1)
        if "ffn_up_exps.weight" in mine:
            pair = [mine.pop(f"ffn_{half}_exps.weight") for half in ("gate", "up")]
            weights[prefix + "mlp.experts.gate_up_proj"] = torch.cat(pair, dim=1)
        weights.update({prefix + GGUF_NAMES[name]: value for name, value in mine.items()})
    return weights


class _Double:
    """torch, but for the names transformers asks F32 by."""
    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def _in_double(model):
    """Norms, rotations, routers and softmax say F32 in the source whatever the model's type; within this they mean F64."""
    modules = [sys.modules[type(model).__module__], modeling_rope_utils]
    for module in modules:
        module.torch = _Double()
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        del torch.Tensor.float
        for module in modules:
            module.torch = torch


class Reference:
    """A checkpoint's architecture with the given weights. changes: fields of config.json to replace.
    unexpected and missing are the tensors that found no place, and the places that found no tensor."""

    def __init__(self, src, weights, **changes):
        fields = {**json.loads((src / "config.json").read_text()), **changes}
        fields.pop("quantization_config", None)     # the weights are F32 already
        self._weights, self._mtp = weights, f"model.layers.{fields['num_hidden_layers']}."
        self.model, info = getattr(transformers, fields["architectures"][0]).from_pretrained(
            None, config=transformers.AutoConfig.for_model(**fields), state_dict=dict(weights), dtype=torch.float32,
            output_loading_info=True, attn_implementation="eager", experts_implementation="eager")
        self.missing = sorted(info["missing_keys"])
        self.unexpected = sorted(n for n in info["unexpected_keys"] if not n.startswith(self._mtp))
        self._wide = None

    @property
    def routers(self):
        return [layer.mlp.gate for layer in self.model.model.layers if hasattr(layer.mlp, "gate")]

    def _double(self):
        """The same weights in F64; frequencies are computed, not loaded, and so once more."""
        if not self._wide:
            self._wide = copy.deepcopy(self.model).double()
            rotary = self._wide.model.rotary_emb
            self._wide.model.rotary_emb = type(rotary)(config=self._wide.config)
        return self._wide

    @torch.no_grad()
    def logits(self, chunks):
        """F32 logits of all positions of chunks [n][ctx], in order: [n * ctx][vocabulary]."""
        return self.model(torch.from_numpy(chunks).long(), use_cache=False).logits.flatten(0, 1).numpy()

    @torch.no_grad()
    def logits64(self, chunks):
        """The same in F64 throughout."""
        with _in_double(self.model):
            return self._double()(torch.from_numpy(chunks).long(), use_cache=False).logits.flatten(0, 1).numpy()

    def _run(self, chunks, modules, hook, inputs=None):
        """With inputs, those go into the layers, whatever comes out of the ones before."""
        given, layers = iter(inputs or ()), self.model.model.layers if inputs else ()
        handles = [module.register_forward_hook(hook) for module in modules]
        handles += [layer.register_forward_pre_hook(lambda _module, args: (next(given), *args[1:])) for layer in layers]
        self.logits(chunks)
        for handle in handles:
            handle.remove()

    def experts(self, chunks):
        """Chosen experts in ascending order, [router][token][used]."""
        chosen = []
        self._run(chunks, self.routers, lambda _module, _args, out: chosen.append(out[2].sort(dim=-1).values))
        return torch.stack(chosen).numpy()

    def layers(self, chunks, inputs=None):
        """What goes into each layer, and what comes out."""
        before, after = [], []

        def keep(_module, args, out):
            before.append(args[0])
            after.append(out)
        self._run(chunks, self.model.model.layers, keep, inputs)
        return before, after

    def expert_outputs(self, chunks, inputs):
        """For each layer with experts: what each makes of each token, before its gate, [expert][token][hidden]; and which
        tokens the router sends there, [expert][token]."""
        results = []

        def compute(module, args, _out):
            gate, up = (args[0] @ module.gate_up_proj.transpose(1, 2)).chunk(2, dim=-1)
            outputs = (torch.nn.functional.silu(gate) * up) @ module.down_proj.transpose(1, 2)
            results.append((outputs, torch.nn.functional.one_hot(args[1], len(outputs)).sum(dim=1).bool().T))
        modules = [layer.mlp.experts for layer in self.model.model.layers if hasattr(layer.mlp, "experts")]
        self._run(chunks, modules, torch.no_grad()(compute), inputs)
        return results

    def _mtp_layer(self):
        """transformers' MTP layer with the checkpoint's tensors; each must find its place (strict)."""
        own = {n.removeprefix(self._mtp): t for n, t in self._weights.items() if n.startswith(self._mtp)}
        decoder, norm = self.model.model.layers[-1], self.model.model.norm
        layer = MtpLayer(self.model.config, type(decoder), type(norm), len(self.model.model.layers) - 1)
        outside = {"enorm.weight": "enorm.weight", "hnorm.weight": "hnorm.weight", "eh_proj.weight": "eh_proj.weight",
                   "shared_head.norm.weight": "post_norm.weight"}
        state = {new: own.pop(old) for old, new in outside.items()}
        if any((own.pop(n) != self._weights[m]).any() for n, m in
               (("embed_tokens.weight", "model.embed_tokens.weight"), ("shared_head.head.weight", "lm_head.weight"))):
            raise ValueError("the MTP layer has an embedding or a head of its own")

        def stacked(part):
            return torch.stack([own.pop(f"mlp.experts.{e}.{part}_proj.weight")
                                for e in range(self.model.config.n_routed_experts)])
        state["mtp_block.mlp.experts.gate_up_proj"] = torch.cat([stacked("gate"), stacked("up")], dim=1)
        state["mtp_block.mlp.experts.down_proj"] = stacked("down")
        state.update({"mtp_block." + name: tensor for name, tensor in own.items()})
        layer.load_state_dict(state, strict=True)
        return layer.eval()

    @torch.no_grad()
    def mtp_logits(self, chunks):
        """F32 [n * (ctx - 2)][vocabulary]: position i predicts token i + 2 from the main model's hidden state i (after its
        last norm) and token i + 1."""
        ids = torch.from_numpy(chunks).long()
        hidden = self.model.model(ids, use_cache=False).last_hidden_state[:, :-2]
        n = hidden.shape[1]
        mask = torch.full((n, n), torch.finfo(torch.float32).min).triu(1).expand(len(ids), 1, n, n)
        positions = torch.arange(n)[None]
        rotation = self.model.model.rotary_emb(hidden, position_ids=positions)
        out = self._mtp_layer()(self.model.model.embed_tokens(ids[:, 1:-1]), hidden, position_embeddings=rotation,
                                attention_mask=mask, position_ids=positions, past_key_values=None)
        return self.model.lm_head(out).flatten(0, 1).numpy()
