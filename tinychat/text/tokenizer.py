"""Text to token ids and back: byte-level BPE or characters, trained here, saved as tokenizer.json.

Ids 0 to 5 are the control tokens; in a vocabulary made by others they come last. No text can
produce one of them: `encode` treats their spelling as ordinary characters. Where control tokens go
is the charge of `chat`; what stands in the file is that of `tokenizer_file` and `imported`.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from tinychat.config import TokenizerSettings
from tinychat.errors import DataError, SettingsError
from tinychat.text.chat import CONTROL_TOKENS, ChatFormat, tinychat_format
from tinychat.text.imported import Imported, read_foreign, text_format, turn_format
from tinychat.text.tokenizer_file import (
    BYTE_OF_CHARACTER,
    BYTE_TOKENS,
    FIRST_ID,
    SPLIT,
    load_backend,
    parse,
    piece_bytes,
    read,
    read_tokenizer_file,
    render,
)

_SMALLEST_BPE = FIRST_ID + 256


class Tokenizer:
    """A tokenizer. Made by `train_bpe`, `train_char`, `from_json`, or from a foreign vocabulary."""

    def __init__(
        self,
        text: str,
        kind: str,
        table: tuple[bytes, ...],
        control_names: Mapping[int, str],
        chat_format: ChatFormat,
    ) -> None:
        self.kind = kind
        self.format = chat_format
        self._text = text
        self._table = table  # what each id stands for; nothing for control tokens
        self._control_names = control_names
        self._backend = load_backend(text)
        self._backend.encode_special_tokens = True  # not saved in the file, so set every time

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Load what `to_json` wrote. Raises DataError for anything else, however malformed."""
        found = cls._open(text)
        if isinstance(found, Imported):
            raise DataError(
                "This tokenizer.json was not made by tinychat: it lacks our control tokens."
            )
        return found

    @classmethod
    def for_training(cls, text: str) -> "Tokenizer":
        """Any tokenizer.json that we can learn with; our control tokens are appended to a foreign
        vocabulary. Raises DataError for one that cannot be used."""
        found = cls._open(text)
        if isinstance(found, Tokenizer):
            return found
        appended = found.with_control_tokens()
        assert appended.own_format is not None  # it has our control tokens now
        return cls._of(appended, appended.own_format)

    @classmethod
    def for_talking(cls, text: str, end: int | str | None, *, chat: bool) -> "Tokenizer":
        """The tokenizer of a model from elsewhere, in that model's own format.

        `end` is its end token, by id or name; `chat` says whether it was trained on turns. Raises
        DataError for a tokenizer that cannot be used, and for one whose end token is not known.
        """
        found = cls._open(text)
        if isinstance(found, Tokenizer):
            return found
        end_id = found.special.get(end) if isinstance(end, str) else end
        if end_id is None or end_id not in found.special.values():
            raise DataError(
                "This tokenizer.json cannot be used: neither tokenizer_config.json nor "
                "generation_config.json nor config.json names one of its special tokens as eos."
            )
        made = cls._of(found, text_format(found, end_id))
        if chat and (turns := turn_format(found, end_id, made.encode)):
            made.format = turns
        return made

    @classmethod
    def _open(cls, text: str) -> "Tokenizer | Imported":
        """A tokenizer of ours, or what is known of a foreign one."""
        document = parse(text)
        try:
            kind, vocab, merges = read(document)
        except DataError:
            found = read_foreign(document)
            return cls._of(found, found.own_format) if found.own_format else found
        # Kept and given to the library as we would write it: another reader of the original could
        # take, say, a doubled key in another way.
        canonical = render(kind, vocab, merges)
        pieces = sorted(vocab, key=vocab.__getitem__)[FIRST_ID:]
        table = (b"",) * FIRST_ID + tuple(piece_bytes(kind, piece) for piece in pieces)
        return cls(canonical, kind, table, dict(enumerate(CONTROL_TOKENS)), tinychat_format())

    @classmethod
    def _of(cls, found: Imported, chat_format: ChatFormat) -> "Tokenizer":
        names = {token: name for name, token in found.special.items()}
        made = cls(found.render(), "bpe", found.token_table(), names, chat_format)
        for name, token in {**found.special, **found.added}.items():
            if made._backend.token_to_id(name) != token:
                raise DataError(
                    "This tokenizer.json cannot be used: the tokenizers library gives its token "
                    f"{name[:40]!a} another id."
                )
        return made

    def to_json(self) -> str:
        """The content of tokenizer.json, which Hugging Face's library reads too."""
        return self._text

    @property
    def sha256(self) -> str:
        """Of tokenizer.json."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the control tokens included."""
        return len(self._table)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without bos. Never a control token.

        Raises DataError if the text holds half of a surrogate pair, which UTF-8 cannot express.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, on all cores."""
        try:
            encoded = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise DataError(
                "A text holds half of a surrogate pair, which is no character; remove it."
            ) from error
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for. Control tokens are skipped; broken UTF-8 becomes U+FFFD."""
        return b"".join(map(self.id_bytes, ids)).decode("utf-8", "replace")

    def id_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes that one id stands for. Raises DataError for an id that is not there."""
        if not 0 <= token < len(self._table):
            raise DataError(f"Token id {token} is not in this vocabulary of {self.vocab_size}.")
        return self._table[token]

    def token_bytes(self) -> list[int]:
        """How many UTF-8 bytes each id stands for; 0 for control tokens."""
        return [len(piece) for piece in self._table]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as a person should see it: control tokens by name, broken UTF-8 as \\xe2."""
        return [
            self._control_names[token]
            if token in self._control_names
            else self.id_bytes(token).decode("utf-8", "backslashreplace")
            for token in ids
        ]


def given_tokenizer(settings: TokenizerSettings) -> Tokenizer | None:
    """The tokenizer in the file that the settings name; None if one is to be trained.

    Raises DataError for a file that cannot be read or used.
    """
    if settings.path is None:
        return None
    text = read_tokenizer_file(Path(settings.path))
    try:
        return Tokenizer.for_training(text)
    except DataError as error:
        raise DataError(f"{settings.path}: {error}") from None


class TextStream:
    """Text of ids that arrive one by one, released at whole characters only.

    What `push` and `finish` returned, put together, equals `decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that has become certain with this id; often empty amid a character."""
        return self._decoder.decode(self._tokenizer.id_bytes(token))

    def finish(self) -> str:
        """What is left when no id follows: nothing, or U+FFFD for an unfinished character."""
        return self._decoder.decode(b"", final=True)


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE of at most `vocab_size` ids (fewer if the texts hold fewer merges).

    Every byte is an id, so that any text can be encoded. Raises SettingsError below 262 ids.
    """
    if vocab_size < _SMALLEST_BPE:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, but the {FIRST_ID} control tokens and 256 "
            f"bytes need at least {_SMALLEST_BPE}."
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=sorted(BYTE_OF_CHARACTER),
        show_progress=False,
    )
    backend.train_from_iterator(iter(texts), trainer=trainer)
    model = json.loads(backend.to_str())["model"]
    return Tokenizer.from_json(render("bpe", model["vocab"], model["merges"]))


def train_char(texts: Iterable[str]) -> Tokenizer:
    """One id for each character of the texts, and 256 byte ids for all other characters."""
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    pieces = [*CONTROL_TOKENS, *BYTE_TOKENS, *sorted(characters)]
    return Tokenizer.from_json(render("char", {piece: i for i, piece in enumerate(pieces)}, []))
