"""Chatting with a run while it trains: it always gets a whole model, and changes no bit of it."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

from tests.conftest import tiny, write_corpora
from tinychat.config import RuntimeSettings
from tinychat.engine import Engine, Sampling, Shelf
from tinychat.errors import NoCheckpointError, RunNotFoundError
from tinychat.runs import list_checkpoints
from tinychat.text import Message

STEPS = 100
FLAGS = tiny(max_steps=STEPS, checkpoint__every_steps=5, eval__every_steps=50)
READERS = 2


def train(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    words = ["train", "--name", "demo", "--data", str(data), "--checkpoints", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words, *FLAGS],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(trainer: subprocess.Popen[bytes]) -> None:
    _, said = trainer.communicate(timeout=300)
    assert trainer.returncode == 0, said.decode()


def digest(folder: Path) -> dict[str, str]:
    last = folder / "demo" / f"step-{STEPS:08d}"
    files = ("model.safetensors", "optimizer.safetensors")
    return {name: hashlib.sha256((last / name).read_bytes()).hexdigest() for name in files}


def test_chatting_beside_a_trainer(tmp_path: Path) -> None:
    talks, _ = write_corpora(tmp_path)
    alone, watched = tmp_path / "alone", tmp_path / "watched"
    finish(train(alone, talks))

    trainer = train(watched, talks)
    shelf = Shelf(watched, RuntimeSettings(device="cpu", dtype="fp32", threads=1), most=2)
    steps: list[set[int]] = [set() for _ in range(READERS)]
    problems: list[BaseException] = []

    def chat(engine: Engine, mine: set[int]) -> None:
        while trainer.poll() is None and not problems:
            try:
                opened = shelf.open("demo@latest")
                prompt = opened.text.fit([Message("user", "Hello")], 8)
                "".join(engine.ask(opened.text, prompt, Sampling(max_new_tokens=8)))
                assert opened.step == opened.card.step
                mine.add(opened.card.step)
            except (RunNotFoundError, NoCheckpointError):
                pass  # not born yet, or pruned while it was looked for
            except BaseException as error:
                problems.append(error)

    with Engine() as engine:
        readers = [threading.Thread(target=chat, args=(engine, mine)) for mine in steps]
        for reader in readers:
            reader.start()
        finish(trainer)
        for reader in readers:
            reader.join()
    assert problems == []
    assert all(len(mine) > 2 for mine in steps), "each heard several steps"
    assert digest(watched) == digest(alone)
    assert list_checkpoints(watched / "demo") == list_checkpoints(alone / "demo")
