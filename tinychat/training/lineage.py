"""What decides the last bits of a run, as it is here and now, and what of it differs from before.

Between attempts whose facts agree, the same steps give the same bits. Where they do not, the run
goes on with the same data and schedule, and says so for ever after (`runs.lineage`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

import tinychat
from tinychat.config.classes import CIRCUMSTANCES, ResumeClass, Rule, rule_of
from tinychat.model import Runtime, processor
from tinychat.runs import AttemptRecord, RunReader

ARITHMETIC = 5
"""Raised whenever the same settings and data would give other bits, however little they differ."""

_UNKNOWN = ("", None, ())  # of a record from before a fact was written down


@dataclass(frozen=True)
class Facts:
    """Everything outside the settings' meaning that decides bits."""

    runtime: Runtime
    micro_batch_size: int
    rate_factor: float = 1.0  # share of the planned learning rate; each roll-back halves it
    world_size: int = 1  # processes that share each step

    def to_record(self) -> dict[str, Any]:
        """As fields of an AttemptRecord."""
        return {
            "device": self.runtime.device,
            "dtype": self.runtime.dtype,
            "threads": self.runtime.threads,
            "gradient_checkpointing": self.runtime.gradient_checkpointing,
            "attention": self.runtime.attention,
            "compile": self.runtime.compile,
            "micro_batch_size": self.micro_batch_size,
            "rate_factor": self.rate_factor,
            "world_size": self.world_size,
            "torch": torch.__version__,
            "processor": processor(self.runtime.device),
            "cpu_flags": (torch.backends.cpu.get_cpu_capability(),),
            "arithmetic": ARITHMETIC,
        }


def what_changed(before: AttemptRecord, now: AttemptRecord) -> tuple[ResumeClass, list[str]]:
    """The class of going on from the steps of `before`, and what differs of class B or C.

    What `before` did not write down yet (an older tinychat made it) counts as the same.
    """
    rules = [each for each in CIRCUMSTANCES if each.resume_class != "A"]
    changes = _different(before, now, rules)
    names = [name for rule in rules for name in rule.names]
    settings = [
        (name, f"{name} {before.settings[name]} -> {value}")
        for name, value in now.settings.items()
        if name in before.settings and before.settings[name] != value
    ]
    if not before.settings:
        settings = [(change.split()[0], change) for change in now.changed]
    changes += [
        (rule_of(name).resume_class, told)
        for name, told in settings
        if name.rpartition(".")[2] not in names  # else the circumstance says it already
    ]
    classes = {resume_class for resume_class, _ in changes}
    worst: ResumeClass = "C" if "C" in classes else "B" if classes else "A"
    return worst, [told for _, told in changes]


def classed(
    now: AttemptRecord, before: AttemptRecord | None, planned_rows: int, why: str
) -> AttemptRecord:
    """The same attempt with its class, and all that differs from the one it goes on from.

    `before` is None for the first weights, which nobody trained: then what was planned counts.
    """
    if before is None:
        before = replace(now, rate_factor=1.0, micro_batch_size=planned_rows)
    resume_class, changes = what_changed(before, now)
    reason = f"{why}: {', '.join(changes)}" if changes else why
    return replace(now, resume_class=resume_class, reason=reason)


def with_lost_records(now: AttemptRecord, reader: RunReader) -> AttemptRecord:
    """The same attempt, of class B where records of earlier ones are gone: what those steps were
    computed on, nobody can say any more. It is said once."""
    said = " ".join(attempt.reason for _, attempt in reader.attempts())
    told = [f"the record of attempt {number} is lost" for number in reader.lost_attempts()]
    told = [each for each in told if each not in said]
    if not told:
        return now
    sign = ", " if ": " in now.reason else ": "
    worst: ResumeClass = "C" if now.resume_class == "C" else "B"
    return replace(now, resume_class=worst, reason=f"{now.reason}{sign}{', '.join(told)}")


def other_code(before: AttemptRecord, now: AttemptRecord) -> list[str]:
    """What differs of class A but is worth telling: the program, and where it runs."""
    rules = [each for each in CIRCUMSTANCES if each.resume_class == "A"]
    return [told for _, told in _different(before, now, rules)]


def _different(
    before: AttemptRecord, now: AttemptRecord, rules: Sequence[Rule]
) -> list[tuple[ResumeClass, str]]:
    """The circumstances that are known of both and differ, in the order of the rules."""
    recorded = {field.name for field in fields(AttemptRecord)}
    found: list[tuple[ResumeClass, str]] = []
    for rule in rules:
        for name in filter(recorded.__contains__, rule.names):
            old, new = getattr(before, name), getattr(now, name)
            if old != new and old not in _UNKNOWN and new not in _UNKNOWN:
                told = f"{name} {_words(name, old)} -> {_words(name, new)}"
                found.append((rule.resume_class, told))
    return found


def source_commit() -> str | None:
    """The git commit of the source tree that runs, or None where it runs from no such tree."""
    git = Path(tinychat.__file__).resolve().parents[1] / ".git"
    try:
        if git.is_file():  # a worktree: "gitdir: <where>"
            git = Path(git.read_text(encoding="utf-8").partition("gitdir: ")[2].strip())
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        common = git / "commondir"
        if common.is_file():
            git = (git / common.read_text(encoding="utf-8").strip()).resolve()
        if (git / name).is_file():
            return (git / name).read_text(encoding="utf-8").strip() or None
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, ValueError):
        return None


def _words(name: str, value: Any) -> str:
    if name in ("data_fingerprint", "replay_fingerprint", "git_commit"):
        return str(value)[:12]
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
