"""What an experiment found out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Tell = Callable[[str], None]  # takes one short line about how far an experiment is


@dataclass(frozen=True)
class Trial:
    """One line of the pass table. It passed if `failures` is empty and it was not left out."""

    experiment: str
    tried: int  # kills, faults, disk states, flips, ...: what was done to it
    figures: Mapping[
        str, int | float
    ]  # each with its unit in the name: steps_redone, bits_different
    seconds: float
    failures: tuple[str, ...] = field(default=())  # a sentence each
    left_out: str = ""  # why it could not be run on this machine

    @property
    def passed(self) -> bool:
        return not self.failures and not self.left_out
