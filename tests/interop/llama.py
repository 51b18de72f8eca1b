# SPDX-License-Identifier: MIT
"""llama.cpp as a client: the C interface of libllama and libggml, called through cffi.

The code is the shared object inside the xllamacpp wheel: a Python extension that happens to export the whole C
interface. The declarations come from llama_cpp_py_sync, generated from llama.h one build earlier; what they lack of
ggml.h is declared here. _check_declarations() holds the two against each other before anything else is called.
"""
import importlib.util
import os
from pathlib import Path

import numpy as np
from llama_cpp_py_sync._cffi_bindings import ffi

# llama.h's flags; the generated declarations number them 0, 1, 2, ...
ATTR_UNKNOWN, ATTR_UNUSED, ATTR_NORMAL, ATTR_CONTROL, ATTR_USER_DEFINED, ATTR_BYTE = (1 << i for i in range(6))

ffi.cdef("""
    typedef void (*ggml_to_float_t)(const void *x, float *y, int64_t k);
    struct ggml_type_traits {
        const char *type_name;
        int64_t blck_size, blck_size_interleave;
        size_t type_size;
        bool is_quantized;
        ggml_to_float_t to_float;
        void *from_float_ref;
    };
    const struct ggml_type_traits *ggml_get_type_traits(enum ggml_type type);
    bool ggml_quantize_requires_imatrix(enum ggml_type type);
    size_t ggml_quantize_chunk(enum ggml_type type, const float *src, void *dst, int64_t start, int64_t nrows,
                               int64_t n_per_row, const float *imatrix);
    // llama-ext.h: hidden states for the MTP layer, C++ functions under their symbols
    void _Z26llama_set_embeddings_nextnP13llama_contextbb(struct llama_context *, bool value, bool masked);
    float *_Z26llama_get_embeddings_nextnP13llama_context(struct llama_context *);
""")

_lines = []


@ffi.callback("void(enum ggml_log_level, const char *, void *)")
def _on_log(_level, text, _user):
    _lines.append(ffi.string(text).decode(errors="replace"))


def log_tail(n=20):
    """The last lines llama.cpp logged: shown when a test failed, silent otherwise."""
    return "\n".join("".join(_lines).splitlines()[-n:])


def _open_library():
    # The extension's undefined Py* symbols are found in the running interpreter; it need not be imported.
    folder = Path(importlib.util.find_spec("xllamacpp").origin).parent
    library = ffi.dlopen(str(folder / "xllamacpp.abi3.so"))
    library.llama_log_set(_on_log, ffi.NULL)
    library.llama_backend_init()
    return library


lib = _open_library()
set_nextn = lib._Z26llama_set_embeddings_nextnP13llama_contextbb
get_nextn = lib._Z26llama_get_embeddings_nextnP13llama_context


def type_id(name):
    return getattr(lib, "GGML_TYPE_" + name)


def _check_declarations():
    """Members at the ends of the two parameter structs, and one row of ggml's type table, have known defaults."""
    m, c = lib.llama_model_default_params(), lib.llama_context_default_params()
    t = lib.ggml_get_type_traits(type_id("Q4_0"))
    seen = (m.split_mode, m.use_extra_bufts, m.load_mtp, c.n_batch, c.type_k, c.type_v, c.offload_kqv, c.n_samplers,
            ffi.string(t.type_name), t.blck_size, t.type_size)
    want = (lib.LLAMA_SPLIT_MODE_LAYER, True, False, 2048, type_id("F16"), type_id("F16"), True, 0, b"q4_0", 32, 18)
    if seen != want:
        raise RuntimeError(f"declarations do not fit the library: {seen}, not {want}")


_check_declarations()


def quantize(rows, type_name, importance=None):
    """Bytes of F32 rows [n][cols] in a ggml type, with an importance for each of the columns or without."""
    t, rows = type_id(type_name), np.ascontiguousarray(rows, dtype=np.float32)
    n, cols = rows.shape
    traits = lib.ggml_get_type_traits(t)
    if cols % traits.blck_size or (importance is None and lib.ggml_quantize_requires_imatrix(t)):
        raise ValueError(f"{type_name} cannot take rows of {cols} without an importance matrix")
    if importance is not None:
        importance = np.ascontiguousarray(importance, dtype=np.float32)
    weights = ffi.NULL if importance is None else ffi.cast("float *", importance.ctypes.data)
    out = np.empty(n * (cols // traits.blck_size) * traits.type_size, dtype=np.uint8)
    written = lib.ggml_quantize_chunk(t, ffi.cast("float *", rows.ctypes.data), ffi.cast("void *", out.ctypes.data),
                                      0, n, cols, weights)
    if written != out.nbytes:
        raise RuntimeError(f"ggml wrote {written} bytes, not {out.nbytes}")
    return out.tobytes()


def dequantize(data, type_name, count):
    """F32 values of the first count weights stored in data."""
    traits = lib.ggml_get_type_traits(type_id(type_name))
    if traits.to_float == ffi.NULL:     # F32, which ggml has nothing to decode in
        return np.frombuffer(data, dtype=np.float32, count=count).copy()
    if count % traits.blck_size or len(data) < count // traits.blck_size * traits.type_size:
        raise ValueError(f"{len(data)} bytes do not hold {count} weights of {type_name}")
    out = np.empty(count, dtype=np.float32)
    traits.to_float(ffi.from_buffer(data), ffi.cast("float *", out.ctypes.data), count)
    return out


def loss(logits, targets):
    """Negative log-likelihood of the target of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    norm = np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))
    return norm - shifted[np.arange(len(targets)), targets]


def _floats(pointer, rows, columns):
    return np.frombuffer(ffi.buffer(pointer, rows * columns * 4), dtype=np.float32).reshape(rows, columns).copy()


class Llama:
    """One loaded model with one context of n_ctx tokens. Raises RuntimeError when llama.cpp refuses the file."""

    def __init__(self, path, mtp=False, vocab_only=False, n_ctx=512):
        _lines.clear()
        params = lib.llama_model_default_params()
        params.load_mtp, params.vocab_only, params.check_tensors = mtp, vocab_only, not vocab_only
        self._model = lib.llama_model_load_from_file(os.fsencode(path), params)
        if self._model == ffi.NULL:
            raise RuntimeError(f"llama.cpp refuses {path}:\n{log_tail()}")
        self.vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)
        self.n_ctx = n_ctx
        self._contexts = []
        if not vocab_only:
            self._main = self._open_context()

    def _open_context(self, **settings):
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.n_ctx
        params.n_threads = params.n_threads_batch = os.cpu_count()
        params.type_k = params.type_v = lib.GGML_TYPE_F32   # the default cache is F16, which shows in the logits
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        for name, value in settings.items():
            setattr(params, name, value)
        context = lib.llama_init_from_model(self._model, params)
        if context == ffi.NULL:
            raise RuntimeError(f"llama.cpp makes no context:\n{log_tail()}")
        self._contexts.append(context)
        return context

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self._contexts:
            lib.llama_free(self._contexts.pop())
        lib.llama_model_free(self._model)

    def tokens(self):
        """[(text, attribute flags)] by id."""
        return [(ffi.string(lib.llama_vocab_get_text(self.vocab, i)).decode(errors="replace"),
                 int(lib.llama_vocab_get_attr(self.vocab, i))) for i in range(self.n_vocab)]

    def special(self):
        """Ids and flags the loader settled on."""
        v = self.vocab
        return dict(bos=lib.llama_vocab_bos(v), eos=lib.llama_vocab_eos(v), pad=lib.llama_vocab_pad(v),
                    add_bos=bool(lib.llama_vocab_get_add_bos(v)), add_eos=bool(lib.llama_vocab_get_add_eos(v)))

    def tokenize(self, text, add_special=False, parse_special=False):
        raw = text.encode()
        out = ffi.new("llama_token[]", len(raw) + 2)    # a token is a byte at least; BOS and EOS come on top
        n = lib.llama_tokenize(self.vocab, raw, len(raw), out, len(out), add_special, parse_special)
        if n < 0:
            raise RuntimeError(f"llama_tokenize returns {n}")
        return list(out[0:n])

    def _decode(self, context, tokens, hidden=None):
        """F32 logits of all positions, [n][n_vocab], from position 0 of an emptied context."""
        n = len(tokens)
        ids, wanted = ffi.new("llama_token[]", [int(t) for t in tokens]), ffi.new("int8_t[]", [1] * n)
        rows = ffi.NULL if hidden is None else ffi.from_buffer("float[]", np.ascontiguousarray(hidden))
        batch = ffi.new("struct llama_batch *", dict(n_tokens=n, token=ids, embd=rows, logits=wanted))
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        if (rc := lib.llama_decode(context, batch[0])) != 0:
            raise RuntimeError(f"llama_decode returns {rc}:\n{log_tail()}")
        return _floats(lib.llama_get_logits(context), n, self.n_vocab)

    def logits(self, tokens):
        """F32 [len(tokens)][n_vocab]."""
        return self._decode(self._main, tokens)

    def logits_with(self, tokens, **settings):
        """The same from a context with other parameters."""
        context = self._open_context(**settings)
        try:
            return self._decode(context, tokens)
        finally:
            lib.llama_free(self._contexts.pop())

    def mtp_logits(self, tokens):
        """F32 [len(tokens) - 2][n_vocab]: row i is the MTP layer's prediction of token i + 2, from the main model's
        hidden state i and token i + 1. The model must have been loaded with mtp=True."""
        if len(self._contexts) == 1:
            draft = self._open_context(ctx_type=lib.LLAMA_CONTEXT_TYPE_MTP, ctx_other=self._main)
            set_nextn(self._main, True, False)
            set_nextn(draft, True, True)
        self._decode(self._main, tokens)
        hidden = _floats(get_nextn(self._main), len(tokens), lib.llama_model_n_embd(self._model))
        return self._decode(self._contexts[1], tokens[1:-1], hidden[:-2])

    def perplexity(self, tokens, n_chunks, bos):
        """As llama-perplexity scores: chunks of n_ctx tokens, the first token of each replaced by bos, positions
        n_ctx/2 .. n_ctx-2 against the token that follows; exp in F32, sums in double."""
        n, first, total = self.n_ctx, self.n_ctx // 2, 0.0
        if len(tokens) < n * n_chunks:
            raise ValueError(f"{len(tokens)} tokens do not fill {n_chunks} chunks of {n}")
        for c in range(n_chunks):
            chunk = list(tokens[c * n:(c + 1) * n])
            logits = self.logits([bos] + chunk[1:])
            total += loss(logits[first:n - 1], chunk[first + 1:]).sum()
        return float(np.exp(total / (n_chunks * (n - 1 - first))))
