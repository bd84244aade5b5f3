"""Learning after each judgement: a copy of the model that becomes better while it is taught.

It is a run of its own that follows the feedback (`tinychat tune --follow`), so it can be gone on
with, and the model that it came from stays as it is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tinychat.cli.models import PlaceFlags
from tinychat.cli.teach_decision import Decisions
from tinychat.cli.teach_view import View
from tinychat.cli.terminal import interrupts
from tinychat.errors import RunError
from tinychat.runs import RunReader, descendant_name, folder_label
from tinychat.watch.following import Follower, Standing
from tinychat.words import count, inert, signed
from tinychat.words import loss as loss_text

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import OpenedModel, Shelf


class LiveTeaching:
    """One copy that learns. `model` is as far as it has come; `parent` stays as it is."""

    def __init__(
        self,
        shelf: "Shelf",
        view: View,
        place: PlaceFlags,
        decisions: Decisions,
        parent: "OpenedModel",
        feedback: Path,
    ) -> None:
        self.model = self.parent = parent
        self._shelf, self._view, self._decisions = shelf, view, decisions
        self._given: set[str] = set()  # judgements of this talk
        self._undone: set[str] = set()
        self._told_of = 0  # the step
        self._is_over = False
        self._impatient = False
        if parent.step is None:
            raise RunError(
                f"{inert(parent.label)} was not trained here, so what it must not forget is not "
                "known; it cannot learn while it is taught"
            )
        run = self._folder(parent)
        where = [f"--device={place.device}", f"--dtype={place.dtype}"]
        self._follower = Follower.begin(str(parent.path), feedback, run, where)
        self._run = run

    def begin(self) -> None:
        """Wait until it is ready. Raises RunError if it cannot be."""
        self._view.tell("preparing", f"{inert(self._run.name)} is made ready to learn …")
        standing = self._wait(lambda now: now.waits)
        if standing.ended:
            raise RunError(standing.told or f"{inert(self._run.name)} ended before it was ready")
        self._told_of = standing.step

    def judged(self, id: str) -> None:
        """It will learn from this."""
        self._given.add(id)

    def undone(self, id: str) -> None:
        """It will take this back."""
        self._undone.add(id)

    def newest(self) -> "OpenedModel":
        """The model that has learnt all that was judged. Ctrl+C waits no longer for it."""
        if not self._is_over:
            self._catch_up()
        return self.model

    def end(self) -> None:
        """Stop it, and let the teacher decide about it."""
        if not self._is_over:
            self._catch_up()
        self._follower.end()
        if self.model is not self.parent:
            grew_from = folder_label(Path(RunReader(self._run).run.parent or ""))
            self._decisions.decide(self.parent, self.model, self.parent, grew_from)

    def _catch_up(self) -> None:
        standing = self._wait(self._is_settled)
        step = RunReader(self._run).latest if standing.ended else standing.step
        if step is not None and step != self._told_of:
            self._told_of = step
            self._tell(step, self._follower.look())
        if step is not None and step != self.model.step:
            self.model = self._shelf.open(f"{self._run}@{step}") if step else self.parent
        if standing.ended:
            self._is_over = True
            told = standing.told or f"{inert(self._run.name)} has ended"
            self._view.tell("refused", f"it learns no more: {inert(told)}")

    def _is_settled(self, now: Standing) -> bool:
        given = self._given - self._undone
        return now.waits and given <= now.seen and now.last not in self._undone

    def _wait(self, settled: Callable[[Standing], bool]) -> Standing:
        def leave() -> None:
            self._impatient = True

        self._impatient = False
        with interrupts(leave):
            return self._follower.wait(settled, lambda: self._impatient)

    def _tell(self, step: int, now: Standing) -> None:
        told = f"{count(step, 'step')} learnt"
        rise = None
        if now.val_loss is not None and now.val_loss_at_start is not None:
            rise = now.val_loss - now.val_loss_at_start
            told += f"; val_loss {loss_text(now.val_loss)}"
            told += f" ({signed(f'{abs(rise):.3f}', rise)} since the start)"
        self._view.tell("learnt", told, step=step, val_loss=now.val_loss, rise=rise)

    def _folder(self, parent: "OpenedModel") -> Path:
        """A new run, or the parent's own if that is one which follows."""
        if RunReader(parent.run).run.follows:
            return parent.run
        root = self._shelf.checkpoints
        return root / descendant_name(folder_label(parent.path), root, "live")
