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
from tinychat.text.hub_folder import is_plain

from .hub_server import COMMIT, Hub

ROWS = [{"instruction": f"What is {a} plus {b}?", "context": "", "response": f"It is {a + b}."}
        for a in range(20) for b in range(20)]  # fmt: skip
LINES = "\n".join(map(json.dumps, ROWS)).encode()
TRAIN = "hf:some/sums:train"

# the library reads where its hub is once, when it is imported; a command a line
COMMANDS = """
import contextlib, io, json, os, sys
from tinychat.cli.app import run
for line in sys.stdin:
    folder, *words = json.loads(line)
    os.environ["TINYCHAT_CHECKPOINTS"] = folder
    told, answer = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(answer):
        code = run(words)
    print(json.dumps([code, told.getvalue()]), flush=True)
"""
FETCH = """
import sys
from pathlib import Path
from tinychat.text.hub import fetch_dataset
told = lambda stage, *_: print(stage, flush=True)
fetch_dataset("hf:some/sums:train", Path(sys.argv[1]), told)
"""


def python(script: str, address: str, home: Path, *words: str) -> "subprocess.Popen[str]":
    where = {"HF_ENDPOINT": address, "HF_HOME": str(home), "NO_PROXY": "*"}
    where["HF_HUB_OFFLINE"] = "0"  # other tests of this process may have set it
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | where,
    )


class Person:
    """Gives commands, one after the other, to one process whose hub is at an address."""

    def __init__(self, address: str, home: Path) -> None:
        self._process = python(COMMANDS, address, home)

    def __call__(self, folder: Path, *words: str) -> tuple[int, str]:
        """(exit code, stderr)"""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(folder), *words]) + "\n")
        self._process.stdin.flush()
        code, told = json.loads(self._process.stdout.readline())
        return code, told

    def leave(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    hub = Hub({"some/sums"}, {}, None)
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def person(server: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    one = Person(server.address, tmp_path_factory.mktemp("home"))
    yield one
    one.leave()


@pytest.fixture
def hub(server: Hub) -> Hub:
    server.files = {
        "README.md": b"# sums",
        "train.jsonl": LINES,
        "test.jsonl": LINES[: len(LINES) // 8],
    }
    server.licence, server.commit = "cc-by-sa-3.0", COMMIT
    server.asked, server.cut, server.lies = [], {}, {}
    server.gate.set()
    return server


def fetching(hub: Hub, folder: Path) -> "subprocess.Popen[str]":
    return python(FETCH, hub.address, folder / "home", str(folder))


def rubbish(folder: Path) -> list[str]:
    kept = {"hub.json", "train.jsonl", "lock"}
    return [p.name for p in (folder / ".hub").rglob("*") if p.is_file() and p.name not in kept]


@pytest.mark.slow
def test_a_run_learns_from_a_data_set_of_the_hub(hub: Hub, person: Person, tmp_path: Path) -> None:
    words = ["--data", TRAIN, *tiny(max_steps=2)]
    code, told = person(tmp_path, "train", "--name", "one", *words)
    assert code == 0, told
    assert "licence cc-by-sa-3.0" in told
    assert COMMIT[:12] in told
    settings = from_json(RunReader(tmp_path / "one").settings).settings
    (path,) = map(Path, settings.data.paths)
    assert path.read_bytes() == LINES
    assert settings.data.licence == "cc-by-sa-3.0"
    assert "cc-by-sa-3.0" in (tmp_path / "one/step-00000002/README.md").read_text("utf-8")
    assert not rubbish(tmp_path)
    assert len(hub.fetched) == 1
    code, told = person(tmp_path, "train", "--dry-run", *words)
    assert (code, "licence" in told) == (0, False), "said once"
    assert len(hub.fetched) == 1, "nothing is fetched twice"

    offline = Person("http://127.0.0.1:9", tmp_path / "home")
    code, told = offline(tmp_path, "resume", "one", "--max-steps", "4")
    assert code == 0, told
    code, told = offline(tmp_path, "data", TRAIN)
    assert code == 0, told
    assert f"taking revision {COMMIT[:12]}, fetched before" in told
    code, told = offline(tmp_path, "data", "hf:some/sums:test")
    assert code == 1, "another choice of files was never fetched"
    assert "some/sums cannot be fetched" in told
    offline.leave()


def test_a_run_goes_on_with_data_of_the_hub(hub: Hub, person: Person, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("Anna saw cats. " * 400, "utf-8")
    flags = tiny(max_steps=2)
    code, told = person(tmp_path, "train", "--name", "own", "--data", str(mine), *flags)
    assert code == 0, told
    words = ["resume", "own", "--data.paths", str(mine), "hf:some/sums:train", "--max-steps"]
    assert person(tmp_path, *words, "abc")[0] == 2
    assert hub.asked == []
    hub.files = {"train.txt": b"Tom saw boats. " * 400}
    code, told = person(tmp_path, *words, "4")
    assert (code, "--accept-new-data" in told) == (2, True), told
    code, told = person(tmp_path, *words, "4", "--accept-new-data")
    assert code == 0, told
    settings = from_json(RunReader(tmp_path / "own").settings).settings
    assert Path(settings.data.paths[0]) == mine
    assert Path(settings.data.paths[1]).read_bytes() == hub.files["train.txt"]
    assert settings.data.licence == "not told (mine.txt); cc-by-sa-3.0 (some/sums)"


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    """In pieces of 10 MiB, by Range."""
    data = hub.files["train.jsonl"] = LINES * 400
    hub.cut["train.jsonl"] = len(data) - 1000
    process = fetching(hub, tmp_path)
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    assert len(data) > 10 * 2**20
    assert hub.fetched == [None, f"bytes={10 * 2**20}-"]
    assert not rubbish(tmp_path)


def test_a_fetch_that_was_killed_is_done_again(hub: Hub, person: Person, tmp_path: Path) -> None:
    hub.gate.clear()
    process = fetching(hub, tmp_path)
    until(lambda: list(tmp_path.glob(".hub/*/.fetching-*")) or process.poll())
    process.kill()
    process.communicate()
    hub.gate.set()
    hub.commit = "f" * 40  # meanwhile it has another revision
    code, told = person(tmp_path, "data", TRAIN)
    assert code == 0, told
    assert not rubbish(tmp_path)
    assert not list(tmp_path.glob(".hub/*/.fetching-*"))


def test_of_two_that_fetch_the_same_one_waits(hub: Hub, tmp_path: Path) -> None:
    hub.gate.clear()
    first = fetching(hub, tmp_path)
    until(lambda: hub.fetched or first.poll())
    second = fetching(hub, tmp_path)
    assert second.stdout
    assert any("waiting for another process that fetches" in line for line in second.stdout)
    hub.gate.set()
    for process in (first, second):
        _, told = process.communicate(timeout=120)
        assert (process.returncode, told) == (0, "")
    assert len(hub.fetched) == 1
    assert not rubbish(tmp_path)


def test_what_is_not_whole_is_fetched_again(hub: Hub, person: Person, tmp_path: Path) -> None:
    assert person(tmp_path, "data", TRAIN)[0] == 0
    (file,) = tmp_path.glob(".hub/*/*/files/train.jsonl")
    for damage in (lambda: file.write_bytes(LINES[:-1]), file.unlink):
        damage()
        code, told = person(tmp_path, "data", TRAIN)
        assert code == 0, told
        assert file.read_bytes() == LINES
    assert len(hub.fetched) == 3


def test_what_goes_wrong_is_one_sentence(hub: Hub, person: Person, tmp_path: Path) -> None:
    for name, wanted in (
        ("hf:some/other", "the hub knows no dataset some/other"),
        ("hf:some", "is no data set of the hub"),
        ("hf:some/sums:valid", "no data file of that name; there are README.md"),
    ):
        code, told = person(tmp_path, "data", name)
        assert (code, len(told.strip().splitlines())) == (2, 1)
        assert wanted in told


def test_nothing_is_fetched_for_what_is_refused(hub: Hub, person: Person, tmp_path: Path) -> None:
    tokenizer, data = ["--tokenizer", "hf:some/sums"], ["--data", TRAIN]
    for words in (
        [*tokenizer, "--max-steps", "abc"],
        [*data, "--max-steps", "abc"],
        [*data, "--no-such-flag", "1"],
        [*data, "--name", "a b"],
    ):
        code, told = person(tmp_path, "train", *words)
        assert code == 2, told
        assert hub.asked == []


def test_other_bytes_than_the_hub_says_are_refused(
    hub: Hub, person: Person, tmp_path: Path
) -> None:
    hub.lies["train.jsonl"] = bytes([LINES[0] ^ 1]) + LINES[1:]
    code, told = person(tmp_path, "train", "--data", TRAIN, "--name", "lied")
    assert code == 1
    assert "did not come as the hub has it" in told
    assert not rubbish(tmp_path)
    assert not (tmp_path / "lied").exists()


def test_the_hub_chooses_no_path(hub: Hub, person: Person, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    hub.files = {"../../../x.jsonl": LINES}
    code, told = person(inner, "data", "hf:some/sums")
    assert (code, "is no name of a file" in told) == (1, True)
    hub.files, hub.commit = {"x.jsonl": LINES}, "../../../../outside"
    code, told = person(inner, "data", "hf:some/sums")
    assert (code, "names no commit" in told) == (1, True)
    assert hub.fetched == []
    assert [path.name for path in tmp_path.iterdir()] in ([], ["inner"])


@pytest.mark.parametrize("name", ["/x", "a/../x", "..", "a//x", "a/", "", "a\\x", "C:x", "./x"])
def test_names_that_are_no_plain_path(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("data/train-00000-of-00001.parquet")


def test_no_terminal_obeys_the_hub(hub: Hub, person: Person, tmp_path: Path) -> None:
    hub.licence = ["mit\x1b]0;x\x07", 7]
    code, told = person(tmp_path, "data", TRAIN)
    assert (code, "licence mit␛]0;x␇, 7" in told) == (0, True)
    hub.files = {"\x1b[2Jx": b""}
    code, told = person(tmp_path, "data", TRAIN)
    assert (code, "there are ␛[2Jx" in told) == (2, True)
    assert "\x1b" not in told


def test_a_vocabulary_is_fetched_when_it_is_named(
    hub: Hub, person: Person, tmp_path: Path, trained_runs: Path
) -> None:
    own = trained_runs / "story" / "tokenizer.json"
    hub.files = {"tokenizer.json": own.read_bytes(), "data.txt": b"Anna saw cats. " * 400}
    words = ["--tokenizer", "hf:some/sums", "--data", "hf:some/sums", *tiny(max_steps=2)]
    flags = [w for w in words if not w.startswith("--tokenizer.")]
    code, told = person(tmp_path, "train", "--name", "voc", *flags)
    assert code == 0, told
    assert (tmp_path / "voc" / "tokenizer.json").read_bytes() == own.read_bytes()
