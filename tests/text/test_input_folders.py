"""Folders of files: what is read of them, and which side of the split a name says."""

import gzip
import json
from pathlib import Path

import pytest

from tests.text.test_inputs import PAIRS, THREE, write
from tinychat.cli.app import run
from tinychat.config import DataSettings
from tinychat.text import Corpus


def names(path: Path) -> dict[str, str | None]:
    corpus = Corpus.scan(DataSettings(paths=(str(path),)))
    return {file.name.removeprefix(f"{path}/"): file.side for file in corpus.files}


def test_a_folder_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name, content in {
        "deep/er/a.jsonl": THREE,
        "b.json": json.dumps(PAIRS).encode(),
        "c.csv": b"prompt,completion\nq,a\n",
        "d.jsonl.gz": gzip.compress(THREE),
        "README.md": b"# About it",
        ".hidden.jsonl": b"\0",
        ".git/x": b"\0",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "again.jsonl").symlink_to(folder / "deep/er/a.jsonl")
    assert list(names(folder)) == ["b.json", "c.csv", "d.jsonl.gz", "deep/er/a.jsonl"]
    corpus = Corpus.scan(DataSettings(paths=(str(folder),)))
    assert any("README.md is left out" in hint for hint in corpus.hints)


def test_a_folder_without_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set" / ".git").mkdir(parents=True)
    (tmp_path / "set" / ".git" / "x").write_text("x")
    assert run(["data", str(tmp_path / "set")]) == 2
    assert f"{tmp_path / 'set'} holds no files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ("dialogues_train.txt", "dialogues_validation.txt"),
        ("tinystories-train.txt", "tinystories-valid.txt"),
        ("train-00000-of-00002.txt", "test-00000-of-00001.txt"),
        ("wiki.train.raw", "wiki.test.raw"),
        ("Train.txt.gz", "VAL.txt"),
    ],
)
def test_sides_in_names(tmp_path: Path, given: tuple[str, str]) -> None:
    for name in (*given, "notes.txt"):
        content = b"words of a text"
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert names(tmp_path) == {given[0]: "train", given[1]: "valid"}


@pytest.mark.parametrize("name", ["train_test.txt", "training.txt", "contest.txt", "values.txt"])
def test_names_that_say_no_side(tmp_path: Path, name: str) -> None:
    for other in (name, "train.txt", "valid.txt"):
        (tmp_path / other).write_text("words of a text")
    assert names(tmp_path) == {"train.txt": "train", "valid.txt": "valid"}


def test_strict_is_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", THREE)
    data = DataSettings(paths=(str(path),))
    strict = DataSettings(paths=(str(path),), strict=True)
    as_text = DataSettings(paths=(str(path),), format="text")
    found = [Corpus.scan(settings).fingerprint for settings in (data, strict, as_text)]
    assert found[0] == found[1] != found[2]
