"""An end of all experiments at once: Ctrl+C, SIGTERM, a closed terminal."""

import signal
from contextlib import AbstractContextManager
from typing import Any


class Interrupts(AbstractContextManager["Interrupts"]):
    """Inside, each of them raises KeyboardInterrupt, but only the first: what has to be stopped
    and tidied after it is not disturbed. One that was ignored before (`nohup`) stays ignored.
    """

    def __init__(self) -> None:
        self.asked = False
        self._tidying = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last not on Windows
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt if one came: somebody may have swallowed the first."""
        if self.asked and not self._tidying:
            raise KeyboardInterrupt

    def tidy(self) -> None:
        """From now on none is raised."""
        self._tidying = True

    def _hear(self, *_: object) -> None:
        first, self.asked = not self.asked, True
        if first and not self._tidying:
            raise KeyboardInterrupt
