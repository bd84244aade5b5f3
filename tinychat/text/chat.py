"""Our chat format, and `ChatFormat` for those of other models: from messages to token ids.

A conversation is bos, then for each message its role token and its content with nothing between,
and the end token after each answer. A text document is bos, text, end. Control tokens are put in
by id and never by spelling, so no content can forge one. Models that others have trained may speak
another format (`ChatFormat`), which their tokenizer then carries. How text becomes ids is the
charge of `tokenizer`; how long conversations are cut to a window is the trainer's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinychat.errors import DataError

CONTROL_TOKENS = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
"""Ids 0 to 5 of every tokenizer that we train; an imported vocabulary gets them appended."""

BOS, SYSTEM, USER, ASSISTANT, END, PAD = range(len(CONTROL_TOKENS))

ROLES = ("system", "user", "assistant")
TINYCHAT = "tinychat-1"
"""The name of our chat format."""

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
        if self.role not in ROLES:
            raise DataError(
                f"A message has the role {self.role!r}; the roles are system, user and assistant."
            )


@dataclass(frozen=True)
class Conversation:
    """Messages in order."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ChatFormat:
    """What stands around texts and the turns of a conversation, as token ids.

    `opening` stands before a message's content and `closing` after it, by role. Both are empty in
    the format of a model that has learnt texts only. The first id that closes an answer is `end`.
    """

    name: str
    bos: int | None  # begins a text or a conversation
    end: int  # ends a text or an answer
    pad: int
    opening: Mapping[str, tuple[int, ...]]
    closing: Mapping[str, tuple[int, ...]]
    control_ids: frozenset[int]  # stand for no text; only `end` may ever be sampled

    @property
    def begin(self) -> list[int]:
        """The ids that a text or a conversation begins with: bos, or nothing."""
        return [] if self.bos is None else [self.bos]


def tinychat_format(first: int = 0) -> ChatFormat:
    """Our own format, for a vocabulary whose control tokens begin at the id `first`."""
    bos, system, user, assistant, end, pad = range(first, first + len(CONTROL_TOKENS))
    return ChatFormat(
        TINYCHAT,
        bos,
        end,
        pad,
        opening={"system": (system,), "user": (user,), "assistant": (assistant,)},
        closing={"system": (), "user": (), "assistant": (end,)},
        control_ids=frozenset(range(first, first + len(CONTROL_TOKENS))),
    )


class Encoder(Protocol):
    """What this module needs of a tokenizer."""

    @property
    def format(self) -> ChatFormat: ...

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
    return [
        _assemble(tokenizer.format, talk, [next(encoded) for _ in talk.messages])
        for talk in conversations
    ]


def encode_document(tokenizer: Encoder, text: str) -> list[int]:
    """Token ids of a text document: bos, text, end. All but bos are to be learnt."""
    return [*tokenizer.format.begin, *tokenizer.encode(text), tokenizer.format.end]


def encode_turns(tokenizer: Encoder, messages: Iterable[Message]) -> list[list[int]]:
    """Token ids of each message with what stands around it; no bos."""
    messages = list(messages)
    contents = tokenizer.encode_batch([message.content for message in messages])
    opening, closing = tokenizer.format.opening, tokenizer.format.closing
    return [
        [*opening[message.role], *content, *closing[message.role]]
        for message, content in zip(messages, contents, strict=True)
    ]


def encode_prompt(tokenizer: Encoder, messages: Iterable[Message]) -> list[int]:
    """Token ids of a conversation so far, ending with the token that asks for an answer."""
    turns = [token for turn in encode_turns(tokenizer, messages) for token in turn]
    return [*tokenizer.format.begin, *turns, *tokenizer.format.opening["assistant"]]


def _assemble(
    form: ChatFormat, conversation: Conversation, contents: list[list[int]]
) -> tuple[list[int], list[bool]]:
    ids = form.begin
    targets = [False] * len(ids)
    for message, content in zip(conversation.messages, contents, strict=True):
        opening, closing = form.opening[message.role], form.closing[message.role]
        ids += [*opening, *content, *closing]
        answer = message.role == "assistant"
        learnt = [answer] * (len(content) + 1 if answer else len(content))  # with its end token
        targets += [False] * len(opening) + learnt + [False] * (len(closing) - answer)
    return ids, targets
