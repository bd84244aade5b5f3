"""What logging, control and the sign of life cost a training step; and what a checkpoint costs.

    python benchmarks/overhead.py [--steps 200] [--preset demo] [--quick]

Trains for real in a temporary folder and takes both times in the same steps: the whole step, and
what of it goes into rows, status, progress on the terminal and looking for requests. The limit is
0.5 % of a step.
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from measured import QUICKLY, Figure, arguments, save
from tinychat.cli.app import run as tinychat
from tinychat.runs import RunReader
from tinychat.training import Event, Trainer, job

LIMIT = 0.005


class TimedTrainer(Trainer):
    """The trainer, with a watch on everything that is not computing."""

    beside: ClassVar[list[float]] = []  # seconds of it at each step, of the one run there is
    steps: ClassVar[list[float]] = []  # seconds of each step with all of that

    def __post_init__(self) -> None:
        super().__post_init__()
        self._spent = 0.0
        real = self.emit

        def emit(event: Event) -> None:
            began = time.perf_counter()
            real(event)
            self._spent += time.perf_counter() - began

        self.emit = emit

    def obey(self) -> None:
        began, inside = time.perf_counter(), self._spent
        super().obey()
        self._spent = inside + time.perf_counter() - began  # what it emits is in there too

    def update(self) -> None:
        began = time.perf_counter()
        super().update()
        self.steps.append(time.perf_counter() - began)
        self.beside.append(self._spent)
        self._spent = 0.0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--preset", default="demo")
    told = parser.parse_args()
    if told.quick:
        told.steps = 20
    job.Trainer = TimedTrainer  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "--preset", told.preset, "--name", "timed", "--checkpoints", folder]
        words += [f"--max-steps={told.steps}", f"--checkpoint.every-steps={told.steps // 4}"]
        words += ["--eval.every-steps=none", "--sample.every-steps=none"]
        if told.quick:
            words += ["--batch-size=2", "--model.n-layer=1", *QUICKLY]
        with contextlib.redirect_stdout(io.StringIO()):
            if tinychat(words):
                return 1
        saves = [
            row["seconds"]
            for row in RunReader(Path(folder) / "timed").rows("events")
            if row["kind"] == "checkpoint_saved"
        ]
    warm = slice(len(TimedTrainer.steps) // 10, None)
    beside, steps = TimedTrainer.beside[warm], TimedTrainer.steps[warm]
    share = sum(beside) / sum(steps)
    figures = {
        "a step": Figure.of([1e3 * each for each in steps], " ms"),
        "beside it": Figure.of([1e3 * each for each in beside], " ms"),
        "share of all steps": Figure.of([100 * share], " %"),
        "a checkpoint": Figure.of([1e3 * each for each in saves], " ms"),
    }
    for name, figure in figures.items():
        print(f"{name:20} {figure}")
    print(f"the limit is {100 * LIMIT:g} % of all steps")
    save(told, figures)
    return 0 if share <= LIMIT or told.quick else 1


if __name__ == "__main__":
    sys.exit(main())
