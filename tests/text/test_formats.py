"""How a file is read: its layout, its shape, and what becomes of single records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text import Conversation, Message
from tinychat.text.formats import detect
from tinychat.text.shapes import Shape

AUTO = DataSettings()
MESSAGES = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def talk(*contents: str, system: str | None = None) -> Conversation:
    roles = ["user", "assistant"] * len(contents)
    turns = [Message(r, c) for r, c in zip(roles, contents, strict=False)]
    return Conversation((*([Message("system", system)] if system else []), *turns))


@pytest.mark.parametrize(
    ("name", "content", "holds"),
    [
        ("a.txt", "Hello", "plain text"),
        ("a.md", "# Hello", "plain text"),
        ("a.weird", "Hello", "plain text"),
        ("noending", "Hello", "plain text"),
        ("a.txt", "", "plain text"),
        ("a.c", "{\n  return;\n}\n{}\n", "plain text"),
        ("a.c", "{}\nint main;\nint x;\n", "plain text"),
        ("a.txt", "[Chapter 1]\nHello", "plain text"),
        ("a.rst", "[1] Somebody\n[2] Somebody else", "plain text"),
        ("a.jsonl", json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.json", json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.data", "\n\n  " + json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.jsonl", "\ufeff" + json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.jsonl", '{"text": "x"}', "JSON lines, text"),
        ("a.jsonl", '{"Text": "x", "id": 1}', "JSON lines, text"),
        ("a.jsonl", '{"story": "x", "id": "1"}', "JSON lines, story"),
        ("a.jsonl", json.dumps({"joke": "x " * 50, "id": "1"}), "JSON lines, joke"),
        ("a.jsonl", '{"prompt": "q", "completion": "a"}', "JSON lines, prompt -> completion"),
        ("a.jsonl", '{"prompt": "q", "response": "a"}', "JSON lines, prompt -> response"),
        (
            "a.jsonl",
            '{"question": "q", "answer": "a"}',
            "JSON lines, question (+ context) -> answer",
        ),
        (
            "a.jsonl",
            '{"Question": "q", "Best Answer": "a"}',
            "JSON lines, question (+ context) -> best answer",
        ),
        ("a.jsonl", '{"user": "q", "assistant": "a"}', "JSON lines, user -> assistant"),
        ("a.jsonl", '{"input": "q", "output": "a"}', "JSON lines, input -> output"),
        ("a.jsonl", '{"query": "q", "response": "a"}', "JSON lines, query -> response"),
        (
            "alpaca.jsonl",
            '{"instruction": "q", "input": "", "output": "a", "text": "long form"}',
            "JSON lines, instruction (+ input or context) -> output",
        ),
        (
            "dolly.jsonl",
            '{"instruction": "q", "context": "c", "response": "a", "category": "x"}',
            "JSON lines, instruction (+ input or context) -> response",
        ),
        ("a.jsonl", '{"broken\n' + json.dumps(MESSAGES) + "\n", "JSON lines, messages"),
        ("a.jsonl", '{"text": "x"}\nno\nno\nno\n', "JSON lines, text"),
        ("a.json", '[{"text": "x"}]', "JSON array, text"),
        ("a.json", '[{"text": "x"},\n{"text": "y"}]', "JSON array, text"),
        ("a.json", "[\n" + json.dumps(MESSAGES) + "\n]\n", "JSON array, messages"),
        ("a.jsonl", json.dumps([MESSAGES], indent=1), "JSON array, messages"),
        ("a.json", json.dumps([MESSAGES["messages"]]), "JSON array, lists of messages"),
        ("a.jsonl", json.dumps(MESSAGES["messages"]) + "\n", "JSON lines, lists of messages"),
        ("a.jsonl", (json.dumps(MESSAGES["messages"]) + "\n") * 9, "JSON lines, lists of messages"),
        (
            "a.jsonl",
            json.dumps(MESSAGES["messages"])[:-9] + "\n" + json.dumps(MESSAGES["messages"]),
            "JSON lines, lists of messages",
        ),
        ("a.csv", "prompt,completion\nq,a\n", "table, prompt -> completion"),
        ("a.csv", "Prompt;Completion\nq;a\n", "table, prompt -> completion"),
        ("a.tsv", "prompt\tcompletion\nq\ta\n", "table, prompt -> completion"),
        ("a.csv", '"text"\n"a, b"\n', "table, text"),
        ("a.csv", json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.txt", "a __eou__ b __eou__\n", "dialogues, __eou__ after each turn"),
    ],
)
def test_what_a_file_holds(tmp_path: Path, name: str, content: str, holds: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    detected = detect(path, AUTO)
    assert str(detected.shape) == holds
    assert [hint for hint in detected.hints if "several lines" not in hint] == []


@pytest.mark.parametrize(
    ("name", "content", "holds", "hint"),
    [
        ("a.txt", json.dumps(MESSAGES), "plain text", "add --format json"),
        ("a.md", json.dumps([MESSAGES], indent=1), "plain text", "add --format json"),
        ("a.jsonl", "just words", "plain text", "holds plain text"),
        ("a.txt", "User: q\nAssistant: a\n", "plain text", "add --format turns"),
        ("a.txt", "<|user|>q<|assistant|>a\n", "plain text", "add --format turns"),
        ("a.txt", "a\r\nb\r\n", "plain text", "Windows line ends"),
        ("a.json", json.dumps(MESSAGES, indent=1), "JSON objects, messages", "several lines"),
        (
            "a.json",
            json.dumps(MESSAGES["messages"], indent=1),
            "JSON objects, lists of messages",
            "several lines",
        ),
    ],
)
def test_what_may_surprise_gives_a_hint(
    tmp_path: Path, name: str, content: str, holds: str, hint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    detected = detect(path, AUTO)
    assert str(detected.shape) == holds
    assert len(detected.hints) == 1
    assert hint in detected.hints[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PAR1....", "parquet"),
        (b"x" * 257 + b"ustar\0" + b"\0" * 300, "tar archive"),
        (b"hello\0world", "zero byte at offset 5"),
        ("hello".encode("utf-32"), "zero byte"),
        (b'{"foo": 1, "bar": 2}', "foo, bar"),
        (b"[[[1]]]", "holds no records"),
        (b'{"chosen": "a", "rejected": "b"}', "--take chosen"),
        (b'{"content": "a", "story": "b"}', "--text-field content"),
        (b'{"content": "a",', "line 1: not JSON .*"),
        (b'[{"content": "a', "line 1: not JSON .*"),
        (b"[" * 100_000, "too deeply nested"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "given.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        detect(path, AUTO)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "content", "holds"),
    [
        ({"format": "text"}, "a __eou__ b __eou__\n", "plain text"),
        ({"format": "text"}, json.dumps(MESSAGES), "plain text"),
        ({"format": "json"}, json.dumps(MESSAGES), "JSON lines, messages"),
        ({"format": "turns"}, "User: q\nAssistant: a\n", "marked turns"),
        ({"format": "turns"}, "a __eou__ b\n", "dialogues, __eou__ after each turn"),
    ],
)
def test_the_format_may_be_given(
    tmp_path: Path, changed: dict[str, Any], content: str, holds: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content, encoding="utf-8")
    assert str(detect(path, DataSettings(**changed)).shape) == holds


@pytest.mark.parametrize("wanted", ["json", "turns"])
def test_a_format_that_cannot_be_is_refused(tmp_path: Path, wanted: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Once upon a time", encoding="utf-8")
    with pytest.raises(DataError, match=f"--data.format {wanted}|--format {wanted}"):
        detect(path, DataSettings(format=wanted))


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({"user_field": "Frage", "assistant_field": "antwort"}, "frage -> antwort"),
        ({"user_field": "prompt", "assistant_field": "antwort"}, "prompt -> antwort"),
        ({"assistant_field": "antwort"}, "prompt -> antwort"),
        ({"user_field": "frage"}, "frage -> completion"),
        ({"text_field": "frage"}, "frage"),
        ({}, "prompt -> completion"),
    ],
)
def test_fields_may_be_named(
    write_jsonl: Callable[..., Path], changed: dict[str, Any], holds: str
) -> None:
    record = {"prompt": "p", "completion": "c", "Frage": "f", "Antwort": "a"}
    path = write_jsonl("a.jsonl", [record])
    assert str(detect(path, DataSettings(**changed)).shape) == f"JSON lines, {holds}"


@pytest.mark.parametrize(
    "changed", [{"user_field": "x"}, {"text_field": "x"}, {"assistant_field": "x"}]
)
def test_a_field_that_is_not_there_is_named(
    write_jsonl: Callable[..., Path], changed: dict[str, Any]
) -> None:
    path = write_jsonl("a.jsonl", [{"prompt": "p", "completion": "c"}])
    with pytest.raises(DataError, match="prompt, completion, among which `x` is not"):
        detect(path, DataSettings(**changed))


def test_most_records_decide_the_shape(write_jsonl: Callable[..., Path]) -> None:
    path = write_jsonl("a.jsonl", [{"text": "x"}, MESSAGES, MESSAGES])
    assert detect(path, AUTO).shape == Shape("messages", "lines", "messages")
