"""Which files a corpus is made of, and the fingerprint that a run keeps of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text import Corpus, Tokenizer, encode_whole, survey


def scan(*paths: Path | str, undivided: bool = False) -> Corpus:
    data = DataSettings(paths=tuple(map(str, paths)))
    return Corpus.scan(data, undivided=undivided)


def test_fingerprints_outlive_versions(tmp_path: Path) -> None:
    """A run refuses other data than it began with: what reads the same must be named the same."""
    text, records = tmp_path / "a.txt", tmp_path / "b.jsonl"
    text.write_text("Once upon a time.\n", encoding="utf-8")
    records.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    assert scan(text).fingerprint == "0d8feba52b6d63ca442fc031513d3852"
    assert scan(records).fingerprint == "786cde13d60f97dd005070a19fc10f46"
    # the last one changes with the small talk, and then no older demo run can go on
    assert Corpus.scan(DataSettings()).fingerprint == "eb4b7d5049861f1696776b71c4411d7b"


def test_links_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    for name in ("b.txt", "c.txt"):
        (tmp_path / name).symlink_to(tmp_path / "a.txt")
    found = scan(tmp_path)
    assert [file.path for file in found.files] == [tmp_path / "a.txt"]
    assert any("2 links left out" in hint for hint in found.hints)


def test_a_folder_that_cannot_be_looked_into_stops_the_reading(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "b.txt").write_text("two", encoding="utf-8")
    script = """
import os, sys
from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text import Corpus
os.chmod(sys.argv[1] + "/closed", 0)
if os.geteuid() == 0:  # whom no mode stops
    os.seteuid(65534)
try:
    Corpus.scan(DataSettings(paths=(sys.argv[1],)))
except DataError as error:
    print(error)
"""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (tmp_path / "closed").chmod(0o700)
    assert f"{tmp_path}/closed cannot be read: Permission denied." in done.stdout


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="~nosuchuser/x"):
        scan("~nosuchuser/x.txt")


def test_undivided_reads_every_side(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"text of {name}", encoding="utf-8")
    assert len(scan(tmp_path).files) == 2
    whole = scan(tmp_path, undivided=True)
    assert [file.side for file in whole.files] == [None, None, None]


def test_what_is_read_whole_is_reported_and_refused_alike(tmp_path: Path, char: Tokenizer) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "a"},
                                    {"role": "assistant", "content": "b"}]})  # fmt: skip
    path = tmp_path / "talks.jsonl"
    path.write_text((good + "\n") * 30 + "broken\n", encoding="utf-8")
    _, (report,) = encode_whole(scan(path), char, tmp_path, loss="answers")
    assert (report.documents, report.bad_records) == (30, 1)
    path.write_text((good + "\n") * 30 + "broken\n" * 20, encoding="utf-8")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="20 of the 50 records"):
        encode_whole(scan(path), char, tmp_path / "other", loss="answers")


def test_parquet_with_columns_that_have_no_python_form(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    times = pyarrow.array([2**62, 1], type=pyarrow.timestamp("ns"))
    far = pyarrow.array([2**60, 1], type=pyarrow.timestamp("s"))
    table = pyarrow.table({"at": times, "far": far, "text": ["one two", "three four"]})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    assert [item.text for item in scan(path).files[0].items()] == ["one two", "three four"]


@pytest.mark.parametrize("columns", ["text,Text", "text,label,text"])
def test_a_doubled_column_is_refused(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(columns + "\n" + ",".join("abc"[: columns.count(",") + 1]) + "\n", "utf-8")
    with pytest.raises(DataError, match=r"a\.csv has two columns named `text`"):
        scan(path)


def test_a_table_without_a_header_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x" * 2_000_000, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv, line 1: this is no header"):
        scan(path)


def test_garbled_places_are_told_by_the_line_of_their_record(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    good = json.dumps({"prompt": "a\n\n\nb", "completion": "c\nd"})
    bad = json.dumps({"prompt": "a\n\n\nb", "completion": "lost \ufffd, and donâ€™t"})
    path.write_text((good + "\n") * 11 + bad + "\n" + good + "\n", encoding="utf-8")
    (report,) = survey(scan(path), DataSettings(), seed=0).files
    assert report.garbled.count("first in line 12") == 2


def test_only_the_documents_that_are_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps({"prompt": f"{i}", "completion": "c"}) + "\n" for i in range(50)]
    path.write_text("".join(lines), encoding="utf-8")
    (report,) = survey(scan(path), DataSettings(max_documents=20), seed=0).files
    assert (report.documents, report.turns) == (20, 40)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"take": "chosen"}, "none of this is preference data"),
        ({"text_field": "a"}, "none of this has fields"),
    ],
)
def test_a_setting_without_meaning_is_told(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one two three", encoding="utf-8")
    found = Corpus.scan(DataSettings(paths=(str(path),), **settings))  # type: ignore[arg-type]
    assert any(told in hint for hint in found.hints)


def test_a_field_taken_for_the_text_beside_others_is_told(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    record = {
        "Frage": "Where is the station?",
        "Antwort": "A long answer to the short question. " * 4,
    }
    path.write_text((json.dumps(record) + "\n") * 12, encoding="utf-8")
    (hint,) = scan(path).hints
    assert "only `antwort` is learnt" in hint
    assert "frage" in hint


@pytest.mark.parametrize(
    ("path", "told"), [("", "empty path"), ("https://example.com/a.txt", "nothing is fetched")]
)
def test_a_path_that_is_none(path: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        scan(path)
