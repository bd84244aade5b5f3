"""Which rows a step sees."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.text.test_imported import qwen_like
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
from tinychat.text import (
    ASSISTANT,
    BOS,
    END,
    PAD,
    SYSTEM,
    USER,
    Corpus,
    Prepared,
    Tokenizer,
    encode_whole,
    prepare,
    tinychat_format,
)
from tinychat.training.batches import (
    ConversationRows,
    TextRows,
    batch_at,
    evaluation_batches,
    make_rows,
    pack,
    shorten_conversation,
    training_rows,
)


@pytest.fixture(scope="module")
def text(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return _prepare(corpus, tmp_path_factory)


@pytest.fixture(scope="module")
def chat(chat_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return _prepare(chat_corpus, tmp_path_factory)


def _prepare(path: Path, factory: pytest.TempPathFactory) -> Prepared:
    return prepare(
        DataSettings(paths=(str(path),)),
        TokenizerSettings(vocab_size=300),
        seed=0,
        cache=factory.mktemp("cache"),
    )


@pytest.mark.parametrize("form", ["text", "chat"])
def test_a_batch_depends_on_seed_and_step_only(form: str, text: Prepared, chat: Prepared) -> None:
    prepared = text if form == "text" else chat
    first = make_rows(prepared.train, form, 32)
    again = make_rows(prepared.train, form, 32)
    for step in (0, 1, 17, 400):
        a = batch_at(first, 1, step, 8)
        batch_at(again, 1, step + 3, 8)  # another history of questions
        b = batch_at(again, 1, step, 8)
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.is_target, b.is_target)
    assert not torch.equal(batch_at(first, 1, 0, 8).ids, batch_at(first, 2, 0, 8).ids)
    # torch's CPU generator reads 32 bits: seeds that differ above them must differ here too
    assert not torch.equal(batch_at(first, 1, 0, 8).ids, batch_at(first, 1 + 2**32, 0, 8).ids)


def test_a_step_is_the_same_rows_however_it_is_cut(text: Prepared) -> None:
    rows = make_rows(text.train, "text", 32)
    whole = batch_at(rows, 0, 5, 32)
    parts = list(whole.split(8))
    assert len(parts) == 4
    assert torch.equal(torch.cat([p.ids for p in parts]), whole.ids)
    halves = torch.cat([batch_at(rows, 0, 10, 16).ids, batch_at(rows, 0, 11, 16).ids])
    assert torch.equal(halves, whole.ids), "rows are counted, not steps"


def test_an_epoch_holds_every_row_once_and_epochs_differ(text: Prepared) -> None:
    rows = TextRows(text.train, 32)
    epochs = [[rows.row(0, e, i)[0][0] for i in range(rows.count)] for e in range(2)]
    for starts in epochs:
        assert len({(s - min(starts)) // 32 for s in starts}) == rows.count
        assert max(starts) + 33 <= text.train.n_tokens
    assert epochs[0] != epochs[1]
    assert min(epochs[0]) != min(epochs[1]), "each epoch has its own offset"


def test_validation_covers_every_target_exactly_once(text: Prepared, chat: Prepared) -> None:
    for prepared in (text, chat):
        file = prepared.valid
        rows = make_rows(file, prepared.form, 32)
        counted = sum(b.target_tokens for b in evaluation_batches(rows, 4))
        wanted = sum(file.targets(0, file.n_tokens))
        if prepared.form == "text":
            wanted -= file.targets(0, 1)[0]  # the very first token has nothing before it
        assert counted == wanted


def test_targets_are_answers_only_and_never_bos_or_padding(chat: Prepared) -> None:
    batch = batch_at(make_rows(chat.train, "chat", 64), 0, 0, 16)
    learnt = batch.next_ids[batch.is_target]
    for forbidden in (BOS, PAD, USER, ASSISTANT, SYSTEM):
        assert not (learnt == forbidden).any()
    assert (learnt == END).any()
    said = chat.tokenizer.decode(learnt.tolist())
    assert "It is" in said
    assert "What" not in said


def test_conversations_stay_whole_when_they_fit(chat: Prepared) -> None:
    rows = ConversationRows(chat.train, 64)
    spans = [span for row in rows.in_order() for span in row]
    documents = {chat.train.bounds(i) for i in range(chat.train.n_documents)}
    assert set(spans) == documents
    assert len(spans) == len(documents)
    assert rows.shortened == rows.dropped == 0


def test_a_corpus_shorter_than_a_row_is_refused_with_both_numbers(text: Prepared) -> None:
    with pytest.raises(DataError, match=r"(?s)tokens.*1,000,001"):
        training_rows(text.train, "text", 1_000_000)


@given(st.lists(st.integers(1, 50), max_size=60))
def test_packing_loses_nothing_and_never_overfills(sizes: list[int]) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(((at, at + size),))
        at += size
    rows = pack(pieces, 50)
    assert sorted(piece for row in rows for piece in row) == pieces
    assert all(sum(b - a for piece in row for a, b in piece) <= 50 for row in rows)
    assert len(rows) <= max(1, 2 * -(-sum(sizes) // 50)) or not rows


def _turns(*lengths: int, system: int = 0) -> list[int]:
    ids = [BOS] + ([SYSTEM] + [9] * system if system else [])
    for user, answer in zip(lengths[::2], lengths[1::2], strict=True):
        ids += [USER] + [10] * user + [ASSISTANT] + [11] * answer + [END]
    return ids


def test_shortening_keeps_the_system_turn_and_drops_the_oldest_turns() -> None:
    ids = _turns(5, 5, 5, 5, 5, 5, system=4)
    kept = _take(ids, 35)
    assert kept == ids[:6] + ids[6 + 13 :]


def test_shortening_cuts_the_prompt_left_and_then_the_answer_right() -> None:
    ids = _turns(100, 10)
    kept = _take(ids, 40)
    assert kept[:2] == [BOS, USER]
    assert kept[-12:] == [ASSISTANT] + [11] * 10 + [END]
    assert len(kept) == 40
    ids = _turns(100, 100)
    kept = _take(ids, 40)
    assert len(kept) == 40
    assert kept.count(10) >= 8
    assert kept.count(11) >= 20
    assert kept[kept.index(ASSISTANT) - 1] == 10


@given(st.lists(st.integers(0, 30), min_size=2, max_size=8), st.integers(0, 30), st.integers(8, 60))
def test_shortening_always_fits_and_keeps_order(
    lengths: list[int], system: int, limit: int
) -> None:
    ids = _turns(*lengths[: len(lengths) // 2 * 2], system=system)
    if len(ids) <= limit:
        return
    spans = shorten_conversation(ids, limit, tinychat_format())
    assert sum(b - a for a, b in spans) <= limit
    assert all(a <= b for a, b in spans)
    assert all(x[1] <= y[0] for x, y in pairwise(spans))
    assert spans[0][0] == 0
    kept = _take(ids, limit)
    assert ASSISTANT in kept


def _take(ids: list[int], limit: int) -> list[int]:
    return [
        token for a, b in shorten_conversation(ids, limit, tinychat_format()) for token in ids[a:b]
    ]


@pytest.mark.parametrize("context_length", [200, 50, 32, 20])
def test_a_foreign_chat_format_counts_every_target_once(
    tmp_path: Path, context_length: int
) -> None:
    """Its turns cannot be told from ids alone, so a long conversation is cut into windows."""
    tokenizer = Tokenizer.for_talking(qwen_like().to_str(), "<|endoftext|>", chat=True)
    path = tmp_path / "long.jsonl"
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "abcdefghij " * 9}]
    path.write_text((json.dumps({"messages": talk}) + "\n") * 12, encoding="utf-8")
    corpus = Corpus.scan(DataSettings(paths=(str(path),)))
    file, _ = encode_whole(corpus, tokenizer, tmp_path, loss="answers")
    batches = list(evaluation_batches(make_rows(file, "chat", context_length), 4))
    assert sum(b.target_tokens for b in batches) == sum(file.targets(0, file.n_tokens)) > 900
