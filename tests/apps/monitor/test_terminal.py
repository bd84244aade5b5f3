"""The monitor in a real terminal (tmux) beside a real trainer, from the first key to the last."""

import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import tiny, until, write_corpora
from tinychat.model import load_model
from tinychat.runs import Row, RunReader, Status, list_checkpoints

SIZES = [(80, 24), (160, 48)]

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A tmux server of its own with one window, and a program in it."""

    def __init__(self, size: tuple[int, int], *words: str, **environment: str) -> None:
        self._name = f"tinychat-{uuid.uuid4().hex[:12]}"
        apps = str(Path(__file__).parents[3] / "apps")
        told = {"PYTHONPATH": apps, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        settings = [f"{key}={value}" for key, value in told.items()]
        program = ["env", *settings, sys.executable, "-m", "tinychat_monitor", *words]
        width, height = map(str, size)
        self._tmux("-u", "new-session", "-d", "-x", width, "-y", height, *program)

    def screen(self) -> str:
        """What stands on it now."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", "--", text)

    def cursor_row(self) -> int:
        """Where the cursor is, which is where what is typed goes."""
        return int(self._tmux("display-message", "-p", "#{cursor_y}"))

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until it shows that."""
        found: list[re.Match[str] | None] = [None]

        def seen() -> bool:
            found[0] = re.search(pattern, self.screen())
            return found[0] is not None

        until(seen, lambda: f"no {pattern!r} on\n{self.screen()}")
        assert found[0] is not None
        return found[0]

    def step(self) -> int:
        """The step that it shows."""
        return int(self.shows(r"step ([\d,]+)/")[1].replace(",", ""))

    def kill(self) -> None:
        """Close the terminal under the program, as a lost connection would."""
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False, capture_output=True)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words],
            check=True, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        return done.stdout


class Run:
    """A run on disk whose trainers are ended with the test."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        self.path = self.checkpoints / "demo"
        self._data = data

    def start(self) -> None:
        """Train far longer than any test lasts."""
        words = ["train", "--name", "demo", "--data", str(self._data)]
        often = tiny(
            max_steps=10_000_000, eval__every_steps=500, sample__every_steps=3000,
            checkpoint__every_steps=1000,
        )  # fmt: skip
        with open(self.checkpoints.parent / "trainer.txt", "wb") as said:
            self._trainer = subprocess.Popen(
                [sys.executable, "-m", "tinychat", *words, "--checkpoints", str(self.checkpoints),
                 *often],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def status(self) -> Status:
        found: list[Status] = []

        def told() -> bool:
            assert self._trainer.poll() in (None, -signal.SIGKILL, 0), self._said()
            status = RunReader(self.path).status
            found.extend([status] if status else [])
            return bool(found)

        until(told, self._said)
        return found[0]

    def _said(self) -> str:
        return (self.checkpoints.parent / "trainer.txt").read_text(errors="replace")

    def beats(self, times: int) -> None:
        """Wait until the trainer has told of itself that many times."""
        seq = self.status().seq
        until(lambda: self.status().seq >= seq + times, lambda: "no beat comes")

    def trains(self) -> None:
        """Wait until it takes steps."""
        step = self.status().step
        until(lambda: self.status().step > step + 5, lambda: f"it stays at step {step}")

    def texts(self) -> list[str]:
        return [row["prompt"] for row in RunReader(self.path).rows("samples")]

    def kill(self) -> None:
        """What a power cut or the kernel's memory killer does."""
        os.kill(self.status().pid, signal.SIGKILL)

    def end(self) -> None:
        status = RunReader(self.path).status
        if status is None:
            return
        try:
            process = psutil.Process(status.pid)
            if "tinychat" in " ".join(process.cmdline()):
                process.kill()
        except psutil.NoSuchProcess:
            pass


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    talks, _ = write_corpora(tmp_path)
    run = Run(tmp_path, talks)
    run.checkpoints.mkdir()
    run.start()
    run.trains()
    try:
        yield run
    finally:
        run.end()


@pytest.fixture
def terminal(run: Run) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(
        size: tuple[int, int] = (80, 24), *words: str, **environment: str
    ) -> Terminal:
        where = ["--checkpoints", str(run.checkpoints)]
        opened.append(Terminal(size, "demo", *where, *words, **environment))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.kill()


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SIZES[0], id="80x24"),
        pytest.param(SIZES[1], id="160x48", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_watched_and_steered(
    run: Run, terminal: Callable[..., Terminal], size: tuple[int, int]
) -> None:
    screen = terminal(size)
    first = screen.step()
    until(lambda: screen.step() > first, lambda: "the step on the screen does not rise")

    screen.press("p")
    screen.shows("PAUSED")
    frozen = run.status().step
    run.beats(2)
    assert run.status().step == frozen
    until(lambda: screen.step() == frozen, lambda: f"{screen.step()} is shown, not {frozen}")
    screen.press("p")
    run.trains()
    screen.shows("TRAINING|EVALUATING|SAMPLING|SAVING")

    before = set(list_checkpoints(run.path))
    screen.press("c")
    until(lambda: set(list_checkpoints(run.path)) - before, lambda: "no checkpoint came")
    newest = max(list_checkpoints(run.path))
    assert load_model(run.path / f"step-{newest:08d}").decoder is not None

    screen.press("G")
    screen.shows("(?i)prompt")
    screen.type("Where is Anna")
    screen.press("Enter")
    until(lambda: "Where is Anna" in run.texts(), lambda: "no sample of the prompt came")
    screen.shows("› Where is Anna")
    known = len(run.texts())
    screen.press("g")
    until(lambda: len(run.texts()) > known, lambda: "no samples came")

    screen.press("S")
    screen.shows("Cancel")
    screen.press("Escape")
    run.trains()  # Cancel changes nothing
    screen.press("S")
    screen.shows("(?i)save and stop")
    screen.press("Left", "Left", "Enter")  # from Cancel to the first button
    screen.shows("STOPPED")
    status = run.status()
    assert status.state == "stopped"
    assert max(list_checkpoints(run.path)) == status.step


@pytest.mark.slow
def test_the_trainer_outlives_the_terminal_and_a_kill_is_seen(
    run: Run, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal()
    screen.step()
    run.kill()
    screen.shows("CRASHED")
    screen.shows(_end_of_log(run))
    screen.press("r")  # from here on the trainer is the monitor's child
    run.trains()
    screen.shows("TRAINING|EVALUATING|SAMPLING|SAVING")
    pid = run.status().pid
    screen.kill()
    run.beats(3)
    run.trains()
    assert run.status().pid == pid
    again = terminal((100, 30))
    first = again.step()
    until(lambda: again.step() > first, lambda: "the step on the screen does not rise")


@pytest.mark.slow
def test_two_monitors_press_pause_at_once(run: Run, terminal: Callable[..., Terminal]) -> None:
    screens = [terminal(), terminal((120, 36))]
    for screen in screens:
        screen.step()
    for screen in screens:
        screen.press("p")
    until(lambda: len(_answers(run)) == 2, lambda: f"{_answers(run)}")
    assert [row["kind"] for row in _answers(run)] == ["command_applied"] * 2
    for screen in screens:
        screen.shows("PAUSED")
    assert run.status().state == "paused"


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"TERM": "linux"}])
def test_a_poor_terminal_gets_ascii(
    run: Run, terminal: Callable[..., Terminal], environment: dict[str, str]
) -> None:
    screen = terminal((80, 24), **environment)
    screen.step()
    assert screen.screen().isascii()


@pytest.mark.slow
def test_the_window_changes_size(run: Run, terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    for width, height in ((160, 48), (60, 16), (30, 8), (200, 50), (80, 24)):
        screen.resize(width, height)
        until(
            lambda width=width: (
                max(map(len, screen.screen().splitlines())) <= width and "demo" in screen.screen()
            ),
            lambda: screen.screen(),
        )
    first = screen.step()
    until(lambda: screen.step() > first, lambda: "the step on the screen does not rise")


@pytest.mark.slow
def test_a_reader_cannot_steer(run: Run, terminal: Callable[..., Terminal]) -> None:
    screen = terminal((80, 24), "--readonly")
    screen.step()
    screen.press("p", "c", "S")  # not for a reader
    run.beats(2)
    assert run.status().state != "paused"
    assert not _answers(run)


def _end_of_log(run: Run) -> str:
    """A pattern of its last words, which a narrow screen may break into lines."""
    words = RunReader(run.path).log_tail(1)[0].split()[-4:]
    return r"[\s│]+".join(map(re.escape, words))


def _answers(run: Run) -> list[Row]:
    rows = RunReader(run.path).history("events")
    return [row for row in rows if row.get("id") and row.get("command")]
