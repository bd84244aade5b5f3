"""What a trainer does where a step fails: back to good weights, or fewer rows at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tinychat.errors import TrainingError
from tinychat.model import is_out_of_memory, release_memory

if TYPE_CHECKING:
    from tinychat.training.trainer import Trainer

LEAST_RATE_FACTOR = 1 / 8  # three roll-backs, each of which halves the learning rate

T = TypeVar("T")


def roll_back(trainer: "Trainer", why: str) -> None:
    """Go on from the newest good checkpoint with half the learning rate, three times at most.

    Raises TrainingError after that: the recipe itself is wrong then.
    """
    progress, facts = trainer.progress, trainer.facts
    step, factor = progress.step, facts.rate_factor / 2
    if factor < LEAST_RATE_FACTOR:
        raise TrainingError(
            f"{why} up to step {step}, and rolling back to lower learning rates has not helped; "
            "start again with a lower optim.learning_rate"
        )
    before = trainer.store.restore()
    before.bad_steps_in_a_row = 0
    trainer.go_back(before, "roll-back", replace(facts, rate_factor=factor))
    trainer.note(
        "roll_back",
        f"{why} up to step {step}: back to step {progress.step}, with the learning rate at "
        f"{factor:g} of its plan from here on",
    )


def sparing_memory(trainer: "Trainer", action: Callable[[], T]) -> T:
    """Do what takes memory, with fewer rows at once when it runs out."""
    while True:
        try:
            return action()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        _halve_micro_batch(trainer)  # only here the failed pass has let go of its tensors


def _halve_micro_batch(trainer: "Trainer") -> None:
    rows = trainer.facts.micro_batch_size
    if rows == 1:
        trainer.checkpoint()
        raise TrainingError(
            f"memory ran out at step {trainer.progress.step} with one row at a time; resume with "
            "--runtime.gradient-checkpointing, or start again with a smaller model or a shorter "
            "context"
        )
    release_memory(trainer.facts.runtime.device)
    trainer.begin_stretch(replace(trainer.facts, micro_batch_size=rows // 2), "out of memory")
    trainer.note(
        "out_of_memory",
        f"memory ran out: micro_batch_size {rows} -> {rows // 2}; batches stay the same, bits may "
        "differ from here on",
    )
