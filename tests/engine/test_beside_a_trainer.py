"""Chatting with a run while it trains: it always gets a whole model, and changes no bit of it."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

from tests.conftest import tiny, until, write_corpora
from tinychat.cli.app import run as tinychat
from tinychat.config import RuntimeSettings
from tinychat.engine import Engine, Sampling, Shelf
from tinychat.errors import NoCheckpointError
from tinychat.runs import list_checkpoints, send_command
from tinychat.text import Message

READERS = 2


def words(folder: Path, data: Path, max_steps: int) -> list[str]:
    """How to train; a step is the same however many come after it."""
    flags = tiny(
        max_steps=max_steps, optim__schedule_steps=1_000_000, checkpoint__every_steps=2,
        eval__every_steps="none", sample__every_steps="none",
    )  # fmt: skip
    return [
        "train", "--name", "demo", "--data", str(data), "--checkpoints", str(folder), *flags
    ]  # fmt: skip


def digest(folder: Path, step: int) -> dict[str, str]:
    last = folder / "demo" / f"step-{step:08d}"
    files = ("model.safetensors", "optimizer.safetensors")
    return {name: hashlib.sha256((last / name).read_bytes()).hexdigest() for name in files}


def test_chatting_beside_a_trainer(tmp_path: Path) -> None:
    talks, _ = write_corpora(tmp_path)
    alone, watched = tmp_path / "alone", tmp_path / "watched"
    shelf = Shelf(watched, RuntimeSettings(device="cpu", dtype="fp32", threads=1), most=2)
    steps: list[set[int]] = [set() for _ in range(READERS)]
    problems: list[BaseException] = []
    trainer = subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words(watched, talks, 1_000_000)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip

    def chat(engine: Engine, mine: set[int]) -> None:
        while trainer.poll() is None and not problems:
            try:
                opened = shelf.open("demo@latest")
                prompt = opened.text.fit([Message("user", "Hello")], 8)
                "".join(engine.ask(opened.text, prompt, Sampling(max_new_tokens=8)))
                assert opened.step == opened.card.step
                mine.add(opened.card.step)
            except NoCheckpointError:
                pass  # pruned while it was looked for
            except BaseException as error:
                problems.append(error)

    def has_ended() -> bool:
        return trainer.poll() is not None

    with Engine() as engine:
        readers = [threading.Thread(target=chat, args=(engine, mine)) for mine in steps]
        try:
            until(lambda: list_checkpoints(watched / "demo") or has_ended())
            for reader in readers:
                reader.start()
            # each hears several steps
            until(lambda: all(len(mine) > 3 for mine in steps) or problems or has_ended())
            assert not has_ended()
            send_command(watched / "demo", "stop", by="a test")
            _, said = trainer.communicate(timeout=300)
            assert trainer.returncode == 0, said.decode()
        finally:
            trainer.kill()
            for reader in readers:
                if reader.ident:  # begun
                    reader.join()
    assert problems == []

    last = max(list_checkpoints(watched / "demo"))
    assert tinychat(words(alone, talks, last)) == 0
    assert digest(watched, last) == digest(alone, last)
    assert list_checkpoints(watched / "demo") == list_checkpoints(alone / "demo")
