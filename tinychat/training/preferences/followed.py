"""What a run learns from that learns while it is taught: one judgement a step, as they come.

The run's examples.jsonl grows: before the step that learns from it, each judgement is there for
good, with what the reference makes of it, so that a resume repeats the step bit for bit. What was
taken back is never learnt again by this run. Each line carries a digest of itself and of all before
it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import orjson

from tinychat.config import Settings
from tinychat.conversations import (
    Counts,
    Example,
    Judgement,
    Judgements,
    examples_from_bytes,
    examples_of,
    examples_to_bytes,
    for_chat,
    read_feedback,
    unused_of,
)
from tinychat.errors import ConversationError, NoDataError, RunError, TrainingError
from tinychat.runs import (
    RunPaths,
    RunReader,
    TuneRecord,
    chained,
    read_chain,
    resumable_checkpoints,
)
from tinychat.runs.reader import parse_line
from tinychat.runs.records import encode_row
from tinychat.text import Prepared
from tinychat.training.preferences.forward import LossSettings, PreferenceExample
from tinychat.training.preferences.reference import LogProbs
from tinychat.training.preferences.sequences import EncodedExample, encode_example
from tinychat.words import count, number

FORMAT = 1
_COPY_IT_BACK = (
    "it holds what the run learns from: copy it back from a backup or the run's second copy"
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Learnt:
    """A judgement that a step has learnt from, or will."""

    source: str  # its id
    kind: str  # pick, thumb or rewrite
    examples: tuple[PreferenceExample, ...]


class Followed:
    """The judgements of one run in their order: step n learns from the n-th.

    Whoever trains sets `append`, which makes a line durable, and `ask_reference`; without them
    nothing new can be taken in, as where steps are only computed again.
    """

    remarks: Sequence[str] = ()  # each is told when its judgement comes
    append: Callable[[bytes], None]
    ask_reference: Callable[[Sequence[EncodedExample]], Sequence[LogProbs]]

    def __init__(self, settings: Settings, prepared: Prepared) -> None:
        self._settings, self._tokenizer = settings, prepared.tokenizer
        self._chats = prepared.form == "chat"
        self._feedback = Path(settings.tune.feedback[0])
        self._learnt: list[Learnt] = []
        self._seen: set[str] = set()  # all that is learnt from, passed over, or was taken back
        self._digest = ""  # of all lines so far
        self._first_line = b""
        self._known: tuple[int, int, int] | None = None  # the feedback's file when it was last read
        self._coming: list[Judgement] = []  # read and not taken in
        self._undone: set[str] = set()
        self._kept: set[str] = set()  # though undone: there is no way back any more

    @classmethod
    def begin(cls, settings: Settings, prepared: Prepared) -> "Followed":
        """For a run that is not born: it learns from nothing that was said before."""
        followed = cls(settings, prepared)
        since = sorted({each.source for each in followed._read().judged})
        lines: list[bytes] = []
        followed.append = lines.append
        followed._write({"kind": "follows", "since": since})
        followed._first_line = lines[0] + b"\n"
        return followed

    @classmethod
    def of(cls, run: Path, settings: Settings, prepared: Prepared) -> "Followed":
        """What the run has learnt from. Raises RunError where its file is not what it wrote."""
        followed, path = cls(settings, prepared), RunPaths(run).examples_jsonl
        try:
            for row in _rows(path):
                followed._take(row)
        except (ValueError, KeyError, TypeError, IndexError, ConversationError) as error:
            raise RunError(f"{path} cannot be used ({error!r}); {_COPY_IT_BACK}") from None
        return followed

    def to_bytes(self) -> bytes:
        """examples.jsonl of a run that is born."""
        return self._first_line

    def reference_to_bytes(self) -> None:
        """No file of its own: it stands with each judgement."""

    def record(self, method: str) -> TuneRecord:
        """For run.json; how many there are stands in examples.jsonl."""
        return TuneRecord(method=method, follows=True, examples_sha256="", reference_sha256="")

    @property
    def told(self) -> str:
        """What is learnt from, in a sentence."""
        learnt = f"; so far {self.counts}" if self._learnt else ""
        return f"each judgement that comes into {self._feedback} is a step{learnt}"

    @property
    def counts(self) -> Counts:
        """How many were learnt, by kind."""
        kinds = [each.kind for each in self._learnt]
        return Counts(
            picks=kinds.count("pick"), thumbs=kinds.count("thumb"), rewrites=kinds.count("rewrite")
        )

    @property
    def n_steps(self) -> int:
        """How many steps there is something for."""
        return len(self._learnt)

    def of_step(self, step: int) -> tuple[PreferenceExample, ...]:
        """What the update from `step` to the next one learns from."""
        return self._learnt[step].examples

    def loss_settings(self) -> LossSettings:
        return LossSettings(self._settings.tune.beta, self._settings.tune.chosen_weight)

    def look(self, step: int) -> str | None:
        """Take in what has come, if there is nothing yet for the update after `step`; returns a
        sentence about a judgement that teaches nothing, or not all that it holds. Raises what
        `read_feedback` raises."""
        if len(self._learnt) > step:
            return None
        self._look_at_file()
        if not self._coming:
            return None
        return self._take_in(self._coming.pop(0))

    def undone(self, step: int) -> str | None:
        """The judgement of the last step, if whoever gave it has taken it back since."""
        if step == 0 or step != len(self._learnt):
            return None
        self._look_at_file()
        source = self._learnt[-1].source
        return source if source in self._undone - self._kept else None

    def last(self, step: int, source: str | None = None) -> str:
        """The judgement that the last step has learnt from. Raises TrainingError if that is not
        `source`, or if there is none."""
        if step == 0 or step != len(self._learnt):
            raise TrainingError("no step was done that could be taken back")
        last = self._learnt[-1].source
        if source not in (None, last):
            known = "was learnt by an earlier step" if source in self._seen else "was not learnt"
            raise TrainingError(f"{source} {known}; only the last step, of {last}, is taken back")
        return last

    def take_back(self, source: str) -> None:
        """Forget the judgement that the last step has learnt from, for good."""
        self._write({"kind": "taken_back", "source": source})

    def keep(self, source: str) -> None:
        """It stays learnt, though whoever gave it has undone it: ask no more about that."""
        self._write({"kind": "kept", "source": source})

    def _take_in(self, said: Judgement) -> str | None:
        """Make a judgement what the next step learns from, for good."""
        one, method = Judgements(judged=(said,)), self._settings.tune.method
        examples = examples_of(one, method)
        encoded = [self._encode(each) for each in examples]
        usable = [
            (example, ids)
            for example, ids in zip(examples, encoded, strict=True)
            if not isinstance(ids, str)
        ]
        if not usable:
            why = [each for each in (*encoded, *unused_of(one, method)) if isinstance(each, str)]
            self._write({"kind": "passed_over", "source": said.source, "why": why[0]})
            return f"the {said.kind} {said.source} teaches nothing: {why[0]}"
        reference = self.ask_reference([ids for _, ids in usable])
        lines = examples_to_bytes(example for example, _ in usable).splitlines()
        self._write(
            {
                "kind": "lesson",
                "source": said.source,
                "judgement": said.kind,
                "examples": [orjson.loads(line) for line in lines],
                "reference": [astuple(each) for each in reference],
            }
        )
        if any(ids.shortened for _, ids in usable):
            context = number(self._settings.model.context_length)
            return f"the {said.kind} {said.source} was shortened to the context of {context} tokens"
        return None

    def _encode(self, example: Example) -> EncodedExample | str:
        return encode_example(example, self._tokenizer, self._settings.model.context_length)

    def _look_at_file(self) -> None:
        """Read the feedback if it has changed: what is new, and what was undone."""
        try:
            about = self._feedback.stat()
        except OSError:  # nothing was said yet, or it was moved away
            return
        now = (about.st_ino, about.st_size, about.st_mtime_ns)
        if now == self._known:
            return
        judged = self._read().judged
        self._coming = [each for each in judged if each.source not in self._seen]
        self._undone = _undone(self._feedback)
        self._known = now

    def _read(self) -> Judgements:
        try:
            found = read_feedback([self._feedback])
        except NoDataError:
            return Judgements()
        return for_chat(found) if self._chats else found

    def _write(self, row: Row) -> None:
        row = chained({"format": FORMAT, **row}, self._digest)
        self.append(encode_row(row))
        self._take(row)

    def _take(self, row: Row) -> None:
        """Go on by a row of the file."""
        self._digest = row["digest"]
        kind = row["kind"]
        if kind == "follows":
            self._seen |= set(row["since"])
            return
        self._seen.add(row["source"])
        self._coming = [each for each in self._coming if each.source != row["source"]]
        if kind == "kept":
            self._kept.add(row["source"])
        elif kind == "taken_back":
            self._learnt.pop()
        elif kind == "lesson":
            examples = tuple(self._examples(row))
            self._learnt.append(Learnt(row["source"], row["judgement"], examples))

    def _examples(self, row: Row) -> Iterator[PreferenceExample]:
        lines = (
            orjson.dumps(each, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
            for each in row["examples"]
        )
        examples = examples_from_bytes(b"".join(lines))
        for example, said in zip(examples, row["reference"], strict=True):
            encoded = self._encode(example)
            if isinstance(encoded, str):
                raise ValueError(encoded)
            yield PreferenceExample(encoded, LogProbs(*said))


def step_to_go_on_from(run: Path) -> int | None:
    """The checkpoint that a run which follows judgements goes on from, where that is not its newest
    one: a process was killed as it took the step after it back. None everywhere else.

    Raises RunError where fewer judgements are left than the run has learnt from.
    """
    record = RunReader(run).run if RunPaths(run).run_json.exists() else None
    newest = max(resumable_checkpoints(run), default=0)
    if record is None or not record.follows:
        return None
    path = RunPaths(run).examples_jsonl
    kinds = [row.get("kind") for row in _rows(path)]
    learnt = kinds.count("lesson") - kinds.count("taken_back")
    if learnt >= newest:
        return None
    if kinds[-1:] != ["taken_back"] or learnt < newest - 1:
        raise RunError(
            f"{path} has {count(learnt, 'judgement')}, but {run.name} has learnt from "
            f"{number(newest)}; {_COPY_IT_BACK}"
        )
    return learnt


def _rows(path: Path) -> list[Row]:
    try:
        return list(read_chain(path.read_bytes(), str(path)))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; {_COPY_IT_BACK}") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}; {_COPY_IT_BACK}") from None


def _undone(feedback: Path) -> set[str]:
    found: set[str] = set()
    with open(feedback, "rb") as file:
        for line in file:
            if b'"undo"' in line and (row := parse_line(line)) is not None:
                found.add(str(row.get("undo")))
    return found
