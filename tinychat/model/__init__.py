"""The model: the one decoder with its key/value cache, devices and precisions, the Hugging Face
layouts it is stored in, checkpoints as bytes, and model folders from elsewhere.

Knows nothing of runs' folders beyond reading a verified checkpoint, and nothing of training.
"""

from tinychat.model.answering import AnsweringDecoder, answering_form, int8_imitation
from tinychat.model.attention import AttentionKind, may_compute_in_blocks
from tinychat.model.cache import KVCache
from tinychat.model.checkpoint import (
    LoadedModel,
    ModelCard,
    load_model,
    model_files,
    open_model,
    read_tensors,
    tensor_bytes,
    to_json,
    trainer_files,
)
from tinychat.model.decoder import Decoder, count_parameters, rope_rotation
from tinychat.model.device import (
    Runtime,
    available_devices,
    choose_runtime,
    cpu_computes_bf16,
    cuda_computes_bf16,
    for_answering,
    free_memory,
    is_not_deterministic,
    is_out_of_memory,
    memory_bytes,
    processor,
    release_memory,
    seed_dropout,
    synchronize,
)
from tinychat.model.families import family_of, hf_shapes
from tinychat.model.foreign_folder import foreign_parent, foreign_tokenizer, load_foreign
from tinychat.model.foreign_weights import foreign_shape, read_foreign
from tinychat.model.products import has_int8
from tinychat.model.readme import History, code, readme_page

__all__ = [
    "AnsweringDecoder",
    "AttentionKind",
    "Decoder",
    "History",
    "KVCache",
    "LoadedModel",
    "ModelCard",
    "Runtime",
    "answering_form",
    "available_devices",
    "choose_runtime",
    "code",
    "count_parameters",
    "cpu_computes_bf16",
    "cuda_computes_bf16",
    "family_of",
    "for_answering",
    "foreign_parent",
    "foreign_shape",
    "foreign_tokenizer",
    "free_memory",
    "has_int8",
    "hf_shapes",
    "int8_imitation",
    "is_not_deterministic",
    "is_out_of_memory",
    "load_foreign",
    "load_model",
    "may_compute_in_blocks",
    "memory_bytes",
    "model_files",
    "open_model",
    "processor",
    "read_foreign",
    "read_tensors",
    "readme_page",
    "release_memory",
    "rope_rotation",
    "seed_dropout",
    "synchronize",
    "tensor_bytes",
    "to_json",
    "trainer_files",
]
