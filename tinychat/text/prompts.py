"""Prompts in the manner of a corpus: what people say first in its conversations, how its texts
begin. The live samples of a run ask them, and so does whoever wants to judge its answers.
"""

import itertools
import json
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from tinychat.errors import DataError, TinychatError
from tinychat.runs import RunReader
from tinychat.text.token_files import TokenFile
from tinychat.text.tokenizer import Tokenizer

_MOST = 1_000  # prompts of one run
_CHARACTERS = 400  # of one; longer ones are for reading, not for judging in a row
_SAMPLE_ROWS = 2_000  # how far back what a run was asked while it trained is looked for
TEXT_PROMPT_TOKENS = 12  # of a text's beginning


def first_questions(
    file: TokenFile, tokenizer: Tokenizer, limit: int, documents: Iterable[int]
) -> Iterator[str]:
    """What the user says first in these conversations; those that need more than `limit` tokens
    before the answer are left out."""
    user, assistant = (tokenizer.format.opening[role][0] for role in ("user", "assistant"))
    for i in documents:
        start, stop = file.bounds(i)
        ids = list(file.read(start, min(stop, start + limit)))
        if user in ids and assistant in ids[ids.index(user) :]:
            yield tokenizer.decode(ids[ids.index(user) + 1 : ids.index(assistant)])


def beginnings(
    file: TokenFile, tokenizer: Tokenizer, limit: int, starts: Iterable[int]
) -> Iterator[str]:
    """The text of a few tokens from each of these places on."""
    length = min(TEXT_PROMPT_TOKENS, limit, file.n_tokens)
    for start in starts:
        text = tokenizer.decode(file.read(start, min(start + length, file.n_tokens)))
        if text.strip():
            yield text


def prompts_of_run(run: Path) -> list[str]:
    """At most a thousand different prompts, shuffled once for each run: of its validation data,
    where its prepared corpus still lies beside the runs, and what it was asked while it trained.

    Whatever cannot be read has no prompts.
    """
    reader = RunReader(run)
    found: list[str] = []
    try:
        id = reader.run.id
        try:
            found += _of_validation(reader, run.parent / ".cache", random.Random(id))
        except (OSError, ValueError, KeyError, TypeError, DataError):
            pass  # it was cleaned up, or is damaged: whoever trains again makes it anew
        rows = itertools.islice(reader.rows_backwards("samples"), _SAMPLE_ROWS)
        found += [row["prompt"] for row in rows if isinstance(row.get("prompt"), str)]
    except (TinychatError, OSError):
        return []
    fitting = (text for text in found if text.strip() and len(text) <= _CHARACTERS)
    prompts = list(dict.fromkeys(fitting))[:_MOST]
    random.Random(id).shuffle(prompts)
    return prompts


def suggest(prompts: Sequence[str], asked: Collection[str], last: str = "") -> str | None:
    """The first prompt that was not asked yet; once all were, any of them again but the last."""
    left = next((prompt for prompt in prompts if prompt not in asked), None)
    if left is not None or not prompts:
        return left
    return random.choice([prompt for prompt in prompts if prompt != last] or prompts)


def _of_validation(reader: RunReader, cache: Path, order: random.Random) -> list[str]:
    fingerprint, sha256 = reader.data_fingerprint, reader.run.tokenizer_sha256
    for path in sorted(cache.glob("*/corpus.json")):
        record = json.loads(path.read_bytes())
        if record["fingerprint"] != fingerprint:
            continue
        text = (path.parent / "tokenizer.json").read_text(encoding="utf-8")
        if (tokenizer := Tokenizer.from_json(text)).sha256 == sha256:
            limit = reader.settings["settings"]["model"]["context_length"] // 2
            return _prompts(path.parent / "valid.bin", record["form"], tokenizer, limit, order)
    return []


def _prompts(
    path: Path, form: str, tokenizer: Tokenizer, limit: int, order: random.Random
) -> list[str]:
    file = TokenFile(path, tokenizer.format)
    try:
        documents = order.sample(range(file.n_documents), min(file.n_documents, 2 * _MOST))
        if form == "chat":
            return list(first_questions(file, tokenizer, limit, documents))
        places = order.sample(range(file.n_tokens), min(file.n_tokens, _MOST // 10))
        starts = [file.bounds(i)[0] for i in documents] if len(documents) > 10 else places
        return list(beginnings(file, tokenizer, limit, starts))
    finally:
        file.close()
