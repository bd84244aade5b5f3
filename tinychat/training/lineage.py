"""What decides the last bits of a run, and how far back they are exact.

Between attempts whose facts agree, the same steps give the same bits. Where they do not, the run
goes on with the same data and schedule, and says so for ever after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tinychat.model import Runtime
from tinychat.runs import RunReader


@dataclass(frozen=True)
class Facts:
    """Everything outside the settings' meaning that decides bits."""

    runtime: Runtime
    micro_batch_size: int
    rate_factor: float = 1.0  # share of the planned learning rate; each roll-back halves it

    def to_record(self) -> dict[str, Any]:
        """As fields of an AttemptRecord."""
        return {
            "device": self.runtime.device,
            "dtype": self.runtime.dtype,
            "threads": self.runtime.threads,
            "attention": "sdpa",
            "micro_batch_size": self.micro_batch_size,
            "rate_factor": self.rate_factor,
            "torch": torch.__version__,
            "cpu_flags": (torch.backends.cpu.get_cpu_capability(),),
        }


def what_changed(reader: RunReader, facts: Facts, changed_settings: Sequence[str]) -> str:
    """What differs from the attempt before, as a few words; empty if nothing that decides bits."""
    attempts = reader.attempts()
    if not attempts:
        return ""
    _, last = attempts[-1]
    differs = [
        f"{name} {getattr(last, name)} -> {value}"
        for name, value in facts.to_record().items()
        if getattr(last, name) != value
    ]
    told = {name.rpartition(".")[2] for name in facts.to_record()}
    differs += [
        change for change in changed_settings if change.split()[0].rpartition(".")[2] not in told
    ]
    return ", ".join(differs)


def lineage_line(reader: RunReader) -> str:
    """How far back the weights are bit-exact, and where and why that was given up."""
    breaks = [
        (attempt.from_step, attempt.reason.partition(": ")[2])
        for _, attempt in reader.attempts()
        if attempt.resume_class == "B"
    ]
    if not breaks:
        return "bit-exact from step 0"
    first = min(step for step, _ in breaks)
    told = "; ".join(f"step {step}: {why}" for step, why in breaks)
    return f"bit-exact until step {first} ({told})"
