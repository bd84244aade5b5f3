"""What reading gives, one after the other: whole conversations, or pieces of text documents."""

from dataclasses import dataclass

from tinychat.text.chat import Conversation


@dataclass(frozen=True)
class Piece:
    """A part of a text document; `first` marks where a document begins."""

    text: str
    first: bool


Item = Piece | Conversation
