"""What a trainer does when the disk refuses: it waits, says why, and goes on once it may.

A full disk, a quota, an I/O error, a folder that became read-only or went away: each write of the
run directory is tried again until it succeeds. Nothing is lost meanwhile, because the trainer
stands still between two steps.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from tinychat.errors import RunError

T = TypeVar("T")
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0
POLL_SECONDS = 0.1
STOPPING_SECONDS = 10.0  # how long somebody who asked for an end waits for the disk


class DiskPatience:
    """Carries out writes, and tries those that the disk refuses again.

    `signals` counts how often the process was asked to end. `tell` is called about once a second
    with what the disk says, and with None once it takes data again. Writes that are refused in the
    middle of telling raise RunError.
    """

    def __init__(self, signals: Callable[[], int], tell: Callable[[str | None], None]) -> None:
        self._signals = signals
        self._tell = tell
        self._waiting = False
        self.waited_seconds = 0.0  # all waits together

    def __call__(self, action: Callable[[], T]) -> T:
        """Do it. Raises RunError if the disk still refuses while somebody wants an end."""
        wait = FIRST_WAIT_SECONDS
        waited_from = time.monotonic()
        while True:
            tried_at = time.monotonic()
            try:
                result = action()
            except OSError as error:
                told = _sentence(error)
            else:
                break
            if self._waiting:  # in the middle of telling about it: the outer call goes on trying
                raise RunError(told)
            self._sleep(wait, told, waited_from)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        if wait > FIRST_WAIT_SECONDS:
            self.waited_seconds += tried_at - waited_from
            self._say(None)
        return result

    def _sleep(self, seconds: float, told: str, waited_from: float) -> None:
        end = time.monotonic() + seconds
        self._say(f"{told}; trying again until it can be written")
        told_at = time.monotonic()
        while (now := time.monotonic()) < end:
            impatient = self._signals()
            if impatient > 1 or (impatient and now - waited_from >= STOPPING_SECONDS):
                raise RunError(
                    f"{told}, so what came after the newest checkpoint could not be saved; "
                    "make room or mend the disk, then resume"
                )
            if now - told_at >= 1.0:
                self._say(f"{told}; trying again until it can be written")
                told_at = now
            time.sleep(POLL_SECONDS)

    def _say(self, message: str | None) -> None:
        self._waiting = True
        try:
            self._tell(message)
        except RunError:
            pass  # the disk, again; it is tried again in a moment
        finally:
            self._waiting = False


def _sentence(error: OSError) -> str:
    why = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    return f"the disk refuses: {why}{where}"
