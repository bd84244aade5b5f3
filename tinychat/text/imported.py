"""Vocabularies that others have made: byte-level BPE as GPT-2, Qwen, Llama 3 and their kin have it.

A tokenizer.json from elsewhere decides, if it is let, how much memory the library takes, where
texts are cut, and which letters become control tokens. So nothing of it reaches the library as it
stands: what we know is read field by field into an `Imported`, everything else is refused, and the
library gets what we write again from that.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tinychat.errors import DataError
from tinychat.text.chat import CONTROL_TOKENS, ROLES, ChatFormat, tinychat_format
from tinychat.text.tokenizer_file import BYTE_OF_CHARACTER, SPLIT, begin_with, control_token

LARGEST_VOCABULARY = 2_000_000
_MOST_WORDS = 10_000  # beside the vocabulary; the library's search for them takes memory for each
_LONGEST_WORD = 256  # characters of such a word

_LLAMA3_SPLIT = SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
# Other expressions are refused: one that backtracks without end would hang whoever encodes.
KNOWN_SPLITS = (SPLIT, _LLAMA3_SPLIT)


@dataclass(frozen=True)
class Imported:
    """What decides a byte-level BPE's ids, and nothing else."""

    vocab: Mapping[str, int]  # as the file has it; may hold special tokens too
    merges: tuple[tuple[str, str], ...]
    added: Mapping[str, int]  # words found in the text before it is split
    special: Mapping[str, int]  # control tokens: never made from text
    nfc: bool  # text is composed first (Unicode NFC)
    split: str | None  # an expression of KNOWN_SPLITS; None: GPT-2's, built into the library
    digits: bool | None  # digits apart: one by one, or as runs; None: not
    ignore_merges: bool
    bos: int | None  # what the file puts before every text

    @property
    def size(self) -> int:
        """How many ids there are."""
        return max([*self.vocab.values(), *self.added.values(), *self.special.values()]) + 1

    def with_control_tokens(self) -> "Imported":
        """With our control tokens after all that is there, for training."""
        there = {**self.vocab, **self.added, **self.special}
        taken = [name for name in CONTROL_TOKENS if name in there]
        if taken:
            raise _refused(f"it has a token {taken[0]} of its own")
        ours = {name: self.size + i for i, name in enumerate(CONTROL_TOKENS)}
        return replace(self, special={**self.special, **ours}, bos=self.size)

    @property
    def own_format(self) -> ChatFormat | None:
        """Our chat format, where the last six ids are our control tokens."""
        first = self.size - len(CONTROL_TOKENS)
        ours = {name: first + i for i, name in enumerate(CONTROL_TOKENS)}
        if any(self.special.get(name) != token for name, token in ours.items()):
            return None
        form = tinychat_format(first)
        return replace(form, control_ids=frozenset(self.special.values()))

    def token_table(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id; nothing for special tokens."""
        table = [b""] * self.size
        for piece, token in self.vocab.items():
            if piece not in self.special:
                table[token] = bytes(BYTE_OF_CHARACTER[character] for character in piece)
        for word, token in self.added.items():
            table[token] = word.encode()
        return tuple(table)

    def render(self) -> str:
        """tokenizer.json as we write it."""
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        steps: list[dict[str, Any]] = []
        if self.digits is not None:
            steps.append({"type": "Digits", "individual_digits": self.digits})
        if self.split is not None:
            pattern = {"Regex": self.split}
            steps.append(
                {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
            )
        steps.append({**byte_level, "use_regex": self.split is None})
        added = [control_token(token, name) for name, token in self.special.items()]
        added += [{**control_token(t, word), "special": False} for word, t in self.added.items()]
        bos = next((name for name, token in self.special.items() if token == self.bos), None)
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": sorted(added, key=lambda token: token["id"]),
            "normalizer": {"type": "NFC"} if self.nfc else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": None if bos is None else begin_with(bos, self.special[bos]),
            "decoder": {**byte_level, "use_regex": False},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self.ignore_merges,
                "vocab": dict(sorted(self.vocab.items(), key=lambda item: item[1])),
                "merges": [list(merge) for merge in self.merges],
            },
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def read_foreign(document: Mapping[str, Any]) -> Imported:
    """What a tokenizer.json from elsewhere holds. Raises DataError for all that we do not know."""
    for name in ("truncation", "padding"):
        if document.get(name) is not None:
            raise _refused(f"it asks for {name}, which would change every text")
    model = document["model"]
    _check_model(model)
    vocab = _vocabulary(model.get("vocab"))
    merges = _merges(model.get("merges"), vocab)
    added, special = _added_tokens(document.get("added_tokens"), vocab)
    nfc = _composes(document.get("normalizer"))
    split, digits = _splits(document.get("pre_tokenizer"))
    _check_decoder(document.get("decoder"))
    bos = _bos(document.get("post_processor"), special)
    found = Imported(
        vocab, merges, added, special, nfc, split, digits, bool(model.get("ignore_merges")), bos
    )
    _check_ids(found)
    _check_unreachable(found)
    return found


# --- how models from elsewhere want texts and turns ---------------------------------------------


def text_format(found: Imported, end: int) -> ChatFormat:
    """The format of a model that knows texts and no turns."""
    control = frozenset(found.special.values())
    return ChatFormat("text", found.bos, end, end, {}, {}, control)


def turn_format(found: Imported, end: int, encode: Callable[[str], list[int]]) -> ChatFormat | None:
    """ChatML or Llama 3's headers, known by the names of the special tokens; None: neither."""
    text = text_format(found, end)
    mark = {name: found.special.get(f"<|{name}|>") for name in _MARKS}
    if (start := mark["im_start"]) is not None and (stop := mark["im_end"]) is not None:
        opening = {role: (start, *encode(f"{role}\n")) for role in ROLES}
        closing = dict.fromkeys(ROLES, (stop, *encode("\n")))
        return replace(text, name="chatml", end=stop, opening=opening, closing=closing)
    start, after, stop = mark["start_header_id"], mark["end_header_id"], mark["eot_id"]
    if start is not None and after is not None and stop is not None:
        opening = {r: (start, *encode(r), after, *encode("\n\n")) for r in ROLES}
        closing = dict.fromkeys(ROLES, (stop,))
        return replace(text, name="llama3", end=stop, opening=opening, closing=closing)
    return None


_MARKS = ("im_start", "im_end", "start_header_id", "end_header_id", "eot_id")


# --- field by field -----------------------------------------------------------------------------


def _check_model(model: dict[str, Any]) -> None:
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise _refused("its model is not byte-level BPE (SentencePiece and WordPiece are not read)")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name) not in (None, ""):
            raise _refused(f"its {name} is not empty")
    if model.get("dropout"):
        raise _refused("it drops merges at random")
    if not isinstance(model.get("ignore_merges", False), bool):
        raise _refused("its ignore_merges is not true or false")


def _vocabulary(vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, dict) or not 256 <= len(vocab) <= LARGEST_VOCABULARY:
        raise _refused(f"its vocabulary does not have 256 to {LARGEST_VOCABULARY:,} tokens")
    if not all(type(token) is int for token in vocab.values()):
        raise _refused("an id of its vocabulary is not a whole number")
    if missing := [c for c in BYTE_OF_CHARACTER if c not in vocab]:
        raise _refused(f"{len(missing)} of the 256 bytes have no token, so it is not byte-level")
    return vocab


def _merges(merges: Any, vocab: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    if not isinstance(merges, list):
        raise _refused("its merges are not a list")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    for pair in pairs:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(part, str) and part in vocab for part in pair)
            and pair[0] + pair[1] in vocab
        ):
            raise _refused(f"the merge {repr(pair)[:80]} does not make a token out of two")
    return tuple((first, second) for first, second in pairs)


def _added_tokens(tokens: Any, vocab: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The words and the special tokens beside the vocabulary."""
    if not isinstance(tokens, list) or len(tokens) > _MOST_WORDS:
        raise _refused(f"its added_tokens are not a list of at most {_MOST_WORDS:,}")
    added: dict[str, int] = {}
    special: dict[str, int] = {}
    for token in tokens:
        content = token.get("content") if isinstance(token, dict) else None
        number = token.get("id") if isinstance(token, dict) else None
        if not isinstance(content, str) or not content or type(number) is not int:
            raise _refused(f"the added token {repr(token)[:80]} has no content or no id")
        broken = any("\ud800" <= character <= "\udfff" for character in content)
        if broken or len(content) > _LONGEST_WORD or content in added or content in special:
            raise _refused(f"the added token {content[:40]!a} cannot be used or stands twice")
        if vocab.get(content, number) != number:
            raise _refused(f"the added token {content[:40]!a} has another id in the vocabulary")
        if token.get("special"):
            special[content] = number
        elif any(token.get(flag) for flag in ("single_word", "lstrip", "rstrip")):
            raise _refused(f"the added token {content[:40]!a} swallows what stands beside it")
        else:
            added[content] = number
    return added, special


def _composes(normalizer: Any) -> bool:
    steps = _steps(normalizer, "normalizers")
    if any(step != {"type": "NFC"} for step in steps):
        raise _refused("its normalizer changes texts in another way than Unicode NFC")
    return bool(steps)


def _splits(pre_tokenizer: Any) -> tuple[str | None, bool | None]:
    """The expression and the treatment of digits that come before the byte level."""
    steps = _steps(pre_tokenizer, "pretokenizers")
    split: str | None = None
    digits: bool | None = None
    last = steps.pop() if steps else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space") is not False:
        raise _refused("its pre-tokenizer does not end with ByteLevel without a prefix space")
    for step in steps:
        if step.get("type") == "Digits" and split is None and digits is None:
            digits = step.get("individual_digits") is True
        elif step.get("type") == "Split" and split is None and step in _known_split_steps():
            split = step["pattern"]["Regex"]
        else:
            raise _refused("it splits texts in a way that is not known here")
    if (last.get("use_regex", True) is True) != (split is None):
        raise _refused("it splits texts in a way that is not known here")
    return split, digits


def _known_split_steps() -> list[dict[str, Any]]:
    rest = {"type": "Split", "behavior": "Isolated", "invert": False}
    return [{**rest, "pattern": {"Regex": split}} for split in KNOWN_SPLITS]


def _steps(part: Any, name: str) -> list[dict[str, Any]]:
    """A part of the file as a list of steps, whether it is one step, several or none."""
    if part is None:
        return []
    several = isinstance(part, dict) and part.get("type") == "Sequence"
    part = part.get(name) if several else [part]
    if not isinstance(part, list) or len(part) > 8 or not all(isinstance(s, dict) for s in part):
        raise _refused(f"its {name} are not a list of steps")
    return list(part)


def _check_decoder(decoder: Any) -> None:
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        raise _refused("its decoder is not ByteLevel")


def _bos(post_processor: Any, special: Mapping[str, int]) -> int | None:
    """The id that the file puts before every text, if it does."""
    for step in _steps(post_processor, "processors"):
        if step.get("type") == "ByteLevel":
            continue  # only moves offsets
        single = step.get("single")
        if step.get("type") != "TemplateProcessing" or not isinstance(single, list):
            raise _refused("its post-processor is not known here")
        first = single[0] if single else None
        first = first.get("SpecialToken") if isinstance(first, dict) else None
        if isinstance(first, dict):
            name = first.get("id")
            if not isinstance(name, str) or name not in special:
                raise _refused("its post-processor begins texts with an unknown token")
            return special[name]
    return None


def _check_ids(found: Imported) -> None:
    beside = {**found.special, **found.added}
    ids = [*found.vocab.values(), *(t for name, t in beside.items() if name not in found.vocab)]
    if sorted(ids) != list(range(len(ids))):
        raise _refused("its ids are not 0, 1, 2 and so on, each once")


def _check_unreachable(found: Imported) -> None:
    """No text may ever become a special token: neither by merges nor as a whole word."""
    made = set(BYTE_OF_CHARACTER).union(first + second for first, second in found.merges)
    for name in found.special:
        if name in made or (found.ignore_merges and name in found.vocab):
            raise _refused(f"ordinary text can become its special token {name[:40]!a}")
    for piece in found.vocab:
        if piece not in found.special and not all(c in BYTE_OF_CHARACTER for c in piece):
            raise _refused(f"its token {piece[:40]!a} stands for no bytes")


def _refused(reason: str) -> DataError:
    return DataError(f"This tokenizer.json cannot be used: {reason}.")
