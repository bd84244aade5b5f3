"""What people bring, good and malformed, through the real command and the real preparation.

Every case either is read, and then the test says what, or ends in one sentence that names the file
(and the line where there is one). Never a traceback, never anything half-written.
"""

import gzip
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tinychat.cli.app import run
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
from tinychat.text import Corpus, prepare
from tinychat.text.items import Piece

CHAR = TokenizerSettings(kind="char")

Turns = list[tuple[str, str]]


def turns(*contents: str, system: str | None = None) -> Turns:
    """A talk of user and assistant by turns."""
    roles = ["user", "assistant"] * len(contents)
    first = [("system", system)] if system else []
    return [*first, *zip(roles, contents, strict=False)]


def messages(*contents: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns(*contents)]


def sharegpt(*contents: str) -> list[dict[str, str]]:
    names = {"user": "human", "assistant": "gpt"}
    return [{"from": names[role], "value": content} for role, content in turns(*contents)]


def lines(*records: object) -> bytes:
    """One a line; strings and bytes as they stand."""
    made = [
        record
        if isinstance(record, bytes)
        else (record if isinstance(record, str) else json.dumps(record)).encode()
        for record in records
    ]
    return b"".join(line + b"\n" for line in made)


def pair(n: int, **more: object) -> dict[str, object]:
    return {"prompt": f"q{n}", "completion": f"a{n}", **more}


PAIRS = [pair(n) for n in range(3)]
TALKS = [turns(f"q{n}", f"a{n}") for n in range(3)]
THREE = lines(*({"messages": messages(f"q{n}", f"a{n}")} for n in range(3)))
STORY = "Once upon a time there was a naïve cat — “Tom”.\nIt slept.\n"
LONG = "long words " * 10


def parquet(rows: list[dict[str, object]]) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as format_

    out = io.BytesIO()
    format_.write_table(arrow.Table.from_pylist(rows), out)
    return out.getvalue()


@dataclass(frozen=True)
class Good:
    """A file, and everything that is read from it; `notes` are found on the screen."""

    id: str
    name: str
    content: bytes | Callable[[], bytes]
    wanted: list[Any]
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


GOOD = [
    # --- plain text
    Good("utf8", "a.txt", STORY.encode(), [STORY]),
    Good("unknown ending", "a.weird", STORY.encode(), [STORY]),
    Good("markdown", "a.md", b"# Title\n\nWords.\n", ["# Title\n\nWords.\n"]),
    Good("utf16 le", "a.txt", b"\xff\xfe" + STORY.encode("utf-16-le"), [STORY], ("UTF-16",)),
    Good("utf16 be", "a.txt", b"\xfe\xff" + STORY.encode("utf-16-be"), [STORY], ("UTF-16",)),
    Good("bom", "a.txt", b"\xef\xbb\xbf" + STORY.encode(), [STORY]),
    Good(
        "crlf", "a.txt", STORY.replace("\n", "\r\n").encode(), [STORY],
        ("Windows line ends",),
    ),
    Good("ten bytes", "a.txt", b"0123456789", ["0123456789"]),
    Good("one line of 5 MB", "a.txt", b"word " * 1_000_000, ["word " * 1_000_000]),
    Good("late zero byte", "a.txt", b"a" * 70_000 + b"\0b", ["a" * 70_000 + "\0b"]),
    Good("documents", "a.txt", b"one two\n<|endoftext|>\nthree\n", ["one two", "three\n"]),
    Good("gzip", "a.txt.gz", gzip.compress(STORY.encode()), [STORY]),
    Good(
        "control tokens in text", "a.txt",
        b"I say <|end|> and <|user|><|assistant|> <|bos|>\n",
        ["I say <|end|> and <|user|><|assistant|> <|bos|>\n"],
    ),
    Good(
        "mojibake", "a.txt", "He didn’t – “why?”\n".encode().decode("cp1252", "ignore").encode(),
        ["He didn’t – “why?”\n".encode().decode("cp1252", "ignore")],
        ("once read as another encoding, the first in line 1", "didn’t"),
    ),
    Good("misnamed text", "a.jsonl", b"just words\n", ["just words\n"], ("holds plain text",)),
    Good("json in txt", "a.txt", THREE, [THREE.decode()], ("--format json",)),
    Good("json in txt, asked", "a.txt", THREE, TALKS, (), ("--data.format", "json")),
    Good("marks", "a.txt", b"User: q\nAssistant: a\n", ["User: q\nAssistant: a\n"],
         ("--format turns",)),
    # --- turns
    Good(
        "eou", "dialogues.txt",
        b"Hi . __eou__ Hello . __eou__ How ? __eou__\nYes ? __eou__ No . __eou__\n",
        [turns("Hi .", "Hello ."), turns("Yes ?", "No .")],
        ("2 conversations, 5 turns", "1 conversation ends with a question"),
    ),
    Good(
        "user and assistant marks", "a.txt",
        b"User: q\nAssistant: a\nand b\n\nSystem: s\nUser: r\nAssistant: c\n",
        [turns("q", "a\nand b"), turns("r", "c", system="s")], (), ("--format", "turns"),
    ),
    Good(
        "marks and separators", "a.txt",
        b"<|user|>q<|assistant|>a\n\n<|user|>r<|assistant|>b<|endoftext|>\n"
        b"<|user|>s<|assistant|>c<|endoftext|>\n",
        [turns("q", "a", "r", "b"), turns("s", "c")], (), ("--format", "turns"),
    ),
    # --- messages
    Good("messages", "a.jsonl", THREE, TALKS, ("3 conversations, 6 turns",)),
    Good("bom and crlf", "a.jsonl", b"\xef\xbb\xbf" + THREE.replace(b"\n", b"\r\n"), TALKS),
    Good("blank lines", "a.ndjson", THREE.replace(b"\n", b"\n\n \n"), TALKS),
    Good("no last newline", "a.jsonl", THREE.rstrip(), TALKS),
    Good("utf16 records", "a.jsonl", b"\xff\xfe" + THREE.decode().encode("utf-16-le"), TALKS),
    Good("gzip named jsonl", "a.jsonl", gzip.compress(THREE), TALKS, ("packed with gzip",)),
    Good("gzip of records", "a.jsonl.gz", gzip.compress(THREE), TALKS),
    Good("json lines named json", "a.json", THREE, TALKS),
    Good(
        "sharegpt", "a.jsonl",
        lines(*({"conversations": sharegpt(f"q{n}", f"a{n}")} for n in range(3))), TALKS,
    ),
    Good(
        "parts", "a.jsonl",
        lines(*(
            {"messages": [
                {"role": "User", "content": [{"type": "text", "text": "q"}, str(n)]},
                {"role": "MODEL", "content": [{"type": "text", "text": f"a{n}"}]},
            ]} for n in range(3))), TALKS,
    ),
    Good("nanochat", "a.jsonl", lines(*(messages(f"q{n}", f"a{n}") for n in range(3))), TALKS),
    Good(
        "array of bare lists", "a.json",
        json.dumps([messages(f"q{n}", f"a{n}") for n in range(3)]).encode(), TALKS,
    ),
    Good("array", "a.json", json.dumps(PAIRS).encode(), TALKS),
    Good("array over lines", "a.json", json.dumps(PAIRS, indent=2).encode(), TALKS),
    Good("array named jsonl", "a.jsonl", json.dumps(PAIRS, indent=2).encode(), TALKS),
    Good("array in gzip", "a.json.gz", gzip.compress(json.dumps(PAIRS).encode()), TALKS),
    Good(
        "objects over lines", "a.json", b"".join(json.dumps(p, indent=1).encode() for p in PAIRS),
        TALKS, ("spread over several lines",),
    ),
    # --- columns
    Good(
        "instructions", "a.jsonl",
        lines(
            {"instruction": "q0", "input": "", "output": "a0"},
            {"instruction": "q1", "input": "i", "output": "a1"},
            {"instruction": "q2", "output": "a2", "system": "s", "history": [["p", "b"]]},
        ),
        [turns("q0", "a0"), turns("q1\n\ni", "a1"), turns("p", "b", "q2", "a2", system="s")],
    ),
    Good(
        "prompt and completion lists", "a.jsonl",
        lines(*({"prompt": messages(f"q{n}"), "completion": messages("", f"a{n}")[1:]}
                for n in range(3))), TALKS,
    ),
    Good(
        "preference, chosen", "a.jsonl",
        lines(*({"prompt": f"q{n}", "chosen": f"a{n}", "rejected": "x"} for n in range(3))), TALKS,
        (), ("--take", "chosen"),
    ),
    Good(
        "own fields", "a.jsonl", lines(*({"F": f"q{n}", "A": f"a{n}"} for n in range(3))), TALKS,
        (), ("--user-field", "F", "--assistant-field", "A"),
    ),
    Good(
        "csv", "a.csv", b'prompt,completion\nq0,a0\nq1,a1\n"q2, with\nlines","a ""2"""\n',
        [*TALKS[:2], turns("q2, with\nlines", 'a "2"')],
    ),
    Good("tsv", "a.tsv", b"prompt\tcompletion\nq0\ta0\nq1\ta1\nq2\ta2\n", TALKS),
    Good("semicolons", "a.csv", b"\xef\xbb\xbfPrompt;Completion\r\nq0;a0\r\nq1;a1\r\nq2;a2", TALKS),
    Good("parquet", "a.parquet", lambda: parquet(PAIRS), TALKS),
    Good("parquet without ending", "a", lambda: parquet([{"text": "a b"}, {"text": "c"}]),
         ["a b", "c"]),
    # --- texts
    Good("text records", "a.jsonl", lines({"text": "a b"}, {"text": "c"}), ["a b", "c"]),
    Good("one long field", "a.jsonl", lines({"id": "1", "tale": LONG}), [LONG]),
    Good(
        "text field", "a.jsonl", lines({"content": "a", "story": "b c"}), ["b c"], (),
        ("--text-field", "story"),
    ),
    Good("one record", "a.jsonl", lines({"text": "only one"}), ["only one"]),
    Good(
        "surrogate", "a.jsonl", lines('{"text": "a \\ud83d b"}'), ["a \ufffd b"],
        ("1 half of a surrogate pair became U+FFFD",),
    ),
    Good("many digits", "a.jsonl", lines('{"text": "a b", "n": ' + "7" * 6000 + "}"), ["a b"]),
    # --- a few bad ones among good ones
    Good(
        "truncated last line", "a.jsonl", THREE + b'{"messages": [{"role": "us', TALKS,
        ("1 bad record, left out", ":4: not JSON"),
    ),
    Good(
        "no answer and unknown role", "a.jsonl",
        THREE + lines(
            {"messages": messages("q")},
            {"messages": [{"role": "tool", "content": "x"}, *messages("q", "a")]},
            {"messages": messages("q3", "a3", "r3")},
        ),
        [*TALKS, turns("q3", "a3")],
        ("1 conversation left out: no answer", "1 conversation left out: the role 'tool'",
         "1 conversation ends with a question", "4 conversations, 9 turns"),
    ),
    Good(
        "mixed shapes", "a.jsonl", lines(*PAIRS, {"text": "x"}), TALKS,
        (":4: `prompt` is missing",),
    ),
    Good("null", "a.jsonl", lines(*PAIRS, pair(3, completion=None)), TALKS, (":4: `completion`",)),
    Good("wrong type", "a.jsonl", lines(*PAIRS, pair(3, completion=3)), TALKS, (":4: `comple",)),
    Good("doubled key", "a.jsonl", lines(*PAIRS, '{"prompt": "a", "prompt": "b"}'), TALKS,
         (":4: the key `prompt` stands twice",)),
    Good("nested lists", "a.jsonl", lines(*PAIRS, [[[1]]]), TALKS, (":4: not a JSON object",)),
    Good("brackets", "a.jsonl", lines(*PAIRS, "[" * 100_000), TALKS, (":4: not JSON (too deeply",)),
    Good("bad bytes in a record", "a.jsonl", lines(*PAIRS, b'{"prompt": "\xff"}'), TALKS,
         (":4: not UTF-8 at byte 12",)),
    Good("zero byte in a record", "a.jsonl", lines(*PAIRS, b'{"prompt": "\x01"}'), TALKS,
         (":4: not JSON",)),
    Good("short row", "a.csv", b"prompt,completion\nq0,a0\nq1,a1\nq2,a2\nq3\n", TALKS,
         (":5: 1 column, where the header has 2",)),
]  # fmt: skip


@dataclass(frozen=True)
class Bad:
    """A file, and what the sentence about it holds beside its name."""

    id: str
    name: str
    content: bytes | Callable[[], bytes]
    told: tuple[str, ...]
    flags: tuple[str, ...] = ()


BAD = [
    Bad("empty", "a.txt", b"", ("holds no text",)),
    Bad("empty records", "a.jsonl", b"", ("holds no text",)),
    Bad("white space", "a.txt", b" \n\t\r\n" * 50, ("holds no text",)),
    Bad("invalid utf8", "a.txt", b"fine\r\nfine\r\nbad \xff\n", ("line 3", "byte 16 is not UTF-8")),
    Bad("cut amid a character", "a.txt", "fine é".encode()[:-1], ("line 1", "byte 5 is not UTF-8")),
    Bad("invalid csv", "a.csv", b"text\nfine\n\xff\n", ("line 3", "byte 10 is not UTF-8")),
    Bad("broken utf16", "a.txt", b"\xff\xfea\0\n\0\0\xd8b\0", ("line 2", "byte 6 is not UTF-16")),
    Bad("zero bytes", "a.txt", b"ab\0cd", ("zero byte at offset 2",)),
    Bad("png named txt", "a.txt", b"\x89PNG\r\n\x1a\n\0\0", ("a PNG image",)),
    Bad("pdf", "a.txt", b"%PDF-1.7 ...", ("a PDF",)),
    Bad("docx", "a.docx", b"PK\x03\x04...", ("a ZIP archive",)),
    Bad("truncated gzip", "a.txt.gz", gzip.compress(STORY.encode() * 9)[:-20], ("gzip",)),
    Bad("corrupt gzip", "a.jsonl.gz", gzip.compress(THREE)[:30] + b"\xff" * 60, ("gzip",)),
    Bad("truncated array", "a.json", json.dumps(PAIRS, indent=0).encode()[:-12],
        ("line 12", "the JSON is broken here")),
    Bad("array that goes wrong late", "a.json",
        json.dumps([pair(n) for n in range(300)], indent=0).encode()[:-12], ("line 1200",)),
    Bad("more after an array", "a.json", json.dumps(PAIRS, indent=0).encode() + b"[]",
        ("more follows",)),
    Bad("brackets only", "a.json", b"[" * 100_000, ("too deeply nested",)),
    Bad("no record is json", "a.jsonl", b"{nonsense\n" * 5, ("line 1", "not JSON")),
    Bad("wrong keys", "a.jsonl", lines({"foo": 1, "bar": "x"}),
        ("foo, bar", "messages", "--user-field")),
    Bad("two long fields", "a.jsonl", lines({"story": LONG, "tale": LONG}),
        ("story, tale", "--text-field")),
    Bad("field that is not there", "a.jsonl", lines(*PAIRS), ("`x` is not",),
        ("--text-field", "x")),
    Bad("preference", "a.jsonl", lines({"prompt": "q", "chosen": "a", "rejected": "b"}),
        ("preference data", "--take chosen")),
    Bad("no answers", "a.jsonl", lines(*({"messages": messages("q")} for _ in range(3))),
        ("None of the 3 records", "a.jsonl:1: no answer", "a.jsonl:3")),
    Bad("other roles only", "a.jsonl", lines({"messages": [{"role": "tool", "content": "x"}]}),
        ("the role 'tool'",)),
    Bad("all null", "a.jsonl", lines(*({"text": None} for _ in range(5))),
        ("5 of the 5 records", "a.jsonl:1: `text`")),
    Bad("too many bad", "a.jsonl", lines(*PAIRS, *["nonsense"] * 11),
        ("11 of the 14 records", "a.jsonl:4: not JSON")),
    Bad("one conversation", "a.jsonl", lines(PAIRS[0], "nonsense"),
        ("a single conversation", "a.jsonl:2: not JSON")),
    Bad("bare conversation", "a.json", json.dumps(messages("q", "a"), indent=1).encode(),
        ("a single conversation",)),
    Bad("strict", "a.jsonl", lines(*PAIRS, "nonsense"), ("a.jsonl:4: not JSON",), ("--strict",)),
    Bad("csv without answers", "a.csv", b"question,category\nwhat?,x\n",
        ("question, category", "--assistant-field")),
    Bad("csv without rows", "a.csv", b"prompt,completion\n", ("without rows",)),
    Bad("csv with an open quote", "a.csv", b'prompt,completion\nq,a\nq,"a\nq,a\n',
        ("line 3", "never closed")),
    Bad("not parquet", "a.parquet", b"PAR1 and nothing more", ("cannot be read as parquet",)),
    Bad("truncated parquet", "a.parquet", lambda: parquet(PAIRS)[:-30], ("as parquet",)),
    Bad("no marks", "a.txt", b"Once upon a time\n", ("--format turns", "User:"),
        ("--format", "turns")),
    Bad("not json", "a.txt", b"Once upon a time\n", ("--format json",), ("--format", "json")),
]  # fmt: skip


def as_parameter(case: Good) -> Any:
    large = isinstance(case.content, bytes) and len(case.content) > 1_000_000
    return pytest.param(case, id=case.id, marks=[pytest.mark.slow] if large else [])


def settings_of(path: Path, flags: tuple[str, ...]) -> DataSettings:
    """The settings that these flags stand for."""
    values: dict[str, Any] = {}
    words = list(flags)
    while words:
        name = words.pop(0).removeprefix("--").removeprefix("data.").replace("-", "_")
        values[name] = True if name == "strict" else words.pop(0)
    return DataSettings(paths=(str(path),), **values)


def write(folder: Path, name: str, content: bytes | Callable[[], bytes]) -> Path:
    path = folder / "given" / name
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content())
    return path


def read(data: DataSettings) -> list[Any]:
    found: list[Any] = []
    for file in Corpus.scan(data).files:
        for item in file.items():
            if not isinstance(item, Piece):
                found.append([(message.role, message.content) for message in item.messages])
            elif item.first:
                found.append(item.text)
            else:
                found[-1] += item.text
    return found


@pytest.mark.parametrize("case", [as_parameter(case) for case in GOOD])
def test_what_can_be_read(case: Good, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, case.name, case.content)
    data = settings_of(path, case.flags)
    assert read(data) == case.wanted
    words = ["data", str(path), *case.flags, "--tokenizer.kind", "char"]
    code = run(words)
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    assert str(path) in shown.out
    for note in case.notes:
        assert note in shown.out
    assert run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["form"] == ("chat" if isinstance(case.wanted[0], list) else "text")
    assert document["files"][0]["documents"] == len(case.wanted)
    made = prepare(data, CHAR, seed=0, cache=tmp_path / ".cache")
    ids = made.train.read(0, made.train.n_tokens)
    text = made.tokenizer.decode(ids)
    pieces = made.tokenizer.pieces(ids)
    roles = [role for talk in case.wanted if isinstance(talk, list) for role, _ in talk]
    for role in ("system", "user", "assistant"):  # no text has become a control token
        assert pieces.count(f"<|{role}|>") <= roles.count(role)
    assert text in "".join(
        talk if isinstance(talk, str) else "".join(content for _, content in talk)
        for talk in case.wanted
    )


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_what_cannot_be_read(case: Bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, case.name, case.content)
    for more in ([], ["--json"]):
        code = run(["data", str(path), *case.flags, "--tokenizer.kind", "char", *more])
        shown = capsys.readouterr()
        assert (code, shown.out) == (2 if "holds no text" in case.told else 1, "")
        assert "Traceback" not in shown.err
        assert str(path) in shown.err
        for words in case.told:
            assert words in shown.err
        sentences = [line for line in shown.err.splitlines() if line.startswith("tinychat: ")]
        assert len(sentences) == 1
    cache = tmp_path / "checkpoints" / ".cache"
    with pytest.raises(DataError):
        prepare(settings_of(path, case.flags), CHAR, seed=0, cache=cache)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size] in (
        [path],
        [],  # an empty file was given
    )


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.parquet", lambda: parquet(PAIRS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'tinychat\[data\]'"):
        Corpus.scan(DataSettings(paths=(str(path),)))
