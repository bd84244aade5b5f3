"""Records of many shapes become conversations, or say why they cannot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.text.test_formats import MESSAGES, talk
from tinychat.errors import DataError
from tinychat.text import Conversation
from tinychat.text.items import Item, Piece
from tinychat.text.reading import Tally, read_items
from tinychat.text.records import LARGEST_RECORD, parse_line, read_records
from tinychat.text.shapes import BadRecord, LeftOut, Parsed, ParseResult, Shape, mend

COLUMNS = Shape("columns", "lines", "instruction", ("input", "context"), "response")
TALKS = Shape("messages", "lines", "messages")
TEXT = Shape("text", "lines", "text")


def parse(shape: Shape, record: object) -> ParseResult:
    return shape.parse(parse_line(json.dumps(record).encode()))


def item(shape: Shape, record: object) -> Item:
    parsed = parse(shape, record)
    assert isinstance(parsed, Parsed), parsed
    return parsed.item


def test_an_instruction_with_and_without_context() -> None:
    record = {"instruction": "Do it.", "context": "", "response": "Done."}
    assert item(COLUMNS, record) == talk("Do it.", "Done.")
    assert item(COLUMNS, {**record, "context": None}) == talk("Do it.", "Done.")
    assert item(COLUMNS, {**record, "context": "Here."}) == talk("Do it.\n\nHere.", "Done.")
    del record["context"]
    assert item(COLUMNS, record) == talk("Do it.", "Done.")
    with_system = {**record, "system": "Be kind."}
    assert item(COLUMNS, with_system) == talk("Do it.", "Done.", system="Be kind.")
    earlier = {**record, "history": [["q", "a"], ["r", "b"]]}
    assert item(COLUMNS, earlier) == talk("q", "a", "r", "b", "Do it.", "Done.")
    assert item(COLUMNS, {**record, "history": []}) == talk("Do it.", "Done.")


@pytest.mark.parametrize(
    ("given", "role"),
    [("user", "user"), ("Human", "user"), ("PROMPTER", "user"), ("gpt", "assistant"),
     ("Bot", "assistant"), ("model", "assistant"), ("ASSISTANT", "assistant")],
)  # fmt: skip
def test_roles_have_many_names(given: str, role: str) -> None:
    turns = [
        {"role": given, "content": "x"},
        {"from": "user", "value": "y"},
        {"role": "assistant", "content": ["z", {"type": "text", "text": "!"}]},
    ]
    parsed = item(TALKS, {"messages": turns})
    assert isinstance(parsed, Conversation)
    assert [m.role for m in parsed.messages] == [role, "user", "assistant"]
    assert parsed.messages[2].content == "z!"


def test_an_open_question_at_the_end_is_dropped() -> None:
    turns = [*MESSAGES["messages"], {"role": "user", "content": "and?"}]
    assert parse(TALKS, {"messages": turns}) == Parsed(talk("q", "a"), 3, unanswered=True)
    assert parse(TALKS, MESSAGES) == Parsed(talk("q", "a"), 2)


def test_an_empty_system_message_is_dropped() -> None:
    turns = [{"role": "System", "content": " "}, *MESSAGES["messages"]]
    assert item(TALKS, {"messages": turns}) == talk("q", "a")


CHOSEN = Shape("chosen", "lines", "prompt", answer="chosen")
HH = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: q\n\nAssistant:"
ASKED = [{"role": "user", "content": "q"}]
ANSWERED = [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"prompt": "q", "chosen": "a"}, talk("q", "a")),
        ({"prompt": ASKED, "chosen": ANSWERED}, talk("q", "a")),
        ({"prompt": "q", "chosen": [*ASKED, *ANSWERED]}, talk("q", "a")),
        ({"chosen": [*ASKED, *ANSWERED]}, talk("q", "a")),
        ({"chosen": f"{HH} a"}, talk("hi", "yes?", "q", "a")),
        ({"prompt": HH, "chosen": " a"}, talk("hi", "yes?", "q", " a")),
        ({"chosen": "a"}, BadRecord("there is no prompt for the chosen answer")),
    ],
)
def test_chosen_answers(record: dict[str, Any], wanted: object) -> None:
    shape = CHOSEN if "prompt" in record else Shape("chosen", "lines", answer="chosen")
    parsed = parse(shape, record)
    assert (parsed.item if isinstance(parsed, Parsed) else parsed) == wanted


def _messages(*turns: object) -> dict[str, object]:
    return {"messages": list(turns)}


USER = {"role": "user", "content": "q"}


def answer(content: object) -> dict[str, object]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("shape", "record", "reason"),
    [
        (TALKS, _messages(USER, answer("\n")), "empty assistant"),
        (TALKS, _messages(USER, answer(None)), "`content`"),
        (TALKS, _messages(USER, answer([1])), "`content`"),
        (TALKS, _messages(USER, answer([])), "`content`"),
        (TALKS, _messages(USER, {"content": "a"}), "`role`"),
        (TALKS, _messages("q", "a"), "no JSON object"),
        (TALKS, {"messages": "x"}, "no list"),
        (TALKS, {"other": 1}, "missing"),
        (TALKS, [1, 2], "not a JSON object but a list"),
        (TALKS, "text", "not a JSON object but a string"),
        (TEXT, 5, "not a JSON object but a number"),
        (TEXT, None, "not a JSON object but null"),
        (TEXT, {"text": 3}, "no string"),
        (TEXT, {"text": " \n"}, "empty"),
        (COLUMNS, {"instruction": "q"}, "`response` is missing"),
        (COLUMNS, {"instruction": "q", "response": ""}, "empty assistant"),
        (COLUMNS, {"instruction": " ", "response": "a"}, "empty user"),
        (COLUMNS, {"instruction": "q", "response": "a", "context": 3}, "`context`"),
        (COLUMNS, {"instruction": "q", "response": "a", "history": ["x"]}, "`history`"),
    ],
)
def test_bad_records_say_why(shape: Shape, record: object, reason: str) -> None:
    parsed = parse(shape, record)
    assert isinstance(parsed, BadRecord)
    assert reason in parsed.reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_messages(), "no answer"),
        (_messages(USER), "no answer"),
        (_messages(USER, {"role": "tool", "content": None}, answer("a")), "the role 'tool'"),
        (_messages(USER, answer([{"type": "image_url"}])), "a message with 'image_url'"),
    ],
)
def test_good_records_of_no_use_are_told_apart(record: object, reason: str) -> None:
    assert parse(TALKS, record) == LeftOut(reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "x"', "not JSON"),
        (b'{"text": "x"} {"text": "y"}', "more follows at character 14"),
        (b'{"text": ' + b"[" * 100_000, "too deeply nested"),
        (b'{"text": "\xff"}', "not UTF-8 at byte 10"),
        (b'{"text": ' + b"9" * 6000 + b"}", "no string"),
        (b'{"text": "x", "Text": "y"}', "`text` stands twice"),
        (b'{"text": "x", "more": {"a": 1, "a": 2}}', "`a` stands twice"),
        (b'{"text": "' + b"x" * LARGEST_RECORD, "longer than"),
    ],
)
def test_bad_lines_say_why(line: bytes, reason: str) -> None:
    parsed = TEXT.parse(parse_line(line))
    assert isinstance(parsed, BadRecord)
    assert reason in parsed.reason


def test_lone_surrogates_are_mended_and_counted() -> None:
    text = TEXT.parse(parse_line(b'{"text": "a\\ud800b\\ud83d\\ude00"}'))
    assert isinstance(text, Parsed)
    assert mend(text.item) == (Piece("a\ufffdb😀", True), 1)
    assert mend(talk("x\udfff", "a")) == (talk("x\ufffd", "a"), 1)
    assert mend(talk("x", "a")) == (talk("x", "a"), 0)


# --- files of records -------------------------------------------------------------------------


def test_bad_records_are_skipped_and_told_with_their_line(
    write_jsonl: Callable[..., Path],
) -> None:
    records = [MESSAGES, "", "nonsense", {"x": 1}, MESSAGES, _messages(USER), "{", MESSAGES]
    path = write_jsonl("a.jsonl", records)
    tally = Tally()
    assert len(list(read_items(path, TALKS, tally))) == 3
    assert (tally.records, tally.bad, tally.turns) == (7, 3, 6)
    assert dict(tally.left_out) == {"no answer": 1}
    assert [reason.split(": ")[0] for reason in tally.reasons] == [f"{path}:{n}" for n in (3, 4, 7)]
    with pytest.raises(DataError, match=r"a\.jsonl:3: .*--strict"):
        list(read_items(path, TALKS, strict=True))


def test_a_huge_line_is_one_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"text": "good"}).encode() + b"\n"
    path.write_bytes(good + b'{"text": "' + b"x" * (2 * LARGEST_RECORD + 5) + b'"}\n' + good)
    tally = Tally()
    items = list(read_items(path, TEXT, tally))
    assert len(items) == 2
    assert (tally.records, tally.bad) == (3, 1)
    assert tally.reasons[0].startswith(f"{path}:2: ")


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_larger_than_what_is_held(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    records = [{"text": f"{i} " + "é\n" * (i * 997 % 40_000), "n": i} for i in range(60)]
    path.write_text(json.dumps(records, ensure_ascii=False, indent=indent), encoding="utf-8")
    found = list(read_records(path, "array"))
    assert [record for _, record in found] == records
    per_record = 4 if indent else 0
    assert [line for line, _ in found] == [1 + bool(indent) + per_record * i for i in range(60)]


@pytest.mark.parametrize(
    ("content", "line", "sentence"),
    [
        ('[{"text": "a"},\n{"text": "b"},\n{"text"', 3, "ends too early|Expecting"),
        ('[{"text": "a"},\n{"text": "b"}\n', 3, "ends too early"),
        ('[{"text": "a"}\n{"text": "b"}]', 2, "a comma or the end of the array"),
        ('[{"text": "a"},\n{"text": b}]', 2, "Expecting value"),
        ('[{"text": "a"}]\nmore', 2, "more follows"),
        ('[{"text": "a"},\n' + "[" * 100_000, 2, "too deeply nested"),
    ],
)
def test_a_broken_array_is_an_error_with_its_line(
    tmp_path: Path, content: str, line: int, sentence: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=sentence) as caught:
        list(read_records(path, "array"))
    assert f"{path}, line {line}: " in str(caught.value)


def test_a_broken_array_is_noticed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rest = ',\n{"text": "c"}' * 400_000
    path.write_text('[{"text": "a"},\n{"text": b}' + rest + "]", encoding="utf-8")
    steps: list[int] = []
    with pytest.raises(DataError, match=r"line 2: .*Expecting value"):
        list(read_records(path, "array", steps.append))
    assert steps[-1] < path.stat().st_size / 4


def test_a_record_larger_than_what_is_held_ends_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a"},\n{"text": "' + "b" * (2 * LARGEST_RECORD) + '"}]')
    with pytest.raises(DataError, match=r"line 2: .*no record ends within"):
        list(read_records(path, "array"))


def test_a_table_with_newlines_in_quotes_keeps_count_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\r\nid;text\r\n1;"a\r\nb; ""c"""\r\n\r\n2;d;e\r\n3;"f"g\r\n4;h\r\n')
    found = list(read_records(path, "table"))
    assert [line for line, _ in found] == [3, 6, 7, 8]
    assert found[0][1] == {"id": "1", "text": 'a\nb; "c"'}
    assert found[1][1] == BadRecord("3 columns, where the header has 2")
    assert isinstance(found[2][1], BadRecord)
    assert found[3][1] == {"id": "4", "text": "h"}


def test_advance_tells_all_bytes(write_jsonl: Callable[..., Path]) -> None:
    path = write_jsonl("a.jsonl", [{"text": "x" * 100_000}] * 10)
    steps: list[int] = []
    list(read_items(path, TEXT, None, steps.append))
    assert sum(steps) == path.stat().st_size
    assert len(steps) > 5
