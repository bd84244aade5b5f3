import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.errors import DataError
from tinychat.text import Conversation, Document, Message
from tinychat.text.formats import LARGEST_RECORD, BadRecord, Shape, detect, mend
from tinychat.text.reading import Tally, read_items

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
        ("a.txt", "[Chapter 1]\nHello", "plain text"),
        ("a.jsonl", json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.json", json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.data", "\n\n  " + json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.jsonl", "\ufeff" + json.dumps(MESSAGES), "JSON lines, messages"),
        ("a.jsonl", '{"text": "x"}', "JSON lines, text"),
        ("a.jsonl", '{"Text": "x", "id": 1}', "JSON lines, text"),
        ("a.jsonl", '{"prompt": "q", "completion": "a"}', "JSON lines, prompt -> completion"),
        ("a.jsonl", '{"prompt": "q", "response": "a"}', "JSON lines, prompt -> response"),
        ("a.jsonl", '{"question": "q", "answer": "a"}', "JSON lines, question -> answer"),
        ("a.jsonl", '{"Question": "q", "Best Answer": "a"}', "JSON lines, question -> best answer"),
        ("a.jsonl", '{"user": "q", "assistant": "a"}', "JSON lines, user -> assistant"),
        ("a.jsonl", '{"input": "q", "output": "a"}', "JSON lines, input -> output"),
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
    ],
)
def test_what_a_file_holds(tmp_path: Path, name: str, content: str, holds: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    detected = detect(path)
    assert str(detected.shape) == holds
    assert detected.hints == ()


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.txt", json.dumps(MESSAGES), "looks like JSON lines"),
        ("a.jsonl", "just words", "holds plain text"),
    ],
)
def test_a_misleading_name_gives_a_hint(tmp_path: Path, name: str, content: str, hint: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    detected = detect(path)
    assert str(detected.shape) == "plain text"
    assert hint in detected.hints[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PAR1....", "parquet"),
        ("hello".encode("utf-16"), "UTF-16"),
        (b"hello\0world", "zero byte at offset 5"),
        (b'[{"text": "x"}]', "array"),
        (b'{\n "text": "x"\n}', "is a JSON object"),
        (b'{"foo": 1, "bar": 2}', "bar, foo"),
        (b'{"chosen": "a", "rejected": "b"}', "preference"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "given.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        detect(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_most_records_decide_the_shape(write_jsonl: Callable[..., Path]) -> None:
    path = write_jsonl("a.jsonl", [{"text": "x"}, MESSAGES, MESSAGES])
    assert detect(path).shape == Shape("messages")


# --- records ----------------------------------------------------------------------------------

COLUMNS = Shape("columns", "instruction", ("input", "context"), "response")


def parse(shape: Shape, record: object) -> Conversation | Document | BadRecord:
    return shape.parse(json.dumps(record).encode())


def test_an_instruction_with_and_without_context() -> None:
    record = {"instruction": "Do it.", "context": "", "response": "Done."}
    assert parse(COLUMNS, record) == talk("Do it.", "Done.")
    assert parse(COLUMNS, {**record, "context": None}) == talk("Do it.", "Done.")
    assert parse(COLUMNS, {**record, "context": "Here."}) == talk("Do it.\n\nHere.", "Done.")
    del record["context"]
    assert parse(COLUMNS, record) == talk("Do it.", "Done.")
    with_system = {**record, "system": "Be kind."}
    assert parse(COLUMNS, with_system) == talk("Do it.", "Done.", system="Be kind.")


@pytest.mark.parametrize(
    ("given", "role"),
    [("user", "user"), ("Human", "user"), ("PROMPTER", "user"), ("gpt", "assistant"),
     ("Bot", "assistant"), ("model", "assistant"), ("ASSISTANT", "assistant")],
)  # fmt: skip
def test_roles_have_many_names(given: str, role: str) -> None:
    turns = [
        {"role": given, "content": "x"},
        {"role": "user", "content": "y"},
        {"role": "assistant", "content": "z"},
    ]
    parsed = parse(Shape("messages"), {"messages": turns})
    assert isinstance(parsed, Conversation)
    assert [m.role for m in parsed.messages] == [role, "user", "assistant"]


def test_an_open_question_at_the_end_is_dropped() -> None:
    turns = [*MESSAGES["messages"], {"role": "user", "content": "and?"}]
    assert parse(Shape("messages"), {"messages": turns}) == talk("q", "a")


def test_an_empty_system_message_is_dropped() -> None:
    turns = [{"role": "System", "content": " "}, *MESSAGES["messages"]]
    assert parse(Shape("messages"), {"messages": turns}) == talk("q", "a")


def _messages(*turns: object) -> dict[str, object]:
    return {"messages": list(turns)}


USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("shape", "record", "reason"),
    [
        ("messages", _messages(), "no answer"),
        ("messages", _messages(USER), "no answer"),
        ("messages", _messages(USER, {"role": "assistant", "content": "\n"}), "empty assistant"),
        ("messages", _messages(USER, {"role": "assistant", "content": None}), "`content`"),
        ("messages", _messages(USER, {"role": "assistant", "content": [1]}), "`content`"),
        ("messages", _messages(USER, {"content": "a"}), "role None"),
        ("messages", _messages(USER, {"role": "tool", "content": "a"}), "role 'tool'"),
        ("messages", _messages("q", "a"), "`content`"),
        ("messages", {"messages": "x"}, "no list"),
        ("messages", {"other": 1}, "missing"),
        ("messages", [1, 2], "not a JSON object but a list"),
        ("messages", "text", "not a JSON object but a str"),
        ("text", {"text": 3}, "no string"),
        ("text", {"text": " \n"}, "empty"),
        ("columns", {"instruction": "q"}, "`response` is missing"),
        ("columns", {"instruction": "q", "response": ""}, "empty assistant"),
        ("columns", {"instruction": " ", "response": "a"}, "empty user"),
        ("columns", {"instruction": "q", "response": "a", "context": 3}, "`context`"),
    ],
)
def test_bad_records_say_why(shape: str, record: object, reason: str) -> None:
    parsed = parse({"columns": COLUMNS}.get(shape) or Shape(shape), record)  # type: ignore[arg-type]
    assert isinstance(parsed, BadRecord)
    assert reason in parsed.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "x"', "not JSON"),
        (b'{"text": ' + b"[" * 100_000, "not JSON"),
        (b'{"text": "\xff"}', "not UTF-8 at byte 10"),
        (b'{"text": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"text": "' + b"x" * LARGEST_RECORD, "longer than"),
    ],
)
def test_bad_lines_say_why(line: bytes, reason: str) -> None:
    parsed = Shape("text").parse(line)
    assert isinstance(parsed, BadRecord)
    assert reason in parsed.reason


def test_lone_surrogates_are_mended_and_counted() -> None:
    text = Shape("text").parse(b'{"text": "a\\ud800b\\ud83d\\ude00"}')
    assert isinstance(text, Document)
    assert mend(text) == (Document("a\ufffdb😀"), 1)
    assert mend(talk("x\udfff", "a")) == (talk("x\ufffd", "a"), 1)
    assert mend(talk("x", "a")) == (talk("x", "a"), 0)


def test_bad_records_are_skipped_and_told_with_their_line(
    write_jsonl: Callable[..., Path],
) -> None:
    records = [MESSAGES, "", "nonsense", {"x": 1}, MESSAGES, _messages(USER), "{", MESSAGES]
    path = write_jsonl("a.jsonl", records)
    tally = Tally()
    assert len(list(read_items(path, Shape("messages"), tally))) == 3
    assert (tally.records, tally.bad) == (7, 4)
    assert [reason.split(": ")[0] for reason in tally.reasons] == [
        f"{path}:3",
        f"{path}:4",
        f"{path}:6",
    ]


def test_a_huge_line_is_one_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"text": "good"}).encode() + b"\n"
    path.write_bytes(good + b'{"text": "' + b"x" * (2 * LARGEST_RECORD + 5) + b'"}\n' + good)
    tally = Tally()
    items = list(read_items(path, Shape("text"), tally))
    assert len(items) == 2
    assert (tally.records, tally.bad) == (3, 1)
    assert tally.reasons[0].startswith(f"{path}:2: ")
