"""A process on a terminal of its own, as a person would use it."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from contextlib import suppress

SILENCE_SECONDS = 120  # far beyond what any machine needs
INSIST_SECONDS = 5  # longer than nearly every answer, so that hardly anything is typed twice


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
        for _ in range(SILENCE_SECONDS // INSIST_SECONDS):
            self.type(text)
            if self._said(pattern, INSIST_SECONDS):
                return
        raise AssertionError(f"{text!r} is not heard: {self.seen!r}")

    def leave(self) -> int:
        """Type Ctrl+D until the process has ended; what comes before a key is heard is lost."""
        for _ in range(SILENCE_SECONDS // INSIST_SECONDS):
            self.type("\x04")
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=INSIST_SECONDS)
        raise AssertionError(f"it does not end: {self.seen!r}")

    def rest(self) -> str:
        """All that the process still says until it ends."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # Linux says so when nobody holds the other end
                data = b""
            if not data:
                return self.seen
            self.seen += self._decoder.decode(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
