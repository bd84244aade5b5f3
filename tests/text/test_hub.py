"""Data sets and vocabularies from a hub that speaks the real protocol, on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import tiny, until
from tinychat.config.load import from_json
from tinychat.runs import RunReader

from .hub_server import COMMIT, Hub

ROWS = [{"instruction": f"What is {a} plus {b}?", "context": "", "response": f"It is {a + b}."}
        for a in range(20) for b in range(20)]  # fmt: skip
LINES = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {"README.md": b"# sums", "train.jsonl": LINES, "test.jsonl": LINES[: len(LINES) // 8]}
    server = Hub({"some/sums"}, files, "cc-by-sa-3.0")
    yield server
    server.close()


def tinychat(hub: Hub | None, folder: Path, *words: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, whose hub is that one (none: one that is not there)."""
    address = hub.address if hub else "http://127.0.0.1:9"
    home = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "NO_PROXY": "*"}
    return subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | home | {"TINYCHAT_CHECKPOINTS": str(folder)},
    )


def train(hub: Hub | None, folder: Path, name: str) -> tuple[int, str]:
    words = ["train", "--data", "hf:some/sums:train", "--name", name, *tiny(max_steps=2)]
    process = tinychat(hub, folder, *words)
    _, told = process.communicate(timeout=120)
    return process.returncode, told


def rubbish(folder: Path) -> list[str]:
    kept = {"hub.json", "train.jsonl"}
    return [p.name for p in (folder / ".hub").rglob("*") if p.is_file() and p.name not in kept]


def test_a_run_learns_from_a_data_set_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    code, told = train(hub, tmp_path, "one")
    assert code == 0, told
    assert "licence cc-by-sa-3.0" in told
    assert COMMIT[:12] in told
    settings = from_json(RunReader(tmp_path / "one").settings).settings
    (path,) = map(Path, settings.data.paths)
    assert path.read_bytes() == LINES
    assert settings.data.licence == "cc-by-sa-3.0"
    assert "cc-by-sa-3.0" in (tmp_path / "one/step-00000002/README.md").read_text("utf-8")
    assert not rubbish(tmp_path)
    fetched = [path for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    code, told = train(hub, tmp_path, "two")
    assert (code, "licence" in told) == (0, False), "said once"
    again = [path for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    assert again == fetched, "nothing is fetched twice"
    process = tinychat(None, tmp_path, "resume", "one", "--max-steps", "4")
    assert process.wait(120) == 0, "a run needs no hub"


FETCH = """
import sys
from pathlib import Path
from tinychat.text.hub import fetch_dataset
fetch_dataset("hf:some/sums:train", Path(sys.argv[1]), lambda *_: None)
"""


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    """In pieces of 10 MiB, by Range."""
    data = hub.files["train.jsonl"] = LINES * 400
    hub.cut["train.jsonl"] = len(data) - 1000
    where = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, str(tmp_path)], capture_output=True, env=os.environ | where
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(data) > 10 * 2**20
    wanted = [each for method, path, each in hub.asked if method == "GET" and "resolve" in path]
    assert wanted == [None, f"bytes={10 * 2**20}-"]
    assert not rubbish(tmp_path)


def test_a_fetch_that_was_killed_is_done_again(hub: Hub, tmp_path: Path) -> None:
    hub.files["train.jsonl"] = LINES * 400
    hub.cut["train.jsonl"] = 1000
    words = ["train", "--data", "hf:some/sums:train", "--name", "killed", *tiny(max_steps=2)]
    process = tinychat(hub, tmp_path, *words)
    until(lambda: list(tmp_path.glob(".hub/*/.fetching-*/**/*.incomplete")) or process.poll())
    process.kill()
    process.communicate()
    hub.files["train.jsonl"] = LINES
    code, told = train(hub, tmp_path, "killed")
    assert code == 0, told
    assert not rubbish(tmp_path)
    assert not list(tmp_path.glob(".hub/*/.fetching-*"))


def test_what_goes_wrong_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    for name, wanted, code in (
        ("hf:some/other", "the hub knows no dataset some/other", 2),
        ("hf:some", "is no data set of the hub", 2),
        ("hf:some/sums:valid", "no data file of that name; there are README.md", 2),
    ):
        process = tinychat(hub, tmp_path, "data", name)
        _, told = process.communicate(timeout=60)
        assert process.returncode == code
        assert wanted in told
        assert len(told.strip().splitlines()) == 1
    process = tinychat(None, tmp_path, "data", "hf:some/sums")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "some/sums cannot be fetched" in told


def test_other_bytes_than_the_hub_says_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lies["train.jsonl"] = bytes([LINES[0] ^ 1]) + LINES[1:]
    code, told = train(hub, tmp_path, "lied")
    assert code == 1
    assert "did not come as the hub has it" in told
    assert not rubbish(tmp_path)
    assert not (tmp_path / "lied").exists()


def test_a_vocabulary_is_fetched_when_it_is_named(
    hub: Hub, tmp_path: Path, trained_runs: Path
) -> None:
    own = trained_runs / "story" / "tokenizer.json"
    hub.files = {"tokenizer.json": own.read_bytes(), "data.txt": b"Anna saw cats. " * 400}
    words = ["--tokenizer", "hf:some/sums", "--data", "hf:some/sums", *tiny(max_steps=2)]
    flags = [w for w in words if not w.startswith("--tokenizer.")]
    process = tinychat(hub, tmp_path, "train", "--name", "voc", *flags)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert (tmp_path / "voc" / "tokenizer.json").read_bytes() == own.read_bytes()
