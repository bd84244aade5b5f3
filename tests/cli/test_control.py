"""`control`: every command reaches a live trainer, and the answer comes back."""

from pathlib import Path

from tests.conftest import until
from tinychat.runs import RunPaths, RunReader, list_checkpoints, lock_is_held

from .conftest import Tinychat


def test_a_trainer_obeys_the_shell(live_run: Path, tinychat: Tinychat) -> None:
    def control(*words: object) -> tuple[int, str]:
        found = tinychat("control", live_run, *words, "--wait")
        assert found.err == ""
        return found.code, found.out

    code, told = control("pause")
    assert (code, "paused at step" in told) == (0, True)
    assert tinychat("show", live_run, "--json").json["state"] == "paused"
    step = RunReader(live_run).status.step  # type: ignore[union-attr]
    assert control("checkpoint") == (0, f"checkpoint of step {step} is saved\n")
    assert step in list_checkpoints(live_run)
    assert control("sample", "--prompt", "-Hello?") == (0, f"sampled at step {step}\n")
    assert RunReader(live_run).last("samples")["prompt"] == "-Hello?"  # type: ignore[index]
    assert control("evaluate") == (0, f"evaluated at step {step}\n")
    assert control("set", "sample.every_steps", "40") == (0, "sample.every_steps is now 40\n")
    assert RunReader(live_run).settings["settings"]["sample"]["every_steps"] == 40
    code, told = control("set", "optim.learning_rate", "1")
    assert (code, told.startswith("refused: ")) == (1, True)
    code, told = control("set", "no.such", "1")
    assert (code, told.startswith("refused: ")) == (1, True)
    code, told = control("resume")
    assert (code, "going on" in told) == (0, True)
    assert tinychat("control", live_run, "stop").out.startswith("sent stop to live")
    until(lambda: not lock_is_held(live_run))
    assert RunReader(live_run).status.state == "stopped"  # type: ignore[union-attr]
    found = tinychat("control", live_run, "pause")
    assert found.code == 2
    assert "it is stopped" in found.err


def test_flags_of_another_command_are_refused(tinychat: Tinychat, trained_runs: Path) -> None:
    for words in (["pause", "--prompt", "x"], ["stop", "eval.every_steps"], ["set", "x.y"]):
        found = tinychat("control", "talk", *words, "--checkpoints", trained_runs)
        assert (found.code, found.out) == (2, "")
        assert "control RUN" in found.err
    assert not list(RunPaths(trained_runs / "talk").control.iterdir()), "nothing was sent"
