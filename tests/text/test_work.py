"""Preparations that are cut off, wait for another one, or are large."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.runs import Disk, RunLock
from tinychat.text import Prepared, prepare
from tinychat.text.work import work_on

from .test_prepare import BPE, contents, make

Write = Callable[..., Path]


# --- a disk that fails ------------------------------------------------------------------------


class FailingDisk(Disk):
    """Fails at its nth operation, as a full disk does."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def append(self, fd: int, data: bytes) -> int:
        self._count()
        return super().append(fd, data)

    def write_file(self, path: Path, data: bytes) -> None:
        self._count()
        super().write_file(path, data)

    def fsync(self, path: Path) -> None:
        self._count()
        super().fsync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)


def test_a_failing_disk_leaves_nothing_half_done(tmp_path: Path, talks: Path) -> None:
    whole = contents(make(tmp_path / "whole", talks).folder)
    failures = 0
    while True:
        cache = tmp_path / str(failures)
        try:
            make(cache, talks, disk=FailingDisk(failures + 1))
        except DataError as error:
            sentence = str(error)
        else:
            break
        failures += 1
        assert "No space left" in sentence
        assert "goes on" in sentence
        assert not list(cache.glob("*/corpus.json"))
        prepared = make(cache, talks)
        assert not prepared.reused
        assert contents(prepared.folder) == whole
        assert list(cache.iterdir()) == [prepared.folder]
    assert failures > 15


# --- going on after a kill --------------------------------------------------------------------

_CHILD = """
import json, os, signal, sys
from pathlib import Path
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.runs import Disk, RunLock
from tinychat.text import prepare, corpus, encoding

corpus._BLOCK_BYTES = encoding._BATCH_BYTES = 10_000
encoding._BATCH_ITEMS = 50
encoding._SAVE_BYTES = 30_000
path, cache, kind, stage, point = sys.argv[1:]
left = int(point)
told = []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(name, done, total):
    if total == 0:
        told.append(name)
    elif stage and name.startswith(stage) and done * 100 >= left * total:
        die()

class Deadly(Disk):
    def _count(self):
        global left
        left -= 1
        if stage == "disk" and left == 0:
            die()

    def append(self, fd, data):
        self._count()
        return super().append(fd, data)

    def fsync(self, path):
        self._count()
        super().fsync(path)

    def rename(self, source, target):
        self._count()
        super().rename(source, target)

    def replace(self, source, target):
        self._count()
        super().replace(source, target)

print("started", flush=True)
prepare(
    DataSettings(paths=(path,)), TokenizerSettings(kind=kind, vocab_size=300), seed=0,
    cache=Path(cache), progress=progress, disk=Deadly(),
)
print(json.dumps(told))
"""


def child(path: Path, cache: Path, kind: str, stage: str = "", point: int = 0) -> list[str] | None:
    """What it was told, or None if it was killed, at so many percent of a stage."""
    argv = [sys.executable, "-c", _CHILD, str(path), str(cache), kind, stage, str(point)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def long_stories(tmp_path: Path) -> Path:
    """Some 300 KB, a few of the documents larger than a batch."""
    path = tmp_path / "long.txt"
    sentence = "Once there was a cat called {}, who was naïve.\n"
    texts = (sentence.format(i) * (400 if i % 100 == 50 else 3) for i in range(700))
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def many_talks(write_jsonl: Write) -> Path:
    turns = ("What is {}?", "A number, {}, as you know from school.")
    return write_jsonl(
        "many.jsonl",
        [dict(zip(("prompt", "completion"), (t.format(i) for t in turns), strict=True))
         for i in range(3000)],
    )  # fmt: skip


@pytest.mark.parametrize(
    "form", ["long_stories", pytest.param("many_talks", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("stage", "points", "told"),
    [
        ("counting", [50], []),
        ("tokenizer", [10, 90], ["when all was counted"]),
        ("encoding", [20, 50, 100], [r"at \d\d%"]),
        ("disk", [3, 8, 9, 10, 15], [r"interrupted"]),
    ],
    ids=["counting", "tokenizer", "encoding", "disk"],
)
def test_what_was_killed_goes_on_to_the_same_bytes(
    form: str, stage: str, points: list[int], told: list[str], tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    path = request.getfixturevalue(form)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert child(path, whole, "bpe") == []
    for point in points:
        assert child(path, killed, "bpe", stage, point) is None
        assert not list(killed.glob("*/corpus.json"))
    sentences = child(path, killed, "bpe")
    assert sentences is not None
    assert len(sentences) == len(told)
    assert all(re.search(pattern, s) for pattern, s in zip(told, sentences, strict=True))
    (expected,), (found,) = whole.iterdir(), killed.iterdir()
    assert found.name == expected.name
    assert contents(found) == contents(expected)


@pytest.mark.parametrize("name", ["survey.json", "survey.bits", "progress.json", "done/train.bin",
                                  "done/tokenizer.json", "done/valid.idx"])  # fmt: skip
@pytest.mark.parametrize("damage", ["flipped", "torn", "missing"])
def test_what_is_kept_of_work_is_believed_only_whole(
    name: str, damage: str, tmp_path: Path, long_stories: Path
) -> None:
    whole = make(tmp_path / "whole", long_stories)
    cache = tmp_path / "killed"
    assert child(long_stories, cache, "bpe", "encoding", 60) is None
    (work,) = cache.iterdir()
    path = work / name
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes(flipped if damage == "flipped" else data[:middle])
    if damage == "missing":
        path.unlink()
    assert contents(make(cache, long_stories).folder) == contents(whole.folder)


@pytest.mark.parametrize(
    ("name", "number"), [("survey.json", "documents"), ("progress.json", "items")]
)
def test_a_number_that_was_changed_is_noticed(
    name: str, number: str, tmp_path: Path, long_stories: Path
) -> None:
    whole = make(tmp_path / "whole", long_stories)
    cache = tmp_path / "killed"
    assert child(long_stories, cache, "bpe", "encoding", 60) is None
    (path,) = cache.glob(f"*/{name}")
    text = path.read_text()
    changed = re.sub(rf'(?<=\b{number}\\": )\d', "1" if number == "documents" else "9", text)
    assert changed != text
    path.write_text(changed)
    assert contents(make(cache, long_stories).folder) == contents(whole.folder)


def test_a_second_process_waits_and_finds_the_cache(cache: Path, long_stories: Path) -> None:
    """The second begins while the first is in the middle."""
    told: list[str] = []
    seen = threading.Event()

    def slow(stage: str, done: int, total: int) -> None:
        if stage == "counting" and not other.is_alive() and not told:
            other.start()
            assert seen.wait(60)

    def second(stage: str, done: int, total: int) -> None:
        if total == 0:
            told.append(stage)
            seen.set()

    found: list[Prepared] = []
    data = DataSettings(paths=(str(long_stories),))
    other = threading.Thread(
        target=lambda: found.append(prepare(data, BPE, seed=0, cache=cache, progress=second))
    )
    first = prepare(data, BPE, seed=0, cache=cache, progress=slow)
    other.join(60)
    assert not first.reused
    assert "waiting for another process" in told[0]
    assert found[0].reused
    assert found[0].folder == first.folder
    assert list(cache.iterdir()) == [first.folder]


def test_a_folder_that_its_last_holder_removes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment in which the lock is had and the look whether it is still the folder's."""
    removed: list[Path] = []
    look = RunLock.still_held

    def remove_and_look(lock: RunLock) -> bool:
        if not removed:
            removed.append(lock.path.parent)
            shutil.rmtree(lock.path.parent)
        return look(lock)

    monkeypatch.setattr(RunLock, "still_held", remove_and_look)
    with work_on(tmp_path / "cache", "key", Disk(), None) as work:
        assert removed == [work.path]
        assert work.done.is_dir()


def test_bad_data_leave_no_folder_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("same\n<|endoftext|>\n" * 20)
    with pytest.raises(DataError, match="are the same"):
        make(tmp_path / "checkpoints" / ".cache", path)
    assert not (tmp_path / "checkpoints").exists()


def test_old_leftovers_are_removed(cache: Path, stories: Path, talks: Path) -> None:
    day = 24 * 3600
    ages = {".tmp-old": 2 * day, ".tmp-new": 0, ".work-old": 8 * day, ".work-new": 2 * day}
    for name, age in ages.items():
        (cache / name / "done").mkdir(parents=True)
        for path in (cache / name / "done", cache / name):
            then = time.time() - age
            os.utime(path, (then, then))
    folder = make(cache, stories).folder
    assert {path.name for path in cache.iterdir()} == {folder.name, ".tmp-new", ".work-new"}


# --- bounded memory ---------------------------------------------------------------------------

_PREPARE = """
import json, resource, sys
from pathlib import Path
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.text import prepare
prepared = prepare(
    DataSettings(paths=(sys.argv[1],)), TokenizerSettings(kind=sys.argv[3], vocab_size=400),
    seed=0, cache=Path(sys.argv[2]),
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summary = prepared.summary
print(json.dumps([peak * (1 if sys.platform == "darwin" else 1024),
                  summary.train.text_bytes + summary.valid.text_bytes, summary.n_bytes]))
"""


def _peak_bytes(path: Path, cache: Path, kind: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(path), str(cache), kind],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    peak, encoded, given = json.loads(done.stdout)
    assert encoded == given  # one text, so every byte is in one of the sides
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ending"), [("bpe", "\n"), ("char", " ")])
def test_memory_does_not_grow_with_the_text(
    cache: Path, tmp_path: Path, kind: str, ending: str
) -> None:
    """30 MB as one document, of many lines or of one. Held whole, it would take some 200 MB."""
    sentence = "The cat of number {} sat on the mat, and the mat was red." + ending
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    for path, megabytes in ((small, 3), (large, 30)):
        with open(path, "w", encoding="utf-8") as file:
            for i in range(megabytes * 1_000_000 // 62):
                file.write(sentence.format(i % 10_000))
    grown = _peak_bytes(large, cache, kind) - _peak_bytes(small, cache, kind)
    assert grown < 60_000_000
