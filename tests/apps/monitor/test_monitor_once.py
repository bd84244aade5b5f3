"""`tinychat-monitor --once`, as a person or a script calls it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.runs import RunWriter
from tinychat_monitor.__main__ import main

Record = Callable[..., RunWriter]


def monitor(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinychat_monitor", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=check,
        env=environment(),
    )


def environment() -> dict[str, str]:
    apps = str(Path(__file__).parents[3] / "apps")
    path = os.pathsep.join([apps, os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}


def test_help_is_light() -> None:
    code = """
import contextlib, sys
from tinychat_monitor.__main__ import main
with contextlib.suppress(SystemExit):
    main(["--help"])
heavy = {"torch", "gradio", "numpy", "textual", "rich"} & set(sys.modules)
sys.exit(" ".join(heavy) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("tinychat-monitor", "RUN", "--checkpoints", "--once", "--json"):
        assert word in done.stdout


def test_the_list_has_a_line_for_each_run(record: Record, tmp_path: Path) -> None:
    record("old", "finished", 5000)
    record("gone", pid=2**22 + 1)
    record("late", next_beat_by=1.0, time=0.0)
    record("far", host="elsewhere", next_beat_by=1.0, time=0.0)
    record("new")
    lines = monitor("--once", "--checkpoints", tmp_path).stdout.splitlines()
    assert lines[0].split() == ["run", "state", "step", "train", "val", "tok/s", "ETA", "age"]
    told = [line.split() for line in lines[1:6]]
    numbers = ["1.842", "1.750", "51.2k"]
    assert told[0][:-1] == ["new", "●", "training", "1,250/5,000", *numbers, "1h01m"]
    assert told[1][:4] == ["far", "?", "other", "host"]
    assert told[2][:3] == ["late", "!", "stalled"]
    assert told[3][:-1] == ["gone", "✗", "crashed", "1,250/5,000", *numbers, "–"]
    assert told[4][:-1] == ["old", "✓", "finished", "5,000/5,000", *numbers, "–"]
    assert f"gone: Process {2**22 + 1} is gone; it was training." in lines


def test_one_run_with_its_sample(record: Record, tmp_path: Path) -> None:
    record("demo")
    for run in ("demo", tmp_path / "demo", "demo@latest"):
        text = monitor(run, "--once", "--checkpoints", tmp_path).stdout
        assert text.startswith("demo\n● training   step 1,250/5,000 (25%)   ETA 1h01m   last beat ")
        facts = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line[1:])
        told = {name: words.strip() for name, words in facts.items()}
        assert told["train loss"] == "1.842 nats per token at step 1,250"
        assert told["val loss"] == "1.750 nats per token at step 1,250, 1.020 bits per byte"
        assert told["best"] == "val loss 1.500 at step 1,250"
        assert told["speed"] == "51.2k tokens/s"
        assert told["memory"] == "1.5 GB"
        assert told["tokens seen"] == "1,250,000"
        assert told["checkpoints"] == "1,250"
        assert "sample of step 1,250\n› Hello\n[@click=app.quit]press[/] ␛]0;owned␇" in text
        assert not set(text) & set("\x1b\x07\u202e")


def test_json_is_one_document(record: Record, tmp_path: Path) -> None:
    record("demo")
    document = json.loads(monitor("--json", "--checkpoints", tmp_path).stdout)
    (run,) = document["runs"]
    told: dict[str, Any] = {
        "name": "demo",
        "path": str(tmp_path / "demo"),
        "state": "training",
        "reason": "",
        "step": 1250,
        "max_steps": 5000,
        "tokens_seen": 1250000,
        "train_loss": 1.842,
        "val_loss": 1.75,
        "tokens_per_second": 51234.0,
        "eta_seconds": 3700.0,
    }
    assert run.pop("age_seconds") >= 0
    assert told.items() <= run.items()
    assert run["best"] == {"step": 1250, "val_loss": 1.5}
    assert (run["latest"], run["bits_per_byte"], run["nonfinite"]) == (1250, 1.02, [])
    details = json.loads(monitor("demo", "--json", "--once", "--checkpoints", tmp_path).stdout)
    assert told.items() <= details.items()
    assert details["sample"]["prompt"] == "Hello"
    assert details["best"] == {"step": 1250, "val_loss": 1.5}
    assert details["checkpoints"] == [1250]


def test_nothing_there_and_nothing_found(record: Record, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    assert "There are no runs in" in monitor("--once", "--checkpoints", folder).stdout
    assert json.loads(monitor("--json", "--checkpoints", folder).stdout)["runs"] == []
    record("demo")
    done = monitor("dmo", "--once", "--checkpoints", tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "did you mean demo?" in done.stderr


def test_hurt_runs_are_shown_as_such(record: Record, tmp_path: Path) -> None:
    for name in ("newer", "hurt", "silent", "diverged"):
        writer = record(name)
    (tmp_path / "newer" / "run.json").write_text('{"format": 9}', encoding="utf-8")
    (tmp_path / "hurt" / "status.json").write_text("{", encoding="utf-8")
    (tmp_path / "silent" / "status.json").unlink()
    writer.eval_row(step=1260, val_loss=float("nan"))
    text = monitor("--once", "--checkpoints", tmp_path).stdout
    assert text.count("? unknown") == 3
    assert "newer: " in text
    assert "please update tinychat" in text
    assert "NaN/∞" in text
    for name in ("newer", "hurt", "silent", "diverged"):
        monitor(name, "--once", "--checkpoints", tmp_path)
        monitor(name, "--json", "--checkpoints", tmp_path)


def test_once_is_once_also_in_plain_lines(record: Record, tmp_path: Path) -> None:
    record("live")
    both = monitor("live", "--plain", "--once", "--checkpoints", tmp_path).stdout
    assert both.splitlines()[:1] == ["live"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
@pytest.mark.parametrize("flag", ["--once", "--json", "--plain"])
def test_a_full_disk_is_told_in_a_sentence(flag: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinychat_monitor", "--checkpoints", str(tmp_path), flag]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )
    assert done.returncode == 1
    assert done.stderr == "The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("flag", ["--once", "--json", "--plain"])
def test_nobody_who_reads_on_is_no_fault(flag: str, record: Record, tmp_path: Path) -> None:
    record("live")
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "tinychat_monitor", "--checkpoints", str(tmp_path), flag]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, env=environment()
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no such signal")
def test_who_calls_it_keeps_his_signals(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record("live")
    assert main(["--once", "--checkpoints", str(tmp_path)]) == 0
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert "live" in capsys.readouterr().out


def test_ascii_only_when_asked(record: Record, tmp_path: Path) -> None:
    writer = record("demo–猫")
    writer.eval_row(step=1260, val_loss=float("nan"))
    for run in ([], [tmp_path / "demo–猫"]):
        text = monitor("--once", "--ascii", "--checkpoints", tmp_path, *run).stdout
        assert text.isascii()
        assert "demo-??" in text
        assert "* training" in text
    lines = monitor("--once", "--ascii", "--checkpoints", tmp_path).stdout.splitlines()
    assert "NaN/inf" in lines[1]
    assert len(lines[1]) == len(lines[0])
    document = monitor("--json", "--ascii", "--checkpoints", tmp_path).stdout
    assert document.isascii()
    assert json.loads(document)["runs"][0]["name"] == "demo–猫"


def test_both_commands_tell_the_same(record: Record, tmp_path: Path) -> None:
    record("demo", "finished", 5000, time=time.time() - 200_000)
    record("newer")
    (tmp_path / "newer" / "run.json").write_text('{"format": 9}', encoding="utf-8")
    changing = r'"age_seconds": .*'
    for flags in ([], ["--json"]):
        told = subprocess.run(
            [sys.executable, "-m", "tinychat", "runs", "--checkpoints", str(tmp_path), *flags],
            capture_output=True, encoding="utf-8", check=True,
            env=environment() | {"COLUMNS": "200"},
        ).stdout  # fmt: skip
        seen = monitor("--once", "--checkpoints", tmp_path, *flags).stdout
        assert told.splitlines()[0] == seen.splitlines()[0]
        assert re.sub(changing, "", told) == re.sub(changing, "", seen)
