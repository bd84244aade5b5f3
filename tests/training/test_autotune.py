"""The way of computing is looked for once, written down, and repeated."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
import torch._inductor.config

from tests.training.conftest import digests
from tinychat.cli.app import run as tinychat
from tinychat.config import ModelSettings
from tinychat.model import Decoder, device
from tinychat.runs import RunPaths, RunReader
from tinychat.threads import CHOSEN
from tinychat.training import autotune, updates
from tinychat.training.batches import Batch
from tinychat.training.compiled import CompiledLoss
from tinychat.training.lineage import Facts
from tinychat.training.progress import FIRST_LOSS_SCALE

Train = Callable[..., Path]
GPT2 = ("--model.norm=layer", "--model.position=learned", "--model.mlp=gelu", "--model.bias=true",
        "--model.qk-norm=false", "--model.dropout=0.1")  # fmt: skip
SEARCH = ("--runtime.autotune=true", "--max-steps=6")


@pytest.fixture(autouse=True)
def every_run_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(autotune, "SHARE", 1e6)
    monkeypatch.setattr(autotune, "MOST_SECONDS", 600.0)  # so that load leaves no knob untried
    monkeypatch.setattr(autotune, "COMPILE_PAYS_SECONDS", float("inf"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.delenv(CHOSEN, raising=False)


def first_attempt(run: Path) -> Any:
    return RunReader(run).attempts()[0][1]


def test_the_fastest_way_is_taken_told_kept_and_repeated(
    train: Train, resume: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("first", *SEARCH)
    attempt = first_attempt(run)
    told = attempt.autotune
    chosen, trials = told["chosen"], told["trials"]
    for name in ("dtype", "threads", "micro_batch_size", "attention", "compile"):
        assert getattr(attempt, name) == chosen[name]
    assert {trial["attention"] for trial in trials} == {"sdpa", "blocks"}
    assert {trial["dtype"] for trial in trials} == {"fp32", "bf16"}
    assert {trial["micro_batch_size"] for trial in trials} == {8, 4, 2, 1}
    assert {trial["gradient_checkpointing"] for trial in trials} == {False, True}
    assert "autotune: " in capsys.readouterr().out
    resume("first", "--max-steps=9")
    again = RunReader(run).attempts()[1][1]
    assert again.autotune is None
    assert again.reason == "resume: max_steps 6 -> 9"


def prefer(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[Facts], bool]) -> None:
    """Of each knob the way that is wanted is the fastest, whatever was measured."""
    monkeypatch.setattr(
        autotune, "_taken", lambda ways, _: next((w for w in ways if wanted(w)), ways[0])
    )


@pytest.mark.slow
def test_a_tuned_run_goes_on_bit_for_bit_from_any_step(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer(monkeypatch, lambda way: way.micro_batch_size == 4)
    search = (
        *SEARCH,
        "--model.dropout=0.1",
        "--checkpoint.every-steps=3",
        "--checkpoint.keep-last=3",
    )
    whole = train("whole", *search)
    assert first_attempt(whole).micro_batch_size == 4
    for step in (3, 0):
        run = train(f"from-{step}", *search)
        for later in range(step + 3, 7, 3):
            shutil.rmtree(run / f"step-{later:08}")  # as if it had been killed before
        resume(run.name)
        again = RunReader(run).attempts()[-1][1]
        assert (again.from_step, again.resume_class, again.reason) == (step, "A", "resume")
        assert digests(run, 6) == digests(whole, 6)
    assert tinychat(["verify", str(whole), "--steps", "0:6"]) == 0


def test_fp16_that_was_found_begins_with_its_loss_scale(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "_dtypes", lambda _: ("fp32", "fp16"))
    prefer(monkeypatch, lambda way: way.runtime.dtype == "fp16")
    run = train("scaled", *SEARCH, "--checkpoint.keep-last=3")
    assert first_attempt(run).dtype == "fp16"
    state = json.loads((run / "step-00000000" / "state.json").read_bytes())
    assert (state["dtype"], state["loss_scale"]) == ("fp16", FIRST_LOSS_SCALE)
    assert tinychat(["verify", str(run), "--steps", "0:6"]) == 0


def test_a_step_that_does_not_compile_ends_no_run(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, _: object) -> None:
            raise NotImplementedError("no such kernel\nand pages of it")

    monkeypatch.setattr(autotune, "COMPILE_PAYS_SECONDS", 0.0)
    monkeypatch.setattr(autotune, "compiler_problem", lambda _: None)
    monkeypatch.setattr(updates, "CompiledLoss", Broken)
    attempt = first_attempt(train("broken", *SEARCH))
    assert not attempt.compile
    (tried,) = [trial for trial in attempt.autotune["trials"] if trial["compile"]]
    assert tried["problem"] == "no such kernel"


def test_what_one_device_was_good_at_is_not_asked_of_another(train: Train, resume: Train) -> None:
    run = train("moved", "--max-steps=3")
    record = RunPaths(run).attempt(1).attempt_json
    told = json.loads(record.read_text(encoding="utf-8"))
    elsewhere = {"device": "tpu", "dtype": "fp16", "compile": True}
    record.write_text(json.dumps(told | elsewhere), encoding="utf-8")
    resume("moved", "--max-steps=4")
    here = RunReader(run).attempts()[-1][1]
    assert (here.device, here.dtype, here.compile) == ("cpu", told["dtype"], False)


def test_trying_changes_no_bit_of_the_run(train: Train) -> None:
    found = first_attempt(train("tried", *SEARCH))
    train(
        "set",
        "--max-steps=6",
        f"--runtime.dtype={found.dtype}",
        f"--runtime.attention={found.attention}",
        f"--micro-batch-size={found.micro_batch_size}",
        f"--runtime.gradient-checkpointing={str(found.gradient_checkpointing).lower()}",
    )
    runs = RunPaths(train("other", *SEARCH, "--seed=1")).root.parent
    assert digests(runs / "tried", 6) == digests(runs / "set", 6)
    assert digests(runs / "tried", 6) != digests(runs / "other", 6)


def test_a_slow_way_is_not_taken(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = updates.summed_loss

    def slow_in_fp32(decoder: Any, batch: Batch) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.05)
        return plain(decoder, batch)

    monkeypatch.setattr(updates, "summed_loss", slow_in_fp32)
    assert first_attempt(train("slow", *SEARCH)).dtype == "bf16"


def test_what_is_set_is_not_tried(train: Train) -> None:
    pins = ("--runtime.dtype=fp32", "--micro-batch-size=8", "--runtime.gradient-checkpointing=no")
    trials = first_attempt(train("pinned", *SEARCH, *pins)).autotune["trials"]
    assert {trial["attention"] for trial in trials} == {"blocks", "sdpa"}
    assert {trial["dtype"] for trial in trials} == {"fp32"}
    everything = (*pins, "--runtime.attention=sdpa", "--runtime.compile=no")
    assert first_attempt(train("all", *SEARCH, *everything)).autotune is None
    assert first_attempt(train("off", "--max-steps=6")).autotune is None


def test_the_next_run_of_its_kind_begins_with_what_is_known(
    train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = first_attempt(train("one", *SEARCH)).autotune
    capsys.readouterr()
    second = first_attempt(train("two", *SEARCH)).autotune
    assert "known from before" in capsys.readouterr().out
    assert second["known"]
    assert second["chosen"] == first["chosen"]
    other = first_attempt(train("wider", *SEARCH, "--model.n-embd=64")).autotune
    assert not other["known"], "another model is another question"
    kept = list((RunPaths(first_path(train)).root / ".cache" / "autotune").iterdir())
    for file in kept:
        file.write_text("{", encoding="utf-8")
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 1.0, 1.0))
    third = first_attempt(train("three", *SEARCH)).autotune
    assert not third["known"], "a torn file is no answer"
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setenv(CHOSEN, "yes")  # others computed when this program started
    train("four", *SEARCH)
    told = {file.read_text(encoding="utf-8") for file in kept}
    assert told == {"{"}, "and a busy machine no place to learn"


def first_path(train: Train) -> Path:
    """The folder where runs live."""
    return train("place", "--max-steps=1").parent


def test_a_way_that_runs_out_of_memory_is_not_taken(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = updates.summed_loss

    def hungry(decoder: Any, batch: Batch) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return plain(decoder, batch)

    monkeypatch.setattr(updates, "summed_loss", hungry)
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: False)  # else it is the planned one
    attempt = first_attempt(train("hungry", *SEARCH))
    assert attempt.dtype == "fp32"
    (failed,) = [trial for trial in attempt.autotune["trials"] if trial["problem"]]
    assert failed["dtype"] == "bf16"
    assert failed["problem"] == "memory ran out"
    assert failed["tokens_per_second"] is None


@pytest.mark.slow
def test_a_compiled_run_goes_on_bit_for_bit(train: Train, resume: Train) -> None:
    shape = ("--model.n-layer=1", "--max-steps=6", "--checkpoint.every-steps=3")
    whole = train("whole", *shape, "--runtime.compile=true")
    train("plain", *shape, "--runtime.compile=false")
    halves = train("halves", *shape, "--runtime.compile=true")
    shutil.rmtree(halves / "step-00000006")  # as if it had been killed after step 3
    resume("halves")
    attempts = [attempt for _, attempt in RunReader(halves).attempts()]
    assert [attempt.compile for attempt in attempts] == [True, True]
    assert attempts[1].resume_class == "A"
    assert digests(halves, 6) == digests(whole, 6)
    losses = [
        [row["train_loss"] for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
        for run in (whole, whole.parent / "plain")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), GPT2])
def test_threads_of_a_compiled_run_give_equal_bits(train: Train, shape: tuple[str, ...]) -> None:
    """Those that add to one row of the embedding's gradient meet in another order each time."""
    words = ("--max-steps=30", "--batch-size=16", "--model.n-embd=64", "--runtime.threads=2")
    runs = [
        train(name, *words, *shape, "--runtime.compile=true", "--runtime.dtype=bf16")
        for name in ("one", "another", "third")
    ]
    assert len({str(digests(run, 30)) for run in runs}) == 1
    assert tinychat(["verify", str(runs[0]), "--steps", "0:30"]) == 0


@pytest.mark.slow
def test_a_compiled_loss_depends_on_no_batch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    decoder = Decoder(ModelSettings(n_layer=1, n_head=1, n_embd=32, context_length=64), 4096)
    decoder.initialise(1)
    decoder.embedding.weight.data.mul_(20.0)
    ids = torch.randint(4096, (64, 64), generator=torch.Generator().manual_seed(1))

    def batch(targets: int) -> Batch:
        return Batch(ids, ids.roll(-1, 1), (torch.arange(64 * 64) < targets).view(64, 64))

    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for before in (17, 4000):
            torch._dynamo.reset()
            nats = CompiledLoss(decoder)
            with torch.autocast("cpu", torch.bfloat16):
                nats(batch(before))
                found.append([nats(batch(count)).item() for count in (60, 700, 1500, 2000, 3000)])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


@pytest.mark.slow
def test_without_a_compiler_a_compiled_run_goes_on_and_says_so(
    train: Train, tmp_path: Path, corpus: Path
) -> None:
    run = train("compiled", "--max-steps=3", "--model.n-layer=1")
    record = RunPaths(run).attempt(1).attempt_json
    told = json.loads(record.read_text(encoding="utf-8"))
    assert told["compile"] is False
    record.write_text(json.dumps(told | {"compile": True}), encoding="utf-8")  # where it could be
    words = [sys.executable, "-m", "tinychat"]
    place = ["--checkpoints", str(tmp_path)]
    bare = os.environ | {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "none")}

    def ask(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more, *place], env=bare, text=True, capture_output=True, check=False
        )

    gone_on = ask("resume", "compiled", "--max-steps=5")
    assert gone_on.returncode == 0, gone_on.stderr
    assert "compile True -> False" in gone_on.stdout
    assert RunReader(run).attempts()[-1][1].resume_class == "B"
    refused = ask("train", "--name=new", f"--data={corpus}", "--runtime.compile=true")
    assert refused.returncode == 2
    assert "torch.compile does not work here" in refused.stderr
    assert "C++ compiler" in refused.stderr
    assert len([line for line in refused.stderr.splitlines() if "tinychat:" in line]) == 1
    assert "Traceback" not in refused.stderr
