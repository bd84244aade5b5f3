"""What the README says is true: its commands run, its settings load, its links lead somewhere."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.test_foreign import write_folder
from tinychat.cli.app import run as tinychat

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SMALL = [
    "--model.n-layer=1", "--model.n-head=2", "--model.n-embd=16", "--model.context-length=32",
    "--tokenizer.vocab-size=300", "--batch-size=4", "--runtime.threads=1",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.strip()]


def test_every_tinychat_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the README's order and words; training is only made smaller."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINYCHAT_CHECKPOINTS", raising=False)
    texts = tmp_path / "my-texts"
    texts.mkdir()
    for i in range(12):
        (texts / f"{i}.txt").write_text(f"text {i} tells of {i * i} small things. " * 12, "utf-8")
    (tmp_path / "stick").mkdir()
    write_folder(tmp_path / "path" / "to" / "gpt2", "gpt2")
    (tmp_path / "my-answers.jsonl").write_text(
        "".join(
            json.dumps({"messages": turns(f"Is it {i}?", f"No, {2 * i}.")}) + "\n"
            for i in range(12)
        ),
        "utf-8",
    )
    ran = set()
    for words in commands():
        if words[0] == "tinychat-monitor":  # as text: there is no terminal here
            ran.add("monitor " + " ".join(words[1:]))
            module = [sys.executable, "-m", "tinychat_monitor", *words[1:], "--once"]
            done = subprocess.run(module, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), words
            assert "mine" in done.stdout
            continue
        if words[0] == "tinychat-ui" or words[:2] == ["tinychat", "serve"]:
            ran.add(words[-1])
            served(words)
            continue
        if words[0] != "tinychat":
            continue
        if words[1] == "chaos":  # tests/chaos runs it, which takes minutes
            continue
        ran.add(words[1])
        if words[1] == "control":  # needs a trainer that runs: refused in a sentence
            assert tinychat(words[1:]) == 2, capsys.readouterr().err
            continue
        if words[1] in ("chat", "teach"):
            said = "hello\n" if words[1] == "chat" else "\n1\n\n2\nq\n"
            done = subprocess.run(
                [sys.executable, "-m", *words], input=said, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            continue
        shorter = {"2000": "6", "4000": "9", "256": "64", "200:400": "2:4", "/mnt/stick": "stick"}
        extra = SMALL if words[1] == "train" else []
        if "--init-from" in words:  # its shape is its parent's
            extra = ["--max-steps=2", *(f for f in SMALL if not f.startswith(("--model", "--tok")))]
        assert tinychat([shorter.get(w, w) for w in words[1:]] + extra) == 0, words
    assert ran >= {"data", "plan", "train", "chat", "resume", "control", "runs", "show", "eval"}
    assert ran >= {"verify", "teach", "tune", "feedback"}
    assert (tmp_path / "checkpoints" / "mine-tuned" / "run.json").exists()
    assert {"monitor ", "monitor mine", "monitor mine --once", "tinychat-ui", "serve"} <= ran


def turns(asked: str, answered: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def served(words: list[str]) -> None:
    """It answers until Ctrl+C."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "-m", words[0].replace("-", "_"), *words[1:], f"--port={port}"]
    server = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None, server.communicate()
                assert time.monotonic() < deadline, words
                time.sleep(0.1)
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
        assert (server.returncode, "Traceback" in err) == (0, False), err
        assert f"http://127.0.0.1:{port}" in out
    finally:
        server.kill()


def test_the_settings_file_loads_and_the_wrong_one_is_told_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good = blocks("toml")[0]
    Path("my.toml").write_text(good, "utf-8")
    assert tinychat(["train", "--config", "my.toml", "--dry-run"]) == 0
    wrong = good.replace("n_layer", "n_layers").replace("5000", '"5k"')
    Path("my.toml").write_text(wrong, "utf-8")
    capsys.readouterr()
    assert tinychat(["train", "--config", "my.toml", "--dry-run"]) == 2
    told = capsys.readouterr().err
    for line in blocks("text")[0].splitlines():
        assert line in told


def test_the_pip_lines_are_the_makefile_s(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "-m pip install" in makefile
    assert "-c constraints.txt" in makefile
    assert "tinychat demo" in makefile
    assert ["make", "demo"] in commands()
    assert ["make", "test"] in commands()
    assert shutil.which("make"), "make is needed to try this"
    for target in ("demo", "test"):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_every_file_it_names_is_there() -> None:
    for name in re.findall(r"\(?(docs/[\w./-]+|CONTRIBUTING\.md)\)?", README):
        assert (ROOT / name).exists(), name
