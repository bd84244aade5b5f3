"""The one thread that generates: terminal, API and page all ask it.

It owns every cache. Requests wait in a queue of bounded length, are decoded together with those of
the same model, and can be cancelled at every token, also while they wait or their prompt is read.
Whoever asks holds an `Answer` and takes text from it in a thread of its own.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from tinychat.engine.decoding import Batch, Finish, Row
from tinychat.engine.growing_text import GrowingText
from tinychat.engine.prompt import Completion, Prompt
from tinychat.engine.sampling import Sampling, TokenDetail
from tinychat.engine.text_model import TextModel
from tinychat.errors import EngineBusyError, EngineError

PIECE_TOKENS = 256  # of a prompt between two tokens of the others, and between two looks at cancel


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
        self._model = model
        self._request = model.request(prompt, sampling, details)
        self._serial = serial
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
        self._wake: Callable[[], None] = lambda: None

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
        self._wake()

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
            context_used=len(self.prompt.ids) + produced,
            context_length=self._model.context_length,
        )

    # for the engine's thread

    def _why_not(self) -> Finish | None:
        """Why it must not go on, if so."""
        if self._growing.stopped or self._cancelled:
            return Finish("cancelled")
        if self._deadline is not None and time.monotonic() > self._deadline:
            return Finish("deadline")
        return None

    def _begin(self, row: Row) -> None:
        self._row = row
        self._begun_at = time.monotonic()

    def _take_event(self, event: int | Finish) -> None:
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

    def _fail(self, error: EngineError) -> None:
        with self._news:
            self._error = error
            self._ended_at = time.monotonic()
            self._news.notify_all()
        self._tell()

    def _tell(self) -> None:
        if self._on_change is not None:
            with contextlib.suppress(Exception):  # an event loop that is closed; not our failure
                self._on_change()


class Engine:
    """Answers for any number of models, in one thread, which begins with the first request.

    At most `batch_rows` answers go on at once and `max_waiting` wait.
    """

    def __init__(self, *, batch_rows: int = 8, max_waiting: int = 32) -> None:
        self.batch_rows = batch_rows
        self.max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Answer] = deque()
        self._batches: WeakKeyDictionary[TextModel, Batch] = WeakKeyDictionary()
        self._going: dict[Row, tuple[Answer, Batch]] = {}
        self._thread: threading.Thread | None = None
        self._closing = False

    def ask(
        self,
        model: TextModel,
        prompt: Prompt,
        sampling: Sampling,
        *,
        serial: bool = False,
        details: int | None = None,
        deadline_seconds: float | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> Answer:
        """Ask for an answer to a prompt that `model.fit` made.

        A `serial` request is decoded alone and without a kept prefix: exactly repeatable on one
        machine. `details` asks for a TokenDetail with that many candidates for each token.
        `on_change` is called in the engine's thread whenever there is news, and must return at
        once. Raises EngineBusyError if the queue is full.
        """
        answer = Answer(
            model,
            prompt,
            sampling,
            serial=serial,
            details=details,
            deadline_seconds=deadline_seconds,
            on_change=on_change,
        )
        answer._wake = self._wake
        with self._changed:
            if self._closing:
                raise EngineError("The engine is closed.")
            if len(self._waiting) >= self.max_waiting:
                raise EngineBusyError(
                    f"{len(self._waiting)} requests wait already; try again in a while."
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._waiting.append(answer)
            self._changed.notify_all()
        return answer

    @property
    def running(self) -> int:
        """Answers that are being made."""
        return len(self._going)

    @property
    def waiting(self) -> int:
        """Requests whose turn has not come."""
        return len(self._waiting)

    def close(self) -> None:
        """Cancel everything and end the thread."""
        with self._changed:
            self._closing = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # the thread

    def _run(self) -> None:
        while self._wait_for_work():
            self._drop_waiting()
            self._admit()
            for batch in list({id(batch): batch for _, batch in self._going.values()}.values()):
                self._step(batch)
        for answer in [*(answer for answer, _ in self._going.values()), *self._waiting]:
            answer._take_event(Finish("cancelled"))

    def _wait_for_work(self) -> bool:
        """False once the engine is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._going or self._waiting or self._closing)
            return not self._closing

    def _drop_waiting(self) -> None:
        """Those that nobody wants any more, or that waited too long."""
        with self._changed:
            ends = [(each, why) for each in self._waiting if (why := each._why_not())]
            for answer, _ in ends:
                self._waiting.remove(answer)
        for answer, why in ends:
            answer._take_event(why)

    def _admit(self) -> None:
        """Begin what waits, in its order, as long as there is room."""
        while (answer := self._next()) is not None:
            try:
                batch = self._batch_for(answer)
                (row,) = batch.admit([answer._request])
            except Exception as error:
                answer._fail(_as_engine_error(error))
                continue
            answer._begin(row)
            self._going[row] = (answer, batch)

    def _next(self) -> Answer | None:
        with self._changed:
            if not self._waiting:
                return None
            alone = self._waiting[0]._serial or any(a._serial for a, _ in self._going.values())
            if len(self._going) >= (1 if alone else self.batch_rows):
                return None
            return self._waiting.popleft()

    def _batch_for(self, answer: Answer) -> Batch:
        model = answer._model
        model.runtime.apply()  # torch counts threads for each thread that computes
        if answer._serial:
            return Batch(
                model.decoder,
                model.runtime,
                model.never_sampled,
                most_rows=1,
                room=len(answer.prompt.ids) + answer._request.sampling.max_new_tokens,
                prefill_tokens=PIECE_TOKENS,
            )
        if model not in self._batches:
            self._batches[model] = Batch(
                model.decoder,
                model.runtime,
                model.never_sampled,
                most_rows=self.batch_rows,
                keeps=True,
                prefill_tokens=PIECE_TOKENS,
            )
        return self._batches[model]

    def _step(self, batch: Batch) -> None:
        ends = {row: why for row in batch.rows if (why := self._going[row][0]._why_not())}
        try:
            events = batch.step(lambda row: row in ends)
        except Exception as error:
            self._give_up(batch, _as_engine_error(error))
            return
        for row, event in events:
            answer, _ = self._going[row]
            if isinstance(event, Finish):
                del self._going[row]
                event = ends.get(row, event)
            answer._take_event(event)

    def _give_up(self, batch: Batch, error: EngineError) -> None:
        """A batch that failed is no good any more."""
        failed = [row for row, (_, its) in self._going.items() if its is batch]
        for model in [model for model, its in self._batches.items() if its is batch]:
            del self._batches[model]
        for row in failed:
            answer, _ = self._going.pop(row)
            answer._fail(error)


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return EngineError(
            "There is not enough memory for this answer; use a smaller model, a shorter "
            "conversation, or --dtype fp16."
        )
    return EngineError(f"The answer could not be made ({type(error).__name__}: {error}).")
