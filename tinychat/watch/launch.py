"""Starting a trainer that outlives this program, and ending one that does not obey.

A trainer is started as `python -m tinychat ...` in a session of its own: closing the terminal or
killing the screen that started it does not reach it. What it prints goes into a log file in
`checkpoints/.launch/`, because nobody may be there to read it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tinychat import words
from tinychat.errors import RunError
from tinychat.runs import Status, is_process_of

LAUNCH_FOLDER = ".launch"
_SAID_BYTES = 8 * 1024
_DETACHED = getattr(subprocess, "DETACHED_PROCESS", 0)  # Windows has no sessions
_OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


class Launched:
    """A trainer that was started here. Ask `ended` now and then: it also buries the process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, begins_at: int) -> None:
        self.log = log  # of this and earlier starts of the run
        self._process = process
        self._begins_at = begins_at

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """The exit status, or None while the trainer lives; below zero: killed by that signal."""
        return self._process.poll()

    def let_go(self) -> None:
        """End a tied one: it saves and stops. Returns at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def said(self) -> str:
        """The last lines it printed, made harmless: the error sentence if it has failed."""
        try:
            with open(self.log, "rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._begins_at, end - _SAID_BYTES))
                said = log.read(_SAID_BYTES)
        except OSError as error:
            return f"{self.log} cannot be read: {error.strerror}."
        return _harmless(said)


def launch(arguments: Sequence[str], checkpoints: Path, *, tied: bool = False) -> Launched:
    """Start `tinychat ARGUMENTS` in a session of its own.

    One that is `tied` (which its arguments must know: --until-eof) saves and stops when this
    program ends, however it ends, or lets go of it. Raises OSError if the folder cannot be written
    or no process can be started.
    """
    folder = checkpoints / LAUNCH_FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / f"{_run_name(arguments)}.log"
    fd = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        os.write(fd, f"\n{stamp}  tinychat {' '.join(arguments)}\n".encode(errors="replace"))
        begins_at = os.lseek(fd, 0, os.SEEK_END)
        process = subprocess.Popen(
            _command(arguments),
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=fd,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=_DETACHED | _OWN_GROUP,
        )
    finally:
        os.close(fd)
    return Launched(process, log, begins_at)


def resume_arguments(run: Path) -> list[str]:
    """What resumes this run."""
    return ["resume", str(run.absolute())]


def train_arguments(
    preset: str | None,
    data: str | Path | None,
    name: str | None,
    checkpoints: Path,
    more: Sequence[str] = (),
) -> list[str]:
    """What starts a new run; `more` are further flags. None and empty are left out."""
    given = (("preset", preset), ("data", data), ("name", name))
    flags = [f"--{flag}={value}" for flag, value in given if value]
    return ["train", *flags, f"--checkpoints={checkpoints.absolute()}", *more]


def end_process(status: Status, number: signal.Signals) -> None:
    """Send a signal to the process behind a status, and to no other.

    Raises RunError if it cannot be proved to be that one (this host, boot, number and start
    time), or if the system refuses.
    """
    refused = RunError(
        f"Process {status.pid} on {status.host} cannot be shown to be this run's trainer any more, "
        "so it was left alone."
    )
    if not is_process_of(status):
        raise refused
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(status.pid, number)
            return
        handle = os.pidfd_open(status.pid)  # from here on the number cannot change its meaning
        try:
            if not is_process_of(status):
                raise refused
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
    except ProcessLookupError:
        raise refused from None
    except OSError as error:
        raise RunError(f"Process {status.pid} cannot be ended: {error.strerror}.") from None


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "tinychat", *arguments]


def _run_name(arguments: Sequence[str]) -> str:
    """The name of the run that these arguments start, as far as they tell it."""
    named = [word.removeprefix("--name=") for word in arguments if word.startswith("--name=")]
    if not named and arguments[:1] == ["resume"] and len(arguments) > 1:
        named = [Path(arguments[1]).name]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", named[0] if named else "").strip("-.") or "run"


def _harmless(said: bytes) -> str:
    text = said.decode("utf-8", errors="replace").replace("\r\n", "\n")
    return words.inert(text, keep="\n\t").expandtabs().strip()
