"""How a trainer waits for judgements, and takes a step back: for runs that learn as they come.

A step that was taken back is as if it had never been: the run goes on from the checkpoint before
it, in a new stretch, so the rows of that step count no more, and its judgement is never learnt
again by this run. It is written down first, so a process that is killed on the way goes on from
there.
"""

from typing import TYPE_CHECKING

from tinychat.errors import CheckpointError, TrainingError
from tinychat.training.preferences import FollowUpdates
from tinychat.words import loss

if TYPE_CHECKING:
    from tinychat.training.trainer import Trainer


def waits(trainer: "Trainer") -> bool:
    """Whether nothing has come yet to learn from. A last step whose judgement was undone since is
    taken back."""
    updates = trainer.updates
    if not isinstance(updates, FollowUpdates):
        return False
    if (source := updates.followed.undone(trainer.progress.step)) is not None:
        try:
            take_back(trainer, source, "its judgement was undone")
        except CheckpointError as error:
            trainer.note("warning", f"the judgement {source} was undone, but {error}")
            updates.followed.keep(source)
    if told := updates.followed.look(trainer.progress.step):
        trainer.note("feedback", told)
    was, trainer.waiting = trainer.waiting, not updates.ready()
    if trainer.waiting != was:
        trainer.turn_to("training")  # or paused, with the reason
    return trainer.waiting


def take_back(trainer: "Trainer", source: str | None, why: str) -> str:
    """Undo the last step; returns what was done. Raises TrainingError where that cannot be, and
    CheckpointError where the checkpoint before is gone."""
    updates, progress = trainer.updates, trainer.progress
    if not isinstance(updates, FollowUpdates):
        raise TrainingError(
            "only a run that learns from judgements as they come can take a step back; "
            "`tinychat tune --follow` starts one"
        )
    followed, step = updates.followed, progress.step
    judgement = followed.last(step, source)
    before = trainer.store.take_back(step - 1, lambda: followed.take_back(judgement))
    trainer.go_back(before, f"step {step} taken back")
    told = f"step {step} is taken back, {why}: step {progress.step} goes on"
    if progress.old_val_loss is not None:
        told += f", val_loss {loss(progress.old_val_loss)}"
    trainer.note("taken_back", told)
    return told
