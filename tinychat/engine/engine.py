"""The one thread that generates: terminal, API and page all ask it.

It owns every cache. Requests wait in a queue of bounded length, are decoded together with those of
the same model, and can be cancelled at every token, also while they wait or their prompt is read.
Whoever asks holds an `Answer` and takes text from it in a thread of its own.
"""

import threading
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from tinychat.engine.answer import Answer
from tinychat.engine.decoding import Batch, Finish, Row
from tinychat.engine.prompt import Prompt
from tinychat.engine.sampling import Sampling
from tinychat.engine.text_model import TextModel
from tinychat.errors import EngineBusyError, EngineError
from tinychat.model import is_out_of_memory

PIECE_TOKENS = 256  # of a prompt between two tokens of the others, and between two looks at cancel


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
        answer.wake = self._wake
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

    def before(self, answer: Answer) -> int | None:
        """How many answers are made or wait before one that waits; None if it waits no more."""
        with self._changed:
            waits = answer in self._waiting
            return len(self._going) + self._waiting.index(answer) if waits else None

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
            self._turn()  # whose variables are gone while it waits, and no model is held by them
        for answer in [*(answer for answer, _ in self._going.values()), *self._waiting]:
            answer.hear(Finish("cancelled"))

    def _turn(self) -> None:
        """Begin what may begin, and one token for everything that goes on."""
        self._drop_waiting()
        self._admit()
        for batch in {id(batch): batch for _, batch in self._going.values()}.values():
            self._step(batch)

    def _wait_for_work(self) -> bool:
        """False once the engine is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._going or self._waiting or self._closing)
            return not self._closing

    def _drop_waiting(self) -> None:
        """Those that nobody wants any more, or that waited too long."""
        with self._changed:
            ends = [(each, why) for each in self._waiting if (why := each.why_not())]
            for answer, _ in ends:
                self._waiting.remove(answer)
        for answer, why in ends:
            answer.hear(why)

    def _admit(self) -> None:
        """Begin what waits, in its order, as long as there is room."""
        while (answer := self._next()) is not None:
            try:
                batch = self._batch_for(answer)
                (row,) = batch.admit([answer.request])
            except Exception as error:
                answer.fail(_as_engine_error(error))
                continue
            answer.begin(row)
            self._going[row] = (answer, batch)

    def _next(self) -> Answer | None:
        with self._changed:
            if not self._waiting:
                return None
            alone = self._waiting[0].serial or any(a.serial for a, _ in self._going.values())
            if len(self._going) >= (1 if alone else self.batch_rows):
                return None
            return self._waiting.popleft()

    def _batch_for(self, answer: Answer) -> Batch:
        model = answer.model
        model.runtime.apply()  # torch counts threads for each thread that computes
        if answer.serial:
            return Batch(
                model.decoder,
                model.runtime,
                model.never_sampled,
                most_rows=1,
                room=len(answer.prompt.ids) + answer.request.sampling.max_new_tokens,
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
        ends = {row: why for row in batch.rows if (why := self._going[row][0].why_not())}
        try:
            for row, event in batch.step(lambda row: row in ends):
                answer, _ = self._going[row]
                if isinstance(event, Finish):
                    del self._going[row]
                    event = ends.get(row, event)
                try:
                    answer.hear(event)
                except Exception as error:  # it may stand in `_going` no more
                    answer.fail(_as_engine_error(error))
                    raise
        except Exception as error:  # also of a text that cannot be made: nobody must wait for ever
            self._give_up(batch, _as_engine_error(error))

    def _give_up(self, batch: Batch, error: EngineError) -> None:
        """A batch that failed is no good any more."""
        failed = [row for row, (_, its) in self._going.items() if its is batch]
        for model in [model for model, its in self._batches.items() if its is batch]:
            del self._batches[model]
        for row in failed:
            answer, _ = self._going.pop(row)
            answer.fail(error)


def _as_engine_error(error: Exception) -> EngineError:
    if is_out_of_memory(error):
        return EngineError(
            "There is not enough memory for this answer; use a smaller model, a shorter "
            "conversation, or --dtype fp16."
        )
    return EngineError(f"The answer could not be made ({type(error).__name__}: {error}).")
