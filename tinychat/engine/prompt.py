"""What a model is shown, and what it answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Literal

from tinychat.engine.decoding import FinishReason
from tinychat.engine.sampling import TokenDetail
from tinychat.text import ChatFormat, Message


@dataclass(frozen=True)
class Prompt:
    """What the model is shown, and what had to be left out to fit its context."""

    ids: tuple[int, ...]
    overflow: Literal["slide", "stop"]
    dropped_turns: int = 0  # whole turns of a conversation, the oldest ones
    dropped_tokens: int = 0  # all tokens that were left out, those turns' included
    begin: tuple[int, ...] = ()  # the last of `ids`, if the answer is made to begin with them


@dataclass(frozen=True)
class Completion:
    """An answer that is finished."""

    text: str  # ends before a stop string
    ids: tuple[int, ...]  # every token that came, without the end token
    finish_reason: FinishReason
    prompt: Prompt
    details: tuple[TokenDetail, ...] = ()  # one for each id, if they were asked for


def fit_conversation(
    messages: Sequence[Message],
    turns: Sequence[list[int]],
    chat: ChatFormat,
    limit: int,
    begin: Sequence[int] = (),
) -> Prompt:
    """A conversation's prompt in at most `limit` tokens; `turns` are the messages as ids, `begin`
    what the answer is made to begin with.

    The system message stays (if it takes at most half), the oldest whole turns go; if the last
    turn alone is too long, its text is cut at the left. The trainer shortens its rows likewise.
    """
    asking = [*chat.opening["assistant"], *begin]
    whole = [*chat.begin, *chain.from_iterable(turns), *asking]
    if len(whole) <= limit:
        return Prompt(tuple(whole), "stop", begin=tuple(begin))
    starts = [i for i, message in enumerate(messages) if message.role == "user"]
    first = starts[0] if starts else 0
    head = [*chat.begin, *chain.from_iterable(turns[:first])]
    # so much stands around the last turn's text, which may be cut
    least = len(chat.opening["user"]) + len(asking)
    too_long = len(head) > limit // 2 or (bool(begin) and len(head) + least >= limit)
    if too_long or all(message.role != "system" for message in messages[:first]):
        head = chat.begin
    sizes = list(accumulate(map(len, reversed(turns)), initial=0))[::-1]  # from each turn on
    for dropped, start in enumerate(starts):
        if len(head) + sizes[start] + len(asking) <= limit:
            kept = [*head, *chain.from_iterable(turns[start:]), *asking]
            return Prompt(tuple(kept), "stop", dropped, len(whole) - len(kept), tuple(begin))
    opening = [*head, *chat.opening["user"]] if starts else head
    room = max(1, limit - len(opening))
    kept = [*opening, *whole[-room:]][-limit:]
    dropped = max(0, len(starts) - 1)
    return Prompt(tuple(kept), "stop", dropped, len(whole) - len(kept), tuple(begin))
