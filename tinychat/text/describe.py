"""What the reader sees in a corpus, for a person to look at before anything is trained."""

from dataclasses import dataclass

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.text.chat import Conversation, encode_conversation
from tinychat.text.corpus import Corpus, Form, Progress
from tinychat.text.items import Item, Piece, content_bytes
from tinychat.text.quality import quality
from tinychat.text.split import FileReport, survey
from tinychat.text.tokenizer import Tokenizer, given_tokenizer
from tinychat.text.tokenizer_sample import measured_items, train_tokenizer

_TOKENIZER_BYTES = 2 * 1024 * 1024  # of text to train a tokenizer on, only to show how text splits
_FEW_TOKENS = 100  # of a conversation that can be shown whole
_SAMPLE_CHARACTERS = 2000


@dataclass(frozen=True)
class CorpusDescription:
    """A corpus in numbers, with one sample. The shares are measured on its first 500 items."""

    form: Form
    fingerprint: str
    files: tuple[FileReport, ...]
    hints: tuple[str, ...]
    n_bytes: int
    split_rule: str
    train_documents: int
    valid_documents: int
    vocab_size: int
    sample: tuple[tuple[str, str], ...]  # (role, content); a text has the role "text"
    sample_pieces: tuple[str, ...]
    sample_targets: tuple[bool, ...]  # which of the pieces are to be learnt
    target_share: float  # of all tokens
    bytes_per_token: float

    @property
    def turns(self) -> int:
        """Of all conversations, as they stand in the files."""
        return sum(file.turns for file in self.files)

    @property
    def bad_records(self) -> int:
        return sum(file.bad_records for file in self.files)


def describe(
    data: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    reports: list[FileReport] | None = None,
) -> CorpusDescription:
    """Read and count everything in `data.paths`; encode the beginning of its training side.

    Where only settings are given, a tokenizer is trained on 2 MB: enough to see how text splits,
    not the one that a run would have. `reports` is filled on the way, so that it tells of the files
    also where the corpus as a whole is of no use. Raises DataError as `prepare` does. Writes
    nothing.
    """
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = given_tokenizer(tokenizer) or tokenizer
    corpus = Corpus.scan(data, progress)
    found = survey(corpus, data, seed=seed, progress=progress, reports=reports)
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = train_tokenizer(
            corpus, found, tokenizer, seed=seed, sample_bytes=_TOKENIZER_BYTES, progress=progress
        )
    items = measured_items(corpus, found)
    encoded = [_encode(tokenizer, item, data) for item in items]
    tokens = sum(len(ids) for ids, _ in encoded)
    short = (item for item, (ids, _) in zip(items, encoded, strict=True) if len(ids) < _FEW_TOKENS)
    sample = _shortened(next(short, items[0]))
    ids, targets = _encode(tokenizer, sample, data)
    ratio = sum(map(content_bytes, items)) / tokens
    warning = quality(tokenizer, ratio)
    return CorpusDescription(
        form=corpus.form,
        fingerprint=corpus.fingerprint,
        files=found.files,
        hints=corpus.hints + ((warning,) if warning else ()),
        n_bytes=corpus.n_bytes,
        split_rule=found.rule,
        train_documents=found.train_documents,
        valid_documents=found.valid_documents,
        vocab_size=tokenizer.vocab_size,
        sample=_as_text(sample),
        sample_pieces=tuple(tokenizer.pieces(ids)),
        sample_targets=tuple(targets),
        target_share=sum(sum(flags) for _, flags in encoded) / tokens,
        bytes_per_token=ratio,
    )


def _encode(tokenizer: Tokenizer, item: Item, data: DataSettings) -> tuple[list[int], list[bool]]:
    if isinstance(item, Conversation):
        ids, targets = encode_conversation(tokenizer, item)
        if data.loss == "answers":
            return ids, targets
    else:
        begin = tokenizer.format.begin if item.first else []
        ids = [*begin, *tokenizer.encode(item.text), tokenizer.format.end]
    return ids, [token != tokenizer.format.bos for token in ids]


def _as_text(item: Item) -> tuple[tuple[str, str], ...]:
    if isinstance(item, Piece):
        return (("text", item.text),)
    return tuple((message.role, message.content) for message in item.messages)


def _shortened(item: Item) -> Item:
    """A text's beginning; a conversation is shown whole."""
    return Piece(item.text[:_SAMPLE_CHARACTERS], True) if isinstance(item, Piece) else item
