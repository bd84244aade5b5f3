"""The file tokenizer.json: written by us down to the last field, and read only when it is so.

The library behind it follows whatever a file says (padding to any length, cutting, renamed tokens)
and dies on a bad merge; so nothing but the vocabulary and the merges may vary, and those are
checked before the library sees them. What a tokenizer does is the charge of `tokenizer`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from tinychat.errors import DataError, NoDataError
from tinychat.text.chat import BOS, CONTROL_TOKENS

# The split that llama.cpp knows as "qwen2". Digits stand alone, which helps with sums.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FIRST_ID = len(CONTROL_TOKENS)  # of those that stand for text
LARGEST_FILE = 64 * 1024 * 1024  # bytes; a vocabulary of a million has about half
_MOST_BRACKETS = 2_500_000


def _byte_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in byte-level BPE (GPT-2's table), and their bytes."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    characters = {chr(byte): byte for byte in visible}
    return characters | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_alphabet()
BYTE_TOKENS = {f"<0x{byte:02X}>": byte for byte in range(256)}


def piece_bytes(kind: str, piece: str) -> bytes:
    """The bytes that an entry of the vocabulary stands for."""
    if kind == "bpe":
        return bytes(BYTE_OF_CHARACTER[character] for character in piece)
    return bytes([BYTE_TOKENS[piece]]) if piece in BYTE_TOKENS else piece.encode()


def _document(kind: str) -> dict[str, Any]:
    """All of tokenizer.json but the vocabulary and the merges, which stand in its `model`."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    byte_level["use_regex"] = False
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    bpe = kind == "bpe"
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [control_token(i, name) for i, name in enumerate(CONTROL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": (
            {"type": "Sequence", "pretokenizers": [split, byte_level]} if bpe else None
        ),
        "post_processor": begin_with(CONTROL_TOKENS[BOS], BOS),
        "decoder": (
            byte_level
            if bpe
            else {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
        ),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": not bpe,
            "ignore_merges": False,
        },
    }


def control_token(token: int, name: str) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": name, **flags, "special": True}


def begin_with(name: str, token: int) -> dict[str, Any]:
    """A post-processor that puts one token before every text."""
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, first],
        "pair": [{"SpecialToken": {"id": name, "type_id": 0}}, first, second],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }


def render(kind: str, vocab: dict[str, int], merges: list[Any]) -> str:
    """The text of tokenizer.json for a kind ("bpe", "char"), a vocabulary and merges."""
    document = _document(kind)
    document["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    document["model"]["merges"] = merges
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def parse(text: str) -> dict[str, Any]:
    """A tokenizer.json as JSON. Raises DataError for what is none or would take much memory."""
    # an empty list costs thirty times its two characters; merges have one bracket each
    if len(text) > LARGEST_FILE or text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise _foreign("it is too large")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _foreign("it is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise _foreign("it holds no model")
    return document


def read(document: Mapping[str, Any]) -> tuple[str, dict[str, int], list[Any]]:
    """Kind, vocabulary and merges. Raises DataError unless every other field is as we write it."""
    model = dict(document["model"])
    vocab, merges = model.pop("vocab", None), model.pop("merges", None)
    kind = "char" if model.get("byte_fallback") else "bpe"
    try:
        # Compared as text, because in Python True == 1.
        theirs = json.dumps({**document, "model": model}, sort_keys=True)
        same = theirs == json.dumps(_document(kind), sort_keys=True)
    except RecursionError:
        same = False
    if not same:
        raise _foreign("a field other than the vocabulary and the merges is not as we write it")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise _foreign("its vocabulary or its merges have the wrong shape")
    _check_vocab(kind, vocab)
    _check_merges(kind, vocab, merges)
    return kind, vocab, merges


def _check_vocab(kind: str, vocab: dict[str, Any]) -> None:
    ids = list(vocab.values())
    if not all(type(token) is int for token in ids) or sorted(ids) != list(range(len(ids))):
        raise _foreign("its ids are not 0, 1, 2 and so on")
    pieces = sorted(vocab, key=vocab.__getitem__)
    if tuple(pieces[:FIRST_ID]) != CONTROL_TOKENS:
        raise _foreign("the control tokens are not the ids 0 to 5")
    alphabet = BYTE_OF_CHARACTER if kind == "bpe" else BYTE_TOKENS
    if missing := [piece for piece in alphabet if piece not in vocab]:
        raise _foreign(f"{len(missing)} of the 256 bytes have no token")
    for piece in pieces[FIRST_ID:]:
        if kind == "bpe":
            good = piece != "" and all(character in alphabet for character in piece)
        else:
            good = piece in alphabet or (len(piece) == 1 and not "\ud800" <= piece <= "\udfff")
        if not good:
            raise _foreign(f"the token {repr(piece)[:80]} stands for no bytes")


def _check_merges(kind: str, vocab: dict[str, int], merges: list[Any]) -> None:
    if kind == "char" and merges:
        raise _foreign("a character tokenizer has no merges")
    for merge in merges:
        if not (
            isinstance(merge, list)
            and len(merge) == 2
            and all(isinstance(part, str) and vocab.get(part, 0) >= FIRST_ID for part in merge)
            and vocab.get(merge[0] + merge[1], 0) >= FIRST_ID
        ):
            raise _foreign(f"the merge {repr(merge)[:80]} does not make a token out of two")


def read_tokenizer_file(path: Path) -> str:
    """The text of a tokenizer.json. Raises DataError, naming it, if it cannot be had."""
    try:
        if not path.is_file():
            raise NoDataError(f"{path} is not a file.")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise DataError(f"{path} has more than {LARGEST_FILE:,} bytes, which are not read.")
        return data.decode("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}.") from None


def load_backend(text: str) -> Backend:
    """The library's tokenizer for a text from `render`. Raises DataError where it fails."""
    try:
        return Backend.from_str(text)
    except Exception as error:
        raise _foreign("the tokenizers library refuses it") from error
    except BaseException as error:
        # A panic in Rust arrives as a BaseException of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise _foreign("the tokenizers library fails on it") from error


def _foreign(reason: str) -> DataError:
    return DataError(f"This tokenizer.json cannot be used: {reason}.")
