"""The model: the one decoder with its key/value cache, devices and precisions, the Hugging Face
layouts it is stored in, and checkpoints as bytes. Knows nothing of runs' folders beyond reading a
verified checkpoint, and nothing of training.
"""

from tinychat.model.cache import KVCache
from tinychat.model.checkpoint import (
    LoadedModel,
    ModelCard,
    load_model,
    model_files,
    open_model,
    read_tensors,
    to_json,
    trainer_files,
)
from tinychat.model.decoder import Decoder, count_parameters
from tinychat.model.device import (
    Runtime,
    available_devices,
    choose_runtime,
    memory_bytes,
    synchronize,
)
from tinychat.model.families import family_of

__all__ = [
    "Decoder",
    "KVCache",
    "LoadedModel",
    "ModelCard",
    "Runtime",
    "available_devices",
    "choose_runtime",
    "count_parameters",
    "family_of",
    "load_model",
    "memory_bytes",
    "model_files",
    "open_model",
    "read_tensors",
    "synchronize",
    "to_json",
    "trainer_files",
]
