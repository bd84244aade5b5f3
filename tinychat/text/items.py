"""What reading gives, one after the other: whole conversations, or pieces of text documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from tinychat.text.chat import Conversation


@dataclass(frozen=True)
class Piece:
    """A part of a text document; `first` marks where a document begins."""

    text: str
    first: bool


Item = Piece | Conversation


def texts_of(item: Item) -> Sequence[str]:
    """What an item says: the text of a piece, or the content of each message."""
    if isinstance(item, Piece):
        return (item.text,)
    return [message.content for message in item.messages]


def content_bytes(item: Item) -> int:
    """UTF-8 bytes of an item's text, roles not counted."""
    return sum(map(utf8_bytes, texts_of(item)))


def utf8_bytes(text: str) -> int:
    """How many bytes a text has as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
