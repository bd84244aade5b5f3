"""The handle of one request: its text as it comes, how it goes, and the way to end it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinychat.engine.decoding import Finish, Row
from tinychat.engine.growing_text import GrowingText
from tinychat.engine.prompt import Completion, Prompt
from tinychat.engine.sampling import Sampling, TokenDetail
from tinychat.engine.text_model import TextModel
from tinychat.errors import EngineError


@dataclass(frozen=True)
class AnswerStats:
    """How an answer goes, in tokens and seconds."""

    prompt_tokens: int
    kept_tokens: int  # of the prompt, that the cache still held
    new_tokens: int
    queued_seconds: float
    first_token_seconds: float | None  # since it was asked
    seconds: float  # since it was asked
    tokens_per_second: float | None  # from the first token to the newest
    tokens_per_pass: float | None  # through the model; above 1 where guesses of the text came true
    context_used: int
    context_length: int


class Answer(Iterator[str]):
    """One request on its way. Text comes by `take`, or by iterating; from any one thread.

    `completion` is the whole answer once it is over. Whoever loses interest must `cancel`.
    """

    def __init__(
        self,
        model: TextModel,
        prompt: Prompt,
        sampling: Sampling,
        *,
        serial: bool,
        details: int | None,
        deadline_seconds: float | None,
        on_change: Callable[[], None] | None,
    ) -> None:
        self.prompt = prompt
        self.completion: Completion | None = None
        self.model = model
        self.request = model.request(prompt, sampling, details)
        self.serial = serial
        self._on_change = on_change
        self._growing = GrowingText(model.tokenizer, sampling.stop, prompt.begin)
        self._news = threading.Condition()
        self._text: list[str] = []  # not taken yet
        self._error: EngineError | None = None
        self._cancelled = False
        self._row: Row | None = None
        self._asked_at = time.monotonic()
        self._deadline = None if deadline_seconds is None else self._asked_at + deadline_seconds
        self._begun_at: float | None = None
        self._first_at: float | None = None
        self._newest_at: float | None = None
        self._ended_at: float | None = None
        self.wake: Callable[[], None] = lambda: None

    def take(self, timeout: float | None = 0.0) -> str | None:
        """The text since the last taking; "" if none came within `timeout` seconds (None: wait for
        ever), None once it is over and all was taken. Raises EngineError if it failed."""
        with self._news:
            self._news.wait_for(lambda: self._text or self.is_over, timeout)
            text = "".join(self._text)
            self._text.clear()
            if text or not self.is_over:
                return text
            if self._error is not None:
                raise self._error
            return None

    def __next__(self) -> str:
        piece = self.take(None)
        if piece is None:
            raise StopIteration
        return piece

    def cancel(self) -> None:
        """End it after the token in progress. May be called from any thread, any time."""
        self._cancelled = True
        self.wake()

    @property
    def is_over(self) -> bool:
        """Whether no more text will come."""
        return self._ended_at is not None

    def details(self) -> list[TokenDetail]:
        """What stood behind each token so far, if it was asked for."""
        return [] if self._row is None else list(self._row.details)

    def stats(self) -> AnswerStats:
        """How it goes until now."""
        now = time.monotonic() if self._ended_at is None else self._ended_at
        row, first, newest = self._row, self._first_at, self._newest_at
        produced = 0 if row is None else row.produced
        decoding = 0.0 if first is None or newest is None else newest - first
        return AnswerStats(
            prompt_tokens=len(self.prompt.ids),
            kept_tokens=0 if row is None else row.kept,
            new_tokens=produced,
            queued_seconds=(now if self._begun_at is None else self._begun_at) - self._asked_at,
            first_token_seconds=None if first is None else first - self._asked_at,
            seconds=now - self._asked_at,
            tokens_per_second=(produced - 1) / decoding if decoding > 0 else None,
            tokens_per_pass=None if row is None or not row.passes else produced / row.passes,
            context_used=len(self.prompt.ids) + produced,
            context_length=self.model.context_length,
        )

    # for the engine's thread

    def why_not(self) -> Finish | None:
        """Why it must not go on, if so."""
        if self._growing.stopped or self._cancelled:
            return Finish("cancelled")
        if self._deadline is not None and time.monotonic() > self._deadline:
            return Finish("deadline")
        return None

    def begin(self, row: Row) -> None:
        self._row = row
        self._begun_at = time.monotonic()

    def hear(self, event: int | Finish) -> None:
        with self._news:
            if piece := self._growing.take(event):
                self._text.append(piece)
            self._newest_at = time.monotonic() if isinstance(event, int) else self._newest_at
            self._first_at = self._first_at or self._newest_at
            if isinstance(event, Finish):
                self.completion = self._growing.completion(self.prompt, self.details())
                self._ended_at = time.monotonic()
            elif not piece:
                return  # amid a character
            self._news.notify_all()
        self._tell()

    def fail(self, error: EngineError) -> None:
        with self._news:
            self._error = error
            self._ended_at = time.monotonic()
            self._news.notify_all()
        self._tell()

    def _tell(self) -> None:
        if self._on_change is not None:
            with contextlib.suppress(Exception):  # an event loop that is closed; not our failure
                self._on_change()
