"""`data` and `tokenizer`: what the reader sees, and how text splits."""

import json
from pathlib import Path

import pytest
from docstring_parser import parse_from_object

from tests.conftest import write_corpora
from tinychat.cli.flags import ReadingFlags
from tinychat.config import DataSettings
from tinychat.text import CONTROL_TOKENS, Tokenizer

from .conftest import Tinychat


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return write_corpora(tmp_path)[0]


def test_conversations_in_words(tinychat: Tinychat, talks: Path) -> None:
    found = tinychat("data", talks)
    assert (found.code, found.err) == (0, "")
    for piece in ("120 conversations", "training", "validation", "bytes each",
                  "<|user|>", "^ is learnt", "^^^^^^^"):  # fmt: skip
        assert piece in found.out, piece
    assert "\x1b" not in found.out


def test_marks_stand_under_what_is_learnt(tinychat: Tinychat, talks: Path) -> None:
    lines = tinychat("data", talks).out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("<|bos|>"))
    learnt = ""
    for pieces, marks in zip(lines[first::2], lines[first + 1 :: 2], strict=False):
        learnt += "".join(c for c, mark in zip(pieces, marks, strict=False) if mark == "^")
    assert learnt.startswith("Hello")
    assert learnt.endswith("<|end|>")
    assert "My name is" not in learnt


def test_bad_records_are_named(tinychat: Tinychat, talks: Path) -> None:
    lines = talks.read_text(encoding="utf-8").splitlines()
    lines[4] = '{"messages": "none"}'
    talks.write_text("\n".join(lines), encoding="utf-8")
    found = tinychat("data", talks)
    assert "1 bad record, left out:" in found.out
    assert f"{talks}:5: " in found.out
    document = tinychat("data", talks, "--json").json
    assert document["bad_records"] == 1
    assert document["files"][0]["bad_reasons"][0].startswith(f"{talks}:5: ")


def test_data_as_json(tinychat: Tinychat, talks: Path) -> None:
    found = tinychat("data", talks, "--json", "--data.loss", "all", "--tokenizer.kind", "char").json
    assert found["form"] == "chat"
    assert found["split"]["train_documents"] + found["split"]["valid_documents"] == 120
    assert found["vocab_size"] > 262
    sample = found["sample"]
    assert [token["learnt"] for token in sample] == [False] + [True] * (len(sample) - 1)
    text = "".join(token["piece"] for token in sample if token["piece"] not in CONTROL_TOKENS)
    assert text.startswith("My name is")


def test_short_flags_stand_for_the_settings(tinychat: Tinychat, tmp_path: Path) -> None:
    file = tmp_path / "faq.jsonl"
    records = [{"Frage": f"q{i}", "Antwort": f"a{i}", "text": "x"} for i in range(20)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    short = ["--user-field", "Frage", "--assistant-field", "Antwort"]
    long = ["--data.user-field", "Frage", "--data.assistant-field", "Antwort"]
    found = [tinychat("data", file, *words, "--json").json for words in (short, long)]
    assert found[0] == found[1]
    assert found[0]["files"][0]["holds"] == "JSON lines, frage -> antwort"
    assert found[0]["sample_text"][0]["content"][0] == "q"
    assert found[0]["turns"] == 40
    out = tmp_path / "tokenizer.json"
    assert tinychat("tokenizer", "train", file, "--out", out, "--kind", "char", *short).code == 0
    letters = Tokenizer.from_json(out.read_text(encoding="utf-8")).encode("qa")
    assert all(i > 261 for i in letters), "both columns were read"
    with file.open("a") as more:
        more.write("nonsense")
    refused = tinychat("tokenizer", "train", file, "--out", out, "--overwrite", "--strict")
    assert (refused.code, refused.out) == (1, "")
    assert f"{file}:21: not JSON" in refused.err


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("data", ["--take", "all"], ["data.take = \"all\": should be 'chosen'"]),
        ("data", ["--format", "xml", "--strikt"], ["data.format", "strikt"]),
        ("tokenizer train", ["--out", "x", "--max-documents", "0"], ['data.max_documents = "0"']),
        ("tokenizer train", ["--out", "x", "--strikt"], ["--strikt; did you mean --strict?"]),
        ("train", ["--text-field", "a", "--take", "all"], ["data.take"]),
        ("eval", ["--strict"], ["--data"]),
        ("eval", ["--data", "x", "--optim.eps", "1"], ["no flag --optim.eps"]),
    ],
)
def test_a_wrong_reading_flag_is_named(
    tinychat: Tinychat, command: str, words: list[str], told: list[str]
) -> None:
    found = tinychat(*command.split(), *(["x"] if command != "train" else []), *words)
    assert (found.code, found.out) == (2, "")
    for piece in told:
        assert piece in found.err


def test_short_flags_say_what_the_settings_say() -> None:
    def sentences(cls: type) -> dict[str, str]:
        return {p.arg_name: p.description or "" for p in parse_from_object(cls).params}

    short, settings = sentences(ReadingFlags), sentences(DataSettings)
    assert set(short) <= set(settings)
    for name, sentence in short.items():
        first = sentence.partition(" (none")[0].rstrip(".")
        assert settings[name].startswith(first), name


def test_bad_records_are_shown_where_the_corpus_fails(tinychat: Tinychat, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "q", "completion": "a"}\n{"prompt": 3}\n', encoding="utf-8")
    found = tinychat("data", file)
    assert (found.code, found.out) == (1, "")
    assert f"{file}:2: `completion` is missing" in found.err or f"{file}:2: " in found.err
    assert "single conversation" in found.err.splitlines()[-1]


def test_what_is_shown_fits_a_terminal(
    tinychat: Tinychat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample comes first and is short, so that the summary is what remains on the screen."""
    monkeypatch.setenv("TINYCHAT_CHECKPOINTS", str(tmp_path / "none"))  # not those lying about
    file = tmp_path / "a.jsonl"
    talk = {"prompt": "many words " * 400, "completion": "as many words " * 400}
    file.write_text((json.dumps(talk) + "\n") * 9, encoding="utf-8")
    lines = tinychat("data", file).out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines[:20])) <= 100
    assert lines[-1].startswith("learnt")
    assert any(line.startswith("… and ") and "more tokens" in line for line in lines)


def test_nothing_is_written(tinychat: Tinychat, talks: Path) -> None:
    before = sorted(talks.parent.rglob("*"))
    assert tinychat("data", talks).code == 0
    assert sorted(talks.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_a_tokenizer_is_trained_and_looked_at(
    kind: str, tinychat: Tinychat, talks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "tokenizer.json"
    words = ["tokenizer", "train", talks, "--out", out, "--kind", kind, "--vocab-size", 350]
    assert tinychat(*words).code == 0
    made = Tokenizer.from_json(out.read_text(encoding="utf-8"))
    assert made.kind == kind
    text = "My name is Tom <|end|> ☃"
    found = tinychat("tokenizer", "show", out, text, "--json").json
    assert found["ids"] == made.encode(text)
    assert min(found["ids"]) > 5, "no text becomes a control token"
    assert made.decode(found["ids"]) == text
    assert found["bytes"] == len(text.encode())
    assert found["bytes_per_token"] == found["bytes"] / found["tokens"]
    assert found["vocab_size"] == made.vocab_size
    lines = tinychat("tokenizer", "show", out, text).out.splitlines()
    assert f"{len(found['ids'])} tokens" in lines[-1]
    shown = [int(word) for line in lines[1:-1:2] for word in line.split()]
    assert shown == found["ids"]
    again = tinychat(*words)
    assert (again.code, again.out) == (2, "")
    assert "--overwrite" in again.err
    assert tinychat(*words, "--overwrite").code == 0


def test_a_runs_tokenizer_can_be_looked_at(tinychat: Tinychat, trained_runs: Path) -> None:
    documents = [
        tinychat("tokenizer", "show", name, "-x", "--json", "--checkpoints", trained_runs).json
        for name in ("talk", "talk@10", trained_runs / "talk", trained_runs / "talk/tokenizer.json")
    ]
    assert all(document == documents[0] for document in documents)


def test_a_file_that_is_no_tokenizer(tinychat: Tinychat, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"a": 1}), encoding="utf-8")
    found = tinychat("tokenizer", "show", file, "x")
    assert (found.code, found.out) == (1, "")
    file.write_bytes(b"\xff\xfe")
    assert tinychat("tokenizer", "show", file, "x").code == 1
