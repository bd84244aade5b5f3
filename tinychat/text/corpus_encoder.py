"""The ids that `Tokenizer.encode_batch` gives, several times sooner: what corpora are encoded with.

Byte-level BPE goes through tiktoken, characters through a table. tiktoken knows no merges: it joins
any two neighbours whose bytes are a token, the lowest id first. That gives the same ids where every
token is made by one merge, later merges make higher ids, and every token's own bytes become that
token: neighbours that make a token together are then always the two halves of its merge. All of it
is looked at here, with a text of all sorts, and where anything is otherwise the tokenizer itself is
used. So is it for texts with a character that the two libraries' tables of Unicode take for
different kinds.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tiktoken
from tokenizers import Regex, models, normalizers
from tokenizers import Tokenizer as Backend

from tinychat.text.chat import ChatFormat, Encoder
from tinychat.text.imported import KNOWN_SPLITS
from tinychat.text.tokenizer import Tokenizer
from tinychat.text.tokenizer_file import BYTE_TOKENS, piece_bytes

# What ByteLevel does with use_regex, written down in neither library's files.
_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Stands between texts that go through tiktoken in one call; no end of it is a beginning of it.
_BETWEEN = "\x02between two texts\x03"
# All that the expressions ask of a character, but for those that they name.
_KINDS = (r"\p{L}", r"\p{N}", r"\s", r"(?i:s|t|r|e|v|m|l|d)")
_SAMPLE = (
    "It's  GOOD, I'LL say; 'twas 1234.5 (x_1)\r\n\n  \t tab\tend \n \n"
    "Zwölf 'ſ Straßen ŉ İ 東京は晴れ。\u3000“Да”, مرحبا १२३ ½ e\u0301 \u00a0\u2028 \ufe0f \u0378"
    "\0\x7f<|end|><|endoftext|>    !!!\n\n\n   a"
)


def corpus_encoder(tokenizer: Tokenizer) -> Encoder:
    """The quickest encoder with this tokenizer's ids. Can be used from several threads."""
    made = _Characters(tokenizer) if tokenizer.kind == "char" else _byte_pairs(tokenizer)
    # every token beside others than those it was learnt with
    every = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
    texts = [_SAMPLE, "", _SAMPLE[::-1], "".join(every), " ".join(every[::-1])]
    if made and made.encode_batch(texts) == tokenizer.encode_batch(texts):
        return made
    return tokenizer


class _Exact:
    """An encoder that leaves to the tokenizer what it does not know."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def format(self) -> ChatFormat:
        return self._tokenizer.format

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text. Raises DataError for half of a surrogate pair."""
        made = self._try(texts)
        return self._tokenizer.encode_batch(texts) if made is None else made

    def _try(self, texts: Sequence[str]) -> list[list[int]] | None:
        raise NotImplementedError


class _Characters(_Exact):
    """A table of characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        vocab = json.loads(tokenizer.to_json())["model"]["vocab"]
        self._ids = {piece: token for piece, token in vocab.items() if len(piece) == 1}
        self._bytes = {byte: vocab[piece] for piece, byte in BYTE_TOKENS.items()}

    def _try(self, texts: Sequence[str]) -> list[list[int]] | None:
        try:
            return [self._encode(text) for text in texts]
        except UnicodeEncodeError:
            return None

    def _encode(self, text: str) -> list[int]:
        try:
            return list(map(self._ids.__getitem__, text))
        except KeyError:
            return [token for character in text for token in self._of(character)]

    def _of(self, character: str) -> Sequence[int]:
        token = self._ids.get(character)
        if token is not None:
            return (token,)
        return [self._bytes[byte] for byte in character.encode()]


class _BytePairs(_Exact):
    """tiktoken with the tokens of a byte-level BPE."""

    def __init__(self, tokenizer: Tokenizer, split: str, tokens: dict[bytes, int]) -> None:
        super().__init__(tokenizer)
        self._between = tokenizer.vocab_size
        self._encoding = tiktoken.Encoding(
            "tinychat",
            pat_str=split,
            mergeable_ranks=tokens,
            special_tokens={_BETWEEN: self._between},
        )
        self._kinds = _Kinds()

    def _try(self, texts: Sequence[str]) -> list[list[int]] | None:
        # one call for all, because each has to wait for the lock that only one thread holds
        joined = _BETWEEN.join(texts)
        if not self._kinds.agree_on(joined):
            return None
        try:
            ids = self._encoding.encode(joined, allowed_special={_BETWEEN}, disallowed_special=())
        except ValueError:  # a million spaces in a row are more than its expressions can look back
            return None
        if ids.count(self._between) != len(texts) - 1:  # a text spells it, or there is no text
            return None
        return list(self._parted(ids))

    def _parted(self, ids: list[int]) -> Iterator[list[int]]:
        start = 0
        for _ in range(ids.count(self._between)):
            stop = ids.index(self._between, start)
            yield ids[start:stop]
            start = stop + 1
        yield ids[start:]


def _byte_pairs(tokenizer: Tokenizer) -> _BytePairs | None:
    """None where tiktoken would or might give other ids."""
    document = json.loads(tokenizer.to_json())
    split = _split(document)
    if split is None or document["normalizer"]:
        return None
    model, beside = document["model"], document["added_tokens"]
    if not all(token["special"] for token in beside):  # words that are found before all else
        return None
    special = {token["content"] for token in beside}
    vocab = {piece: token for piece, token in model["vocab"].items() if piece not in special}
    if not _tokens_decide(vocab, model["merges"]):
        return None
    try:
        tokens = {piece_bytes("bpe", piece): token for piece, token in vocab.items()}
        return _BytePairs(tokenizer, split, tokens)
    except (ValueError, KeyError):  # tiktoken refuses the expression or the tokens
        return None


def _split(document: Mapping[str, Any]) -> str | None:
    """How texts are split before merging, if it is one expression and nothing else."""
    part = document["pre_tokenizer"]
    *splits, last = part["pretokenizers"] if part["type"] == "Sequence" else [part]
    if last["use_regex"]:
        return None if splits else _GPT2_SPLIT
    known = [s["pattern"]["Regex"] for s in splits if s["type"] == "Split"]
    return known[0] if len(known) == len(splits) == 1 and known[0] in KNOWN_SPLITS else None


def _tokens_decide(vocab: Mapping[str, int], merges: Sequence[Sequence[str]]) -> bool:
    """Whether ids can be had from the tokens alone, without the merges."""
    made = [first + second for first, second in merges]
    longer = {piece for piece in vocab if len(piece) > 1}
    in_order = [vocab.get(piece, -1) for piece in made]
    if len(made) != len(longer) or set(made) != longer or in_order != sorted(in_order):
        return False
    pairs = [(first, second) for first, second in merges]
    alone = Backend(models.BPE(vocab=dict(vocab), merges=pairs))
    pieces = list(vocab)
    encoded = alone.encode_batch_fast(pieces, add_special_tokens=False)
    return all(e.ids == [vocab[piece]] for piece, e in zip(pieces, encoded, strict=True))


class _Kinds:
    """Which characters both libraries take for the same kind: letter, digit, white space, other.

    Each comes with its own version of Unicode.
    """

    def __init__(self) -> None:
        byte = {bytes([i]): i for i in range(256)}
        self._tiktoken = [
            tiktoken.Encoding(kind, pat_str=kind, mergeable_ranks=byte, special_tokens={})
            for kind in _KINDS
        ]
        self._tokenizers = [normalizers.Replace(Regex(kind), "") for kind in _KINDS]
        self._agreed: frozenset[str] = frozenset()
        self._agreed |= self._agreeing(set(map(chr, range(128))))
        self._ascii = len(self._agreed) == 128

    def agree_on(self, text: str) -> bool:
        """Whether they do on all characters of a text. They do not on half a surrogate pair."""
        if self._ascii and text.isascii():
            return True
        new = set(text) - self._agreed
        if new:
            self._agreed |= self._agreeing(new)
        return new <= self._agreed

    def _agreeing(self, characters: set[str]) -> set[str]:
        good = {c for c in characters if not "\ud800" <= c <= "\udfff"}
        text = "".join(good)
        for theirs, ours in zip(self._tiktoken, self._tokenizers, strict=True):
            matched = set(bytes(theirs.encode_ordinary(text)).decode())
            rest = set(ours.normalize_str(text))  # what does not match there
            good -= matched & rest
            good -= characters - matched - rest
        return good
