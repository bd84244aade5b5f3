"""From tokens to the text that is certain, as they come."""

from collections.abc import Sequence

from tinychat.engine.decoding import Finish, FinishReason
from tinychat.engine.prompt import Completion, Prompt
from tinychat.engine.sampling import TokenDetail
from tinychat.text import TextStream, Tokenizer


class GrowingText:
    """One answer's tokens turned into text that is certain: whole characters, up to where a stop
    string may have begun.

    `begin` are ids that the answer was made to begin with: they are no part of its text, but may
    hold the first bytes of its first character.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: tuple[str, ...], begin: Sequence[int] = ()
    ) -> None:
        self.stopped = False
        self._characters = TextStream(tokenizer)
        for token in begin:
            self._characters.push(token)
        self._stop = stop
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._held = ""  # may be the beginning of a stop string
        self._reason: FinishReason = "cancelled"

    def take(self, event: int | Finish) -> str:
        """The text that has become certain with this token or end."""
        if isinstance(event, Finish):
            piece = self._release(self._characters.finish())
            self._reason = "stop" if self.stopped else event.reason
            piece, self._held = piece + self._held, ""
        else:
            self._ids.append(event)
            piece = self._release(self._characters.push(event))
        self._pieces.append(piece)
        return piece

    def completion(self, prompt: Prompt, details: Sequence[TokenDetail] = ()) -> Completion:
        """The answer, after its Finish was taken."""
        text = "".join(self._pieces)
        return Completion(text, tuple(self._ids), self._reason, prompt, tuple(details))

    def _release(self, text: str) -> str:
        if not self._stop:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        found = [(start + len(s), start) for s in self._stop if (start := text.find(s)) >= 0]
        if found:
            # the one that was complete first, however the text came in pieces
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - max(_overlap(text, s) for s in self._stop)
        self._held = text[certain:]
        return text[:certain]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in lengths if text.endswith(stop[:n])), 0)
