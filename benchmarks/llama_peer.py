"""llama.cpp as a peer of `decoding.py`, which starts this file with a Python that has
llama-cpp-python, gguf and numpy, and asks one question a line.

Writes the weights of a folder (`shape.json`, `weights.npz`: a Qwen3 layout in fp32) as GGUF files
beside them, one for each type that is asked for.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, kind: str) -> Path:
    """The folder's weights in one type; vectors stay fp32, as llama.cpp's own converter has it."""
    path = folder / f"{kind}.gguf"
    shape = json.loads((folder / "shape.json").read_text())
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_context_length(shape["context_length"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_embedding_length(shape["n_embd"])
    writer.add_block_count(shape["n_layer"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["n_head"])
    writer.add_head_count_kv(shape["n_kv_head"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_layer_norm_rms_eps(shape["norm_eps"])
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_tokenizer_model("none")
    with np.load(folder / "weights.npz") as weights:
        for name in weights.files:
            data, type_ = weights[name], TYPES["f32"] if weights[name].ndim == 1 else TYPES[kind]
            writer.add_tensor(_name(name), gguf.quants.quantize(data, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(name: str) -> str:
    inner = name.removesuffix(".weight")
    if not inner.startswith("model.layers."):
        return f"{NAMES[inner]}.weight"
    _, _, layer, rest = inner.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


class Peer:
    """One model in llama.cpp, on one thread."""

    def __init__(self, path: Path, rows: int, length: int) -> None:
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        about = llama_cpp.llama_context_default_params()
        about.n_ctx, about.n_seq_max = rows * length, rows
        about.n_batch = about.n_ubatch = 512
        about.n_threads = about.n_threads_batch = 1
        self.context = llama_cpp.llama_init_from_model(self.model, about)
        if not self.context:
            raise RuntimeError("llama.cpp made no context")
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)

    def answer(self, prompt: list[int], rows: int, tokens: int) -> dict[str, Any]:
        """Greedy tokens after a prompt, of equal rows: seconds of CPU until the first one, then
        for the others, and the first row's tokens."""
        memory = llama_cpp.llama_get_memory(self.context)
        llama_cpp.llama_memory_clear(memory, False)
        began = time.process_time()
        for row in range(rows):
            where = [(id, place, row, place == len(prompt) - 1) for place, id in enumerate(prompt)]
            self._decode(where)
            newest = self._likeliest(len(prompt) - 1)
        first = time.process_time()
        given, now = [newest], [newest] * rows
        for place in range(len(prompt), len(prompt) + tokens - 1):
            self._decode([(id, place, row, True) for row, id in enumerate(now)])
            now = [self._likeliest(row) for row in range(rows)]
            given.append(now[0])
        return {
            "first": first - began,
            "others": time.process_time() - first,
            "tokens": given,
        }

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (id, place, row, asked) in enumerate(tokens):
            batch.token[i], batch.pos[i] = id, place
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
            batch.logits[i] = asked
        if llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")

    def _likeliest(self, place: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self.context, place)
        return int(np.ctypeslib.as_array(logits, (self.vocab_size,)).argmax())


def main() -> None:
    """Answer questions until there are no more."""
    folder = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints is no answer
    llama_cpp.llama_log_set(_silent, None)
    peers: dict[tuple[str, int], Peer] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = asked["type"], asked["rows"]
        if key not in peers:
            peers[key] = Peer(write_gguf(folder, asked["type"]), asked["rows"], 1024)
        found = peers[key].answer(asked["prompt"], asked["rows"], asked["tokens"])
        print(json.dumps(found), file=answers, flush=True)


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: object) -> None:
    """Tell nothing."""


if __name__ == "__main__":
    main()
