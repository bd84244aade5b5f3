"""Which attempt did which steps, and how far back the weights are bit-exact.

An attempt that begins at step s takes the place of everything that older ones did beyond s. So the
steps of a run, as its weights really went, are a chain of stretches, each of one attempt. Where an
attempt began under other circumstances than those of the stretch it goes on from, exactness ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinychat.runs.records import AttemptRecord

Attempts = Sequence[tuple[int, AttemptRecord]]  # (number, record), oldest first


@dataclass(frozen=True)
class Stretch:
    """The steps from_step + 1 to last_step of one attempt, which count."""

    number: int  # of the attempt
    attempt: AttemptRecord
    last_step: int | None  # None: as far as it has come

    @property
    def from_step(self) -> int:
        return self.attempt.from_step


@dataclass(frozen=True)
class Break:
    """A step up to which the weights are one thing and from which they are another."""

    step: int
    resume_class: str  # B: same data and schedule, bits may differ; C: more than that
    why: str


def stretches(attempts: Attempts, up_to: int | None = None) -> list[Stretch]:
    """The chain that led to the weights after `up_to` updates (None: to those of now)."""
    chain: list[Stretch] = []
    last_step = up_to
    for number, attempt in reversed(attempts):
        if last_step is None or attempt.from_step < last_step:
            chain.append(Stretch(number, attempt, last_step))
            last_step = attempt.from_step
    return chain[::-1]


def maker(attempts: Attempts, step: int) -> AttemptRecord | None:
    """The attempt whose updates led to `step`; None for step 0, which nobody trained."""
    chain = stretches(attempts, step)
    return chain[-1].attempt if chain else None


def breaks(attempts: Attempts) -> list[Break]:
    """Where exactness was given up on the way to the weights of now, oldest first."""
    return [
        Break(each.from_step, each.attempt.resume_class, each.attempt.reason.partition(": ")[2])
        for each in stretches(attempts)
        if each.attempt.resume_class in ("B", "C")
    ]


def lineage_words(attempts: Attempts) -> str:
    """The same in two or three words, for where there is little room."""
    found = breaks(attempts)
    return f"bit-exact until {found[0].step:,}" if found else "bit-exact"


def lineage_line(attempts: Attempts) -> str:
    """How far back the weights are bit-exact, and where and why that was given up."""
    found = breaks(attempts)
    if not found:
        return "bit-exact from step 0"
    told = "; ".join(f"step {each.step}: {each.why}" for each in found)
    return f"bit-exact until step {found[0].step} ({told})"
