"""Devices and precisions: which there are, which to take, and how to set torch up for them.

Nothing is chosen twice: a run settles its runtime once, writes it down, and repeats it at resume.
"""

import contextlib
import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from tinychat.config import ModelSettings, RuntimeSettings
from tinychat.errors import SettingsError
from tinychat.model.attention import AttentionKind, may_compute_in_blocks
from tinychat.threads import usable_cores

if TYPE_CHECKING:
    from tinychat.model.decoder import Decoder

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "std::bad_alloc",
)
# where one pays for answering; measured at 0.8 to 29 million: benchmarks/README.md
ONE_THREAD_PARAMETERS = {"fp32": 8_000_000, "fp16": 8_000_000, "bf16": 12_000_000}
BF16_PARAMETERS = 4_000_000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Where and how a run is computed: with equal runtimes, equal bits."""

    device: str
    dtype: str
    threads: int
    gradient_checkpointing: bool = False
    attention: AttentionKind = "sdpa"
    compile: bool = False  # of the training step

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute matrix products in the runtime's precision; weights stay fp32."""
        if self.dtype == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.torch_dtype)

    def apply(self) -> None:
        """Set torch's threads, and have it take only operations that give equal bits each time:
        on CUDA, and in compiled steps on a CPU, whose threads would add up an embedding's gradient
        in the order in which they come.

        Called by whoever owns the process, before anything is computed.
        """
        torch.set_num_threads(self.threads)
        if self.device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once
        strict = self.device == "cuda" or (self.device == "cpu" and self.compile)
        if strict != torch.are_deterministic_algorithms_enabled():  # else it imports the compiler
            torch.use_deterministic_algorithms(strict)
            # which would fill new tensors too, for whoever reads what nobody wrote
            torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]

    def configure(self, decoder: "Decoder") -> None:
        """Have a decoder compute its training steps in this way."""
        decoder.gradient_checkpointing = self.gradient_checkpointing
        decoder.compute_attention(self.attention)


def available_devices() -> list[str]:
    """Devices of this machine, the fastest kind first."""
    found = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())]
    return [name for name, there in found if there] + ["cpu"]


def choose_runtime(settings: RuntimeSettings, *, training: ModelSettings | None = None) -> Runtime:
    """Settle every "auto": bf16 where the hardware computes in it, else fp32.

    On a CPU that holds for `training` a model only; `for_answering` says what answers. Raises
    SettingsError for a device that is not here.
    """
    devices = available_devices()
    device = devices[0] if settings.device == "auto" else settings.device
    if device not in devices:
        raise SettingsError(
            f"runtime.device = {device}: this machine has {', '.join(devices)}; "
            "choose one of these or leave it at auto"
        )
    dtype = settings.dtype
    if dtype == "auto":
        native = device == "cuda" and cuda_computes_bf16()
        native = native or (device == "cpu" and training is not None and cpu_computes_bf16())
        dtype = "bf16" if native else "fp32"
    attention = settings.attention
    if attention == "auto":
        fast = training and dtype == "bf16" and may_compute_in_blocks(device, training)
        attention = "blocks" if fast else "sdpa"
    return Runtime(
        device,
        dtype,
        settings.threads or usable_cores(),
        bool(settings.gradient_checkpointing),
        attention,
        bool(settings.compile),
    )


def for_answering(
    runtime: Runtime, settings: RuntimeSettings, parameters: int, *, exact: bool = False
) -> Runtime:
    """A runtime for answering, as far as nobody named another, of a model on a CPU.

    bf16, unless the numbers must be `exact`: half the bytes to read, if there are enough of them.
    One thread for a small model: at each token the threads would wait for each other for longer
    than they compute.
    """
    if runtime.device != "cpu":
        return runtime
    large = parameters >= BF16_PARAMETERS
    if settings.dtype == "auto" and large and not exact and cpu_computes_bf16():
        runtime = replace(runtime, dtype="bf16")
    small = parameters < ONE_THREAD_PARAMETERS[runtime.dtype]
    if small and settings.threads is None and "OMP_NUM_THREADS" not in os.environ:
        runtime = replace(runtime, threads=1)
    return runtime


def cuda_computes_bf16() -> bool:
    """Whether the GPU multiplies in bf16 itself; older ones only act as if they did, slowly."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_computes_bf16() -> bool:
    """Whether the CPU has instructions for bf16 products; without them bf16 is slower than fp32."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # private, so it may vanish
    return bool(probe and probe())


def processor(device: str) -> str:
    """The name of the GPU or CPU that computes; another one may round in another order."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        told = ""
    names = (line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line)
    return next(names, "") or platform.processor() or platform.machine()


def memory_bytes(device: str) -> int:
    """Memory in use: the accelerator's for this process, or the process's own on the CPU."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    if device == "mps":
        return torch.mps.current_allocated_memory()
    return psutil.Process().memory_info().rss


def free_memory(device: str) -> int:
    """Memory that a run may take: the device's own, or the machine's where they share one."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given, so that clocks tell the truth."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def seed_dropout(device: str, seed: int) -> None:
    """Let what the device draws next follow from this seed.

    torch.manual_seed would seed every kind of device there is, and make a note of who asked for
    each that is not there: half a millisecond at every step.
    """
    if device == "cuda":
        torch.cuda.manual_seed(seed)
    elif device == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. CUDA has a class for it; MPS and the CPU only say so."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in OUT_OF_MEMORY)
    )


def is_not_deterministic(error: BaseException) -> bool:
    """Whether torch refused an operation because it has no form that gives equal bits here."""
    told = "does not have a deterministic implementation"
    return isinstance(error, RuntimeError) and told in str(error)


def release_memory(device: str) -> None:
    """Give back what the device's allocator keeps for later."""
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
