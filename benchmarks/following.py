"""How long a run that learns from judgements as they come takes for each of them.

    python benchmarks/following.py [RUN] [--judgements 20] [FLAG ...]

RUN is a trained `demo`, which is not touched; without it one is trained first, which takes three to
ten minutes. `tinychat tune RUN --follow` runs in a process of its own. One of four answers to a
prompt is picked, as a person would in the chat, and the time until the run has learnt from it,
evaluated, saved and waits for the next one is a choice. Then the last ones are taken back, one by
one: the time until the run stands where it stood before is an undo.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from teaching import Model, demo, prompts

from measured import Figure, arguments, save
from tinychat.conversations import Feedback
from tinychat.runs import RunReader

NAME = "live"
UNDONE = 5  # of the last choices; the preset keeps ten checkpoints
POLL_SECONDS = 0.005


class Live:
    """A run that follows what is judged in its folder of runs."""

    def __init__(self, runs: Path, process: "subprocess.Popen[bytes]") -> None:
        self._reader, self._process = RunReader(runs / NAME), process

    def waits_at(self, step: int) -> None:
        """Wait until it has done so many steps and waits for a judgement."""
        while True:
            status = self._reader.status
            stands = status and (status.state, status.step, status.latest)
            if stands == ("paused", step, step):
                return
            if self._process.poll() is not None:
                raise SystemExit(f"the run has ended: {status and status.message}")
            time.sleep(POLL_SECONDS)


@contextmanager
def following(parent: Path, runs: Path, flags: Sequence[str]) -> Iterator[Live]:
    """The run in a process of its own, which ends with this."""
    words = [sys.executable, "-m", "tinychat", "tune", str(parent), "--follow", "--until-eof"]
    words += ["--name", NAME, "--checkpoints", str(runs), "--replay.max-val-loss-rise=none"]
    process = subprocess.Popen([*words, *flags], stdin=subprocess.PIPE, stdout=sys.stderr)
    try:
        live = Live(runs, process)
        live.waits_at(0)
        yield live
    finally:
        assert process.stdin is not None
        process.stdin.close()  # which ends it
        process.wait()


def measure(
    parent: Path, runs: Path, judgements: int, flags: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Seconds of each choice, and of each undo."""
    feedback, picked = Feedback(runs), list[str]()
    choices: list[float] = []
    undone: list[float] = []
    with following(parent, runs, flags) as live:
        for several in Model(parent).offered(prompts(0).judged, 0):
            if len(set(several.texts)) == 1:  # there is nothing to choose
                continue
            began = time.monotonic()
            picked.append(feedback.pick(several.messages, several.kept(), 0))
            live.waits_at(len(picked))
            choices.append(time.monotonic() - began)
            if len(picked) == judgements:
                break
        for last in picked[: -UNDONE - 1 : -1]:
            began = time.monotonic()
            feedback.undo(last)
            live.waits_at(len(picked) - len(undone) - 1)
            undone.append(time.monotonic() - began)
    return choices, undone


def main() -> None:
    """Train if that is needed, choose, take back, print."""
    parser = arguments(__doc__)
    parser.add_argument("run", nargs="?", help="a trained demo")
    parser.add_argument("--judgements", type=int, default=20)
    told, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="tinychat-following-") as name:
        folder = Path(name)
        parent, runs = demo(told, folder), folder / "following"
        runs.mkdir()
        if told.quick:
            told.judgements = 2
        choices, undone = measure(parent, runs, told.judgements, flags)
    figures = {
        "a choice": Figure.of(choices, " s"),
        "an undo": Figure.of(undone, " s"),
    }
    for what, figure in figures.items():
        print(f"{what}: {figure}", flush=True)
    save(told, figures)


if __name__ == "__main__":
    main()
