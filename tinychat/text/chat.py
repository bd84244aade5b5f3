"""The one chat format: from messages to token ids and back to nothing else.

A conversation is bos, then for each message its role token and its content with nothing between,
and the end token after each answer. A text document is bos, text, end. Control tokens are put in
by id and never by spelling, so no content can forge one. How text becomes ids is the charge of
`tokenizer`; how long conversations are cut to a window is the trainer's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinychat.errors import DataError

CONTROL_TOKENS = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
"""Ids 0 to 5 of every tokenizer."""

BOS, SYSTEM, USER, ASSISTANT, END, PAD = range(len(CONTROL_TOKENS))

ROLE_IDS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}

CHAT_TEMPLATE = """\
{{- '<|bos|>' -}}
{%- for message in messages -%}
{%- if message['role'] not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('The roles are system, user and assistant.') -}}
{%- endif -%}
{{- '<|' + message['role'] + '|>' + message['content'] -}}
{%- if message['role'] == 'assistant' -%}{{- '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
"""The format as a Jinja template for other programs (we never run it).

Its ids equal ours for any content that spells no control token; where one does, ours are right.
"""


@dataclass(frozen=True)
class Message:
    """One turn. Raises DataError for a role other than system, user and assistant."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLE_IDS:
            raise DataError(
                f"A message has the role {self.role!r}; the roles are system, user and assistant."
            )


@dataclass(frozen=True)
class Conversation:
    """Messages in order."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Document:
    """A text to be learnt as it is."""

    text: str


class Encoder(Protocol):
    """What this module needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


def encode_conversation(
    tokenizer: Encoder, conversation: Conversation
) -> tuple[list[int], list[bool]]:
    """Token ids, and for each whether it is to be learnt: an answer's content and its end token."""
    return encode_conversations(tokenizer, [conversation])[0]


def encode_conversations(
    tokenizer: Encoder, conversations: Sequence[Conversation]
) -> list[tuple[list[int], list[bool]]]:
    """`encode_conversation` for many at once, which uses all cores."""
    contents = [message.content for talk in conversations for message in talk.messages]
    encoded = iter(tokenizer.encode_batch(contents))
    return [_assemble(talk, [next(encoded) for _ in talk.messages]) for talk in conversations]


def encode_document(tokenizer: Encoder, text: str) -> list[int]:
    """Token ids of a text document: bos, text, end. All but bos are to be learnt."""
    return [BOS, *tokenizer.encode(text), END]


def encode_prompt(tokenizer: Encoder, messages: Iterable[Message]) -> list[int]:
    """Token ids of a conversation so far, ending with the token that asks for an answer."""
    ids, _ = encode_conversation(tokenizer, Conversation(tuple(messages)))
    return [*ids, ASSISTANT]


def _assemble(
    conversation: Conversation, contents: list[list[int]]
) -> tuple[list[int], list[bool]]:
    ids = [BOS]
    targets = [False]
    for message, content in zip(conversation.messages, contents, strict=True):
        answer = message.role == "assistant"
        ids += [ROLE_IDS[message.role], *content]
        targets += [False, *[answer] * len(content)]
        if answer:
            ids.append(END)
            targets.append(True)
    return ids, targets
