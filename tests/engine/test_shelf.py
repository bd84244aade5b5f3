"""Models by name: which checkpoint, damaged ones, what stays in memory; and the self-check."""

import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinychat.config import RuntimeSettings
from tinychat.engine import Sampling, Shelf
from tinychat.engine import shelf as shelf_module
from tinychat.engine.self_check import problem_of
from tinychat.errors import CheckpointError, NoCheckpointError, RunNotFoundError, SettingsError
from tinychat.model import AnsweringDecoder, Decoder, Runtime, products
from tinychat.runs import RunReader, list_checkpoints
from tinychat.text import Message

CPU = RuntimeSettings(device="cpu", dtype="fp32")
Copy = Callable[[str], Path]


@pytest.fixture
def run(copy_of: Copy) -> Path:
    """A trained run of conversations with several checkpoints."""
    return copy_of("talk")


def test_names_are_understood(run: Path) -> None:
    shelf = Shelf(run.parent, CPU)
    steps = list_checkpoints(run)
    reader = RunReader(run)
    assert reader.best is not None
    expected = {"": reader.best.step, "@best": reader.best.step, "@latest": steps[-1]}
    expected |= {f"@{step}": step for step in steps}
    for name, step in expected.items():
        opened = shelf.open(run.name + name)
        assert (opened.step, opened.card.step, opened.run) == (step, step, run)
        assert opened.label == f"{run.name}@{step}"
        assert opened.remarks == ()
    answer = shelf.open(run.name).text.complete(
        [[Message("user", "Hello")]], Sampling(max_new_tokens=5)
    )
    assert answer[0].ids
    for name in (f"{run.name}@7777", "nobody", f"{run.name}@../x", ""):
        with pytest.raises(RunNotFoundError):
            shelf.open(name)


def test_a_folder_from_elsewhere_is_found(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "model"
    shutil.copytree(run / f"step-{list_checkpoints(run)[-1]:08d}", elsewhere)
    opened = Shelf(tmp_path / "none", CPU).open(str(elsewhere))
    assert (opened.step, opened.label) == (None, "model")


def test_damaged_ones_are_passed_over_with_a_remark(run: Path) -> None:
    steps = list_checkpoints(run)
    best = RunReader(run).best
    assert best is not None
    damage(run, best.step)
    opened = Shelf(run.parent, CPU).open(run.name)
    assert opened.step != best.step
    assert f"step {opened.step} answers instead" in opened.remarks[0]
    with pytest.raises(CheckpointError):
        Shelf(run.parent, CPU).open(f"{run.name}@{best.step}")
    for step in steps:
        if step != best.step:
            damage(run, step)
    with pytest.raises(CheckpointError, match="nothing was deleted"):
        Shelf(run.parent, CPU).open(run.name)
    for step in steps:
        shutil.rmtree(run / f"step-{step:08d}")
    with pytest.raises(NoCheckpointError):
        Shelf(run.parent, CPU).open(run.name)


def damage(run: Path, step: int) -> None:
    weights = run / f"step-{step:08d}" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def test_the_last_ones_stay_in_memory_and_no_more(run: Path) -> None:
    steps = list_checkpoints(run)
    assert len(steps) >= 3
    shelf = Shelf(run.parent, CPU, most=2)
    first = shelf.open(f"{run.name}@{steps[0]}")
    assert shelf.open(f"{run.name}@{steps[0]}") is first
    shelf.open(f"{run.name}@{steps[1]}")
    assert shelf.open(f"{run.name}@{steps[0]}") is first
    shelf.open(f"{run.name}@{steps[2]}")
    assert shelf.open(f"{run.name}@{steps[0]}") is first, "it was used last but one"
    gone = weakref.ref(first.text.decoder)
    shelf.open(f"{run.name}@{steps[1]}")
    shelf.open(f"{run.name}@{steps[2]}")
    del first
    gc.collect()
    assert gone() is None


@pytest.mark.slow
def test_what_answers_leaves_no_second_copy_of_the_weights(run: Path) -> None:
    def plain_decoders() -> int:
        gc.collect()
        return sum(type(each) is Decoder for each in gc.get_objects())

    before = plain_decoders()
    for dtype in ("fp32", "bf16"):
        opened = Shelf(run.parent, RuntimeSettings(device="cpu", dtype=dtype)).open(run.name)
        assert isinstance(opened.text.decoder, AnsweringDecoder)
        assert opened.text.runtime.dtype == dtype
        assert plain_decoders() == before


def test_what_is_measured_is_the_model_as_it_was_trained(run: Path) -> None:
    opened = Shelf(run.parent, RuntimeSettings(device="cpu"), exact=True).open(run.name)
    assert isinstance(opened.text.decoder, Decoder)
    assert opened.text.runtime.dtype == "fp32"


@pytest.mark.parametrize("there", [True, False])
def test_int8_answers_where_the_machine_has_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(shelf_module, "has_int8", lambda: there and products.has_int8())
    if there and not products.has_int8():
        pytest.skip("this CPU has no products of int8")
    opened = Shelf(run.parent, CPU, int8=True).open(run.name)
    assert isinstance(opened.text.decoder, AnsweringDecoder)
    assert opened.text.decoder.one_row_int8 == there
    assert opened.remarks == (
        () if there else ("cpu has no products of int8, so it goes without.",)
    )


def test_where_int8_says_something_else_the_model_goes_without(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not products.has_int8():
        pytest.skip("this CPU has no products of int8")

    def judged(decoder: Any, *more: Any) -> str | None:
        in_int8 = isinstance(decoder, AnsweringDecoder) and decoder.one_row_int8
        return "it is too rough" if in_int8 else problem_of(decoder, *more)

    monkeypatch.setattr(shelf_module, "problem_of", judged)
    opened = Shelf(run.parent, CPU, int8=True).open(run.name)
    assert isinstance(opened.text.decoder, AnsweringDecoder)
    assert not opened.text.decoder.one_row_int8
    assert opened.remarks == ("It is too rough, so it goes without int8.",)


def test_a_form_that_says_something_else_is_not_used(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: AnsweringDecoder, ids: torch.Tensor, cache: Any = None) -> torch.Tensor:
        return torch.zeros(*ids.shape, self.vocab_size)

    monkeypatch.setattr(AnsweringDecoder, "forward", wrong)
    opened = Shelf(run.parent, CPU).open(run.name)
    assert isinstance(opened.text.decoder, Decoder)
    assert "the plain one answers" in opened.remarks[0]


def test_another_checkpoint_of_the_same_name_is_read_anew(run: Path, copy_of: Copy) -> None:
    shelf = Shelf(run.parent, CPU)
    name = f"{run.name}@{list_checkpoints(run)[-1]}"
    before = shelf.open(name)
    shutil.rmtree(before.path)
    with pytest.raises(RunNotFoundError):
        shelf.open(name)
    shutil.copytree(copy_of("story") / before.path.name, before.path)
    again = shelf.open(name)
    assert (before.card.kind, again.card.kind) == ("chat", "base")


def test_many_threads_open_one_model_once(run: Path) -> None:
    shelf = Shelf(run.parent, CPU)
    opened: list[Any] = []
    threads = [
        threading.Thread(target=lambda: opened.append(shelf.open(run.name))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8
    assert len(set(map(id, opened))) == 1


def test_a_device_that_is_not_here_is_refused(run: Path) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(SettingsError, match="this machine has"):
        Shelf(run.parent, RuntimeSettings(device=missing)).open(run.name)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_sound_models_pass_the_self_check(make_decoder: Callable[..., Decoder], dtype: str) -> None:
    for length in (1, 2, 64):
        decoder = make_decoder(60, context_length=length)
        assert problem_of(decoder, Runtime("cpu", dtype, 1)) is None
    with torch.no_grad():
        decoder.head.weight.fill_(torch.nan)
    assert problem_of(decoder, Runtime("cpu", dtype, 1)) is None, "not the runtime's fault"


def test_the_future_leaking_into_half_precision_is_found_and_avoided(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinychat.model import decoder as decoder_module

    attend = decoder_module.attend

    def leaky(q: Any, k: Any, v: Any, mask: Any, dropout: float, kind: Any) -> Any:
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16
        if not half:
            return attend(q, k, v, mask, dropout, kind)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    monkeypatch.setattr(decoder_module, "attend", leaky)
    opened = Shelf(run.parent, RuntimeSettings(device="cpu", dtype="fp16")).open(run.name)
    assert opened.text.runtime.dtype == "fp32"
    assert "fp16 on cpu" in opened.remarks[0]
    assert "computes in fp32 on cpu" in opened.remarks[0]
