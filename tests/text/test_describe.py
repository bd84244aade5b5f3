import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
from tinychat.text import Tokenizer, describe


def settings(path: Path | str, **changed: Any) -> DataSettings:
    return DataSettings(paths=(str(path),), **changed)


BPE = TokenizerSettings(kind="bpe", vocab_size=300)


def test_conversations_are_described_with_one_in_tokens(
    write_jsonl: Callable[..., Path], char: Tokenizer
) -> None:
    records = [{"prompt": f"ask {i}", "completion": "ok"} for i in range(50)]
    path = write_jsonl("a.jsonl", [*records, "nonsense"])
    found = describe(settings(str(path)), char)
    assert found.form == "chat"
    assert found.files[0].holds == "JSON lines, prompt -> completion"
    assert (found.files[0].documents, found.bad_records) == (50, 1)
    assert found.files[0].bad_reasons[0].startswith(f"{path}:51: ")
    assert found.train_documents + found.valid_documents == 50
    assert "validation" in found.split_rule
    pieces = found.sample_pieces
    assert pieces[:6] == ("<|bos|>", "<|user|>", "a", "s", "k", " ")
    assert pieces[-4:] == ("<|assistant|>", "o", "k", "<|end|>")
    assert [p for p, t in zip(pieces, found.sample_targets, strict=True) if t] == [
        *["o", "k", "<|end|>"]
    ]
    assert 0.2 < found.target_share < 0.3
    assert 0.5 < found.bytes_per_token < 1
    everything = describe(settings(str(path), loss="all"), char)
    assert everything.sample_targets == (False, *[True] * (len(pieces) - 1))


def test_text_is_described_with_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Call me Ishmael.\n" * 10_000, encoding="utf-8")
    found = describe(settings(str(path)), BPE)
    assert (found.form, found.files[0].documents) == ("text", 1)
    assert (found.train_documents, found.valid_documents) == (1, 1)
    assert found.sample_pieces[0] == "<|bos|>"
    assert "".join(found.sample_pieces[1:]).startswith("Call me Ishmael.\nCall")
    assert len(found.sample_pieces) <= 2002
    assert found.bytes_per_token > 1.5
    assert found.vocab_size <= 300
    assert dataclasses.asdict(found)["files"][0]["name"] == str(path)


def test_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 100)
    describe(settings(str(path)), BPE)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        describe(settings(str(tmp_path / "missing")), BPE)
