"""`chat`: through a pipe it is a program, on a terminal it is a talk."""

import codecs
import fcntl
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from .conftest import Result, Tinychat

SILENCE_SECONDS = 120  # far beyond what any machine needs


@pytest.fixture
def piped(tinychat: Tinychat, trained_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Tinychat:
    """Chat with lines from a pipe."""

    def call(name: str, text: str, *flags: object) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        words = ["chat", name, "--checkpoints", trained_runs, "--max-new-tokens", 8]
        return tinychat(*words, *flags)

    return call


def test_one_turn_a_line_one_answer_a_line(piped: Tinychat) -> None:
    found = piped("talk", "Hello!\n\nMy name is Mia.\n", "--seed", 1, "--temperature", 0)
    assert (found.code, found.err) == (0, "")
    assert len(found.out.splitlines()) == 2
    again = piped("talk", "Hello!\n\nMy name is Mia.\n", "--seed", 1, "--temperature", 0)
    assert again.out == found.out


def test_slash_commands(piped: Tinychat) -> None:
    script = (
        "/help\n/temperature 0\n/temperature hot\n/temperature -2\n/seed 3\nHello!\n/reset\n"
        "/seed 3\nHello!\n/system Be kind.\nHello!\n/nonsense\n/quit\nnever said\n"
    )
    found = piped("talk", script)
    assert found.code == 0
    first, second, _ = found.out.splitlines()
    assert first == second
    for piece in ("/system TEXT", "temperature 0", "'hot' is not a number", "from 0 up, not -2",
                  "seed 3", "forgotten", "told that first", "there is no /nonsense"):  # fmt: skip
        assert piece in found.err, piece


def test_a_talk_that_outgrows_the_context_says_so(piped: Tinychat) -> None:
    found = piped("talk", "My name is Anna and I like apples and boats.\n" * 4)
    assert len(found.out.splitlines()) == 4
    assert re.search(
        r"context \d+ of 64 tokens; the model no longer sees \d+ oldest turn", found.err
    )


def test_a_base_model_goes_on_with_the_text(piped: Tinychat) -> None:
    found = piped("story", "Anna saw\n", "--seed", 1)
    assert found.code == 0
    assert found.out.strip()


def test_bytes_that_are_no_text_do_not_end_it(trained_runs: Path) -> None:
    words = ["chat", "talk", "--checkpoints", str(trained_runs), "--max-new-tokens", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", *words],
        input=b"\xff\xfe hello\n", capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def _as_from_a_shell() -> None:
    """A terminal of its own, and Ctrl+C heard even if the tests run where it is ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process that believes it talks with a person."""

    def __init__(self, *words: str) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tinychat", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            preexec_fn=_as_from_a_shell,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read_until(self, pattern: str) -> None:
        """Wait for it; fails if the process ends before, or says nothing more."""
        assert self._said(pattern, SILENCE_SECONDS), f"no {pattern!r} in {self.seen!r}"

    def _said(self, pattern: str, patience_seconds: float) -> bool:
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            ready, _, _ = select.select([self._fd], [], [], patience_seconds)
            if not ready:
                return False
            self.seen += self._decoder.decode(os.read(self._fd, 65536))
        self.seen = self.seen[match.end() :]
        return True

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def insist(self, text: str, pattern: str) -> None:
        """Type it again until it is heard: readline misses a signal now and then."""
        for _ in range(SILENCE_SECONDS):
            self.type(text)
            if self._said(pattern, 1.0):
                return
        raise AssertionError(f"{text!r} is not heard: {self.seen!r}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(trained_runs: Path) -> None:
    # greedy, a model that has learnt nothing repeats itself for ever
    words = ["--temperature", "0", "--max-new-tokens", "1000000"]
    terminal = Terminal("chat", "story", "--checkpoints", str(trained_runs), *words)
    try:
        terminal.read_until("goes on with what you type")
        terminal.read_until("you › ")
        terminal.insist("\x03", r"Ctrl\+D leaves.*you › ")
        terminal.type("Anna saw\n")
        terminal.read_until("story › .{20}")  # it would go on for hours
        terminal.insist("\x03", "you › ")
        terminal.type("/seed 4\n")
        terminal.read_until("seed 4.*you › ")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.close()
