"""Every operation that training and decoding ask of a device exists on Apple's MPS, in a precision
that MPS has.

No such device is at hand here. Instead tensors say that they lie on MPS: `MpsTensor` wraps a CPU
tensor that does the arithmetic, so that Python takes the ways it takes on MPS (no fused optimizer,
no operations on lists of tensors, attention without the CPU's detour), real values flow, and what
moves to the CPU is seen to move and is then not counted (sampling draws, bookkeeping). What is
asked of such tensors is looked up in the list of kernels that torch is built from:

- kernel: the operation, or the one it is a form of, has an MPS kernel;
- view: it makes another view of the same memory; sizes and strides are the same on every device;
- composite: torch puts it together from other operations on every device; those are looked up.

This shows that the kernels exist. It does not show that they are right or fast on MPS.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torchgen
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torchgen.gen import parse_native_yaml
from torchgen.model import DispatchKey

from tinychat.config import EvalSettings, ModelSettings, OptimSettings, SampleSettings, Settings
from tinychat.engine import Batch, Sampling, TextModel
from tinychat.model import Decoder, Runtime
from tinychat.text import Message, Tokenizer, train_bpe
from tinychat.training.batches import TextRows
from tinychat.training.evaluate import evaluate
from tinychat.training.events import Stepped
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.progress import FIRST_LOSS_SCALE, Progress
from tinychat.training.samples import LiveSampler, PromptBook
from tinychat.training.trainer import Trainer
from tinychat.training.updates import Updates

MPS = torch.device("mps:0")
CPU = torch.device("cpu")
NOT_ON_MPS = {torch.float64, torch.complex128}
# The only ones that may take tensors of two devices.
COPIES = {"_to_copy", "copy_", "to.dtype_layout", "to.device"}

# Composite on every device, yet without parts here: why it is there on MPS.
WITHOUT_PARTS = {
    "copy_": "at::native::copy_ hands a tensor on MPS to mps_copy_",
    "_unsafe_view": "a view that autograd need not know of",
    "scalar_tensor": "short cut of the CPU for empty and fill_, see CHOSEN_BY_DEVICE",
}

# torch chooses these by the device in C++, where our tensors count as CPU ones. In training the
# general forms run on MPS too, and those are what runs here; these are what MPS takes beside them.
CHOSEN_BY_DEVICE = {
    "attention without gradients": ["_scaled_dot_product_attention_math_for_mps"],
    "RMSNorm without gradients": ["_fused_rms_norm"],
    "linear layers, which are addmm and mm here": ["linear", "linear_backward"],
    "dropout, which is bernoulli_ here": ["native_dropout", "native_dropout_backward"],
    "a mask as an index": ["nonzero"],
    "a number as a tensor": ["empty.memory_format", "fill_.Scalar"],
}


@dataclass(frozen=True)
class KernelList:
    """native_functions.yaml as torch's own build reads it."""

    functions: dict[str, Any]
    mps: Any

    def kind(self, name: str) -> str | None:
        """kernel, view, implicit or explicit (both composite); None where MPS has nothing."""
        function = self.functions.get(name)
        if function is None:
            return None
        if function.func.name in self.mps or function.structured_delegate in self.mps:
            return "kernel"
        if function.has_composite_implicit_autograd_kernel:
            return "implicit"
        if function.is_view_op and function.has_composite_kernel:
            return "view"
        if function.has_composite_explicit_autograd_kernel:
            return "explicit"
        return None


@cache
def kernel_list() -> KernelList:
    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    functions = {str(f.func.name): f for f in parsed.native_functions}
    return KernelList(functions, parsed.backend_indices[DispatchKey.MPS].index)


class MpsTensor(Tensor):
    """A tensor that says it lies on MPS. Its values are in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "MpsTensor":
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CPU,  # what C++ sees: autograd has no MPS threads here
        )
        made.held = inner
        return made

    calls: ClassVar[int] = 0
    """How many of torch's functions are at work on such tensors."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        MpsTensor.calls += 1
        try:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        finally:
            MpsTensor.calls -= 1

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on MPS, but nobody looks")

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return MPS

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.held.detach().clone()

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        places = [a for a in (*args, *kwargs.values()) if isinstance(a, str | torch.device)]
        if any(torch.device(place).type == "cpu" for place in places):
            return self.cpu()
        return super().to(*args, **kwargs)

    def tolist(self) -> Any:
        return self.held.tolist()


class Parts(TorchDispatchMode):
    """Shows a composite operation's parts to the device."""

    def __init__(self, device: "Mps") -> None:
        super().__init__()
        self.on = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.on.compute(func, args, kwargs or {})


class Mps(TorchDispatchMode):
    """The device: computes what is asked of it, and notes it."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Counter[str] = Counter()
        self.problems: set[str] = set()
        self.generator = torch.Generator()

    def __enter__(self) -> "Mps":
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) comes through here
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        asked = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        here = any(isinstance(t, MpsTensor) for t in tensors)
        if asked == CPU and MpsTensor.calls:
            asked = MPS  # C++ makes it like its arguments, which for C++ lie on the CPU
        if not here and asked in (None, CPU):
            return func(*args, **kwargs)
        if asked is not None:
            kwargs["device"] = CPU
        if name_of(func) not in COPIES:
            for tensor in tensors:
                if not isinstance(tensor, MpsTensor) and tensor.dim():
                    self.problems.add(f"{name_of(func)} takes tensors of two devices")
        out = self.compute(func, tree_map(unwrap, args), tree_map(unwrap, kwargs))
        if asked == CPU:
            return out
        wrapped = tree_map(lambda x: MpsTensor(x) if isinstance(x, Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def compute(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """func on CPU tensors, and a note of what MPS needs for it."""
        name = name_of(func)
        kind = kernel_list().kind(name)
        before = self.used.total()
        if kind == "implicit":
            with Parts(self):
                out = func.decompose(*args, **kwargs)
        elif kind == "explicit" and name not in WITHOUT_PARTS:
            with Parts(self):
                out = func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
            if self.used.total() == before:
                self.problems.add(f"{name} is composite, but has no parts")
        else:
            if kind is None:
                self.problems.add(f"{name} is not on MPS")
            self.used[name] += 1
            if name.startswith("bernoulli_"):
                kwargs = kwargs | {"generator": self.generator}
            out = func(*args, **kwargs)
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, Tensor) and tensor.dtype in NOT_ON_MPS:
                self.problems.add(f"{name} with {tensor.dtype}")
        return out


def name_of(func: Any) -> str:
    return func.name().removeprefix("aten::")


def unwrap(x: Any) -> Any:
    return x.held if isinstance(x, MpsTensor) else x


def move(decoder: Decoder) -> Decoder:
    """decoder.to("mps"), a tied head staying tied."""
    moved: dict[int, nn.Parameter] = {}
    for module in decoder.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    moved[id(parameter)] = nn.Parameter(MpsTensor(parameter.detach().clone()))
                module._parameters[name] = moved[id(parameter)]
    return decoder


@dataclass(frozen=True)
class MpsRuntime(Runtime):
    """A runtime on the device. Precision is lowered by the CPU's rules, which C++ goes by here."""

    @property
    def torch_device(self) -> torch.device:
        return MPS

    def autocast(self) -> AbstractContextManager[Any]:
        return Runtime("cpu", self.dtype, self.threads).autocast()


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mps]:
    device = Mps()
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 0)
    monkeypatch.setattr(torch.mps, "manual_seed", device.generator.manual_seed)
    monkeypatch.setattr(torch.mps, "get_rng_state", device.generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", device.generator.set_state)
    with sdpa_kernel(SDPBackend.MATH), device:
        yield device


TEXTS = ["The cat sat on the mat. The dog sat on the log. What is your name? My name is Tom."]
BASE = ModelSettings(n_layer=2, n_head=4, n_embd=32, context_length=32)
GPT2 = replace(BASE, norm="layer", position="learned", mlp="gelu", qk_norm=False, bias=True)
FAMILIES = {
    "qwen3": replace(BASE, n_kv_head=2),
    "llama": replace(BASE, qk_norm=False, bias=True, tied_head=False),
    "gpt2": replace(GPT2, mlp="gelu_tanh"),
    "gpt2 sinusoidal": replace(GPT2, position="sinusoidal", mlp="relu2", bias=False),
    "gpt_neox": replace(GPT2, position="rope", tied_head=False),
    "arcee": replace(BASE, mlp="relu2", qk_norm=False, n_kv_head=2),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS * 4, 300)


@dataclass
class Memory:
    """A token file that lies in memory; some of its tokens are no targets."""

    tokenizer: Tokenizer
    ids: list[int] = field(init=False)
    n_documents: int = 1

    def __post_init__(self) -> None:
        self.ids = self.tokenizer.encode(" ".join(TEXTS * 12))
        self.n_tokens = len(self.ids)
        self.format = self.tokenizer.format

    def read(self, start: int, stop: int) -> list[int]:
        return self.ids[start:stop]

    def targets(self, start: int, stop: int) -> bytes:
        return bytes(i % 7 > 0 for i in self.ids[start:stop])


class Nobody:
    """A store that keeps nothing and a mailbox that stays empty."""

    def publish(self, *_: object) -> tuple[int, tuple[int, ...]]:
        return 0, ()

    def waited_seconds(self) -> float:
        return 0.0

    def poll(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def stop_signals(self) -> int:
        return 0


def train(
    tokenizer: Tokenizer, runtime: Runtime, model: ModelSettings, optimizer: Any = "adamw"
) -> tuple[list[float], Decoder]:
    """A real run of three steps, with evaluation, samples and checkpoints; its losses."""
    settings = Settings(
        max_steps=3, batch_size=4, micro_batch_size=3, model=model,
        optim=OptimSettings(optimizer=optimizer, max_grad_norm=0.1),
        eval=EvalSettings(every_steps=2), sample=SampleSettings(every_steps=2, max_new_tokens=3),
    )  # fmt: skip
    decoder = Decoder(model, tokenizer.vocab_size)
    decoder.initialise(0)
    decoder.gradient_checkpointing = runtime.gradient_checkpointing
    if runtime.device == "mps":
        decoder = move(decoder)
    rows = TextRows(Memory(tokenizer), model.context_length)  # type: ignore[arg-type]
    book = PromptBook(("The cat", "What is your name?"), (), chat=True)
    sampler = LiveSampler(decoder, tokenizer, runtime, book, 0)
    losses: list[float] = []
    nobody: Any = Nobody()
    updates = Updates(
        settings,
        max_steps=3,
        decoder=decoder,
        optimizer=Optimizer(decoder, settings.optim),
        rows=rows,
        facts=Facts(runtime, 3),
        progress=Progress(
            dtype=runtime.dtype, loss_scale=FIRST_LOSS_SCALE if runtime.dtype == "fp16" else 1.0
        ),
    )
    Trainer(
        updates,
        evaluator=lambda beat, at_once: evaluate(
            decoder, rows, tokenizer.token_bytes(), runtime, 4, beat
        ),
        sampler=lambda step, prompt, cancelled: sampler(step, prompt, settings.sample),
        store=nobody,
        requests=nobody,
        emit=lambda event: losses.append(event.train_loss) if isinstance(event, Stepped) else None,
    ).run()
    return losses, decoder


def on_mps(dtype: str = "fp32", gradient_checkpointing: bool = False) -> Runtime:
    return MpsRuntime("mps", dtype, 1, gradient_checkpointing)


@pytest.mark.parametrize(
    ("family", "optimizer"),
    [*((family, "adamw") for family in FAMILIES), ("qwen3", "muon"), ("gpt2", "muon")],
)
def test_training_asks_for_what_mps_has(
    family: str, optimizer: str, mps: Mps, tokenizer: Tokenizer
) -> None:
    losses, _ = train(tokenizer, on_mps(), FAMILIES[family], optimizer)
    assert len(losses) == 3
    assert not mps.problems
    assert mps.used.total() > 1000
    wanted = {"embedding_dense_backward", "nll_loss_backward", "index.Tensor", "argmax"}
    assert wanted | {"baddbmm" if optimizer == "muon" else "addcdiv_"} <= set(mps.used)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_dropout_checkpointing_and_half_precision_ask_for_what_mps_has(
    family: str, dtype: str, mps: Mps, tokenizer: Tokenizer
) -> None:
    model = replace(FAMILIES[family], dropout=0.1)
    train(tokenizer, on_mps(dtype, gradient_checkpointing=True), model)
    assert not mps.problems
    assert mps.used["bernoulli_.float"]


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, "fp32") for family in FAMILIES), ("qwen3", "bf16"), ("gpt2", "fp16")],
)
def test_decoding_asks_for_what_mps_has(
    family: str, dtype: str, mps: Mps, tokenizer: Tokenizer
) -> None:
    decoder = Decoder(FAMILIES[family], tokenizer.vocab_size)
    decoder.initialise(0)
    engine = TextModel(move(decoder).eval(), tokenizer, on_mps(dtype))
    talk = [Message("user", TEXTS[0][:20])]
    for rules in (
        Sampling(temperature=0.0, max_new_tokens=40),
        Sampling(max_new_tokens=5, repetition_penalty=1.2, top_k=20, top_p=0.9, min_p=0.01),
        Sampling(max_new_tokens=5, top_k=None, top_p=0.9),
    ):
        answers = engine.complete([talk, TEXTS[0] * 3, "The cat", "The"], rules)
        assert all(answer.ids for answer in answers)
    # rows that come and go, a kept prefix, and what stood behind tokens; a thread would not be seen
    batch = Batch(engine.decoder, engine.runtime, engine.never_sampled, most_rows=4, keeps=True)
    for _ in range(2):
        prompt = engine.fit(talk, 3)
        batch.admit(
            [engine.request(prompt, Sampling(max_new_tokens=n), details=3) for n in (3, 5, 4)]
        )
        while batch.rows:
            batch.step(lambda row: False)
    assert not mps.problems
    assert {"_index_put_impl_", "index_fill_.int_Scalar", "argmax"} <= set(mps.used)


@pytest.mark.parametrize("reason", CHOSEN_BY_DEVICE)
def test_what_torch_chooses_by_device_has_a_kernel(reason: str) -> None:
    assert [kernel_list().kind(name) for name in CHOSEN_BY_DEVICE[reason]] == ["kernel"] * len(
        CHOSEN_BY_DEVICE[reason]
    )


def test_the_device_computes_what_the_cpu_computes(mps: Mps, tokenizer: Tokenizer) -> None:
    for optimizer in ("adamw", "muon"):
        here, _ = train(tokenizer, on_mps(), FAMILIES["qwen3"], optimizer)
        there, _ = train(tokenizer, Runtime("cpu", "fp32", 1), FAMILIES["qwen3"], optimizer)
        # Muon computes in bf16, where another order of sums is seen
        assert here == pytest.approx(there, abs=5e-3 if optimizer == "muon" else 1e-5)


def test_checkpointed_dropout_draws_the_same_masks_on_mps(mps: Mps, tokenizer: Tokenizer) -> None:
    """torch's checkpoint does not keep the generator of MPS; ours has to."""
    model = replace(FAMILIES["gpt2"], dropout=0.3)
    plain, one = train(tokenizer, on_mps(), model)
    frugal, two = train(tokenizer, on_mps(gradient_checkpointing=True), model)
    assert plain == frugal
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(unwrap(a), unwrap(b)), name


BREAKS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "no kernel": (lambda x: x + torch.linalg.eigh(x @ x.mT)[0][..., None], "_linalg_eigh"),
    "no kernel either": (lambda x: torch.linalg.matrix_exp(x @ x.mT) @ x, "linalg_matrix_exp"),
    "float64": (lambda x: (x.double() * 2).float(), "with torch.float64"),
    "float64 made there": (
        lambda x: x + torch.zeros(3, device=x.device, dtype=torch.float64).sum().float(),
        "with torch.float64",
    ),
    "a tensor on the CPU": (lambda x: x + torch.ones(x.shape), "two devices"),
}


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("doing", ["training", "decoding"])
def test_what_mps_lacks_is_found(
    what: str, doing: str, mps: Mps, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, told = BREAKS[what]
    real = Decoder.hidden
    monkeypatch.setattr(Decoder, "hidden", lambda *args: spoil(real(*args)))
    if doing == "training":
        with suppress(AttributeError):  # numbers that are not finite: nobody can roll it back
            train(tokenizer, on_mps(), FAMILIES["qwen3"])
    else:
        decoder = move(Decoder(FAMILIES["qwen3"], tokenizer.vocab_size)).eval()
        TextModel(decoder, tokenizer, on_mps()).complete(["The cat"], Sampling(max_new_tokens=2))
    assert any(told in problem for problem in mps.problems), mps.problems
