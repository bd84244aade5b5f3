"""The mailbox `control/`: programs put requests in, the trainer takes them out, events answer.

One file a command, written aside and renamed in, taken in the order of its name. A command is
done at most once: its file is removed before it is handed out. What a command does is the
trainer's charge.
"""

import os
import secrets
import stat
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tinychat.errors import SettingsError
from tinychat.runs.durable import Disk, replace_file
from tinychat.runs.layout import RunPaths
from tinychat.runs.reader import Row, RunReader
from tinychat.runs.records import encode_row, parse

EXPIRES_IN_SECONDS = 600.0
REFUSED = "refused-"  # what no command could be read from, kept for a person to look at
_COMMAND_BYTES = 64 * 1024
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class _Argument:
    """One argument of a command. `default` None: it must be given, unless it is optional."""

    types: tuple[type, ...]
    default: Any = None
    optional: bool = True


COMMANDS: Mapping[str, Mapping[str, _Argument]] = {
    "pause": {"free": _Argument((bool,), False)},  # free: give the accelerator's memory back
    "resume": {},
    "checkpoint": {},
    "sample": {"prompt": _Argument((str, type(None)))},
    "evaluate": {},
    "undo": {"judgement": _Argument((str, type(None)))},  # its id; none: whatever came last
    "stop": {"save": _Argument((bool,), True)},
    "set": {
        "setting": _Argument((str,), optional=False),
        "value": _Argument((int, float, str, bool, type(None))),
    },
}


@dataclass(frozen=True)
class Command:
    """A request to the trainer; `args` holds every argument, defaults filled in."""

    id: str
    command: str
    args: dict[str, Any] = field(default_factory=dict)
    by: str = ""  # who asks, for the record: "monitor", "shell"
    at: float = 0.0  # Unix seconds
    expires: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """A file in the mailbox that is not done, and why."""

    id: str | None  # None if not even that could be read
    command: str | None
    reason: str  # one sentence
    by: str = ""  # who asked, if that could be read


def send_command(
    run: Path,
    command: str,
    args: Mapping[str, Any] | None = None,
    *,
    by: str,
    expires_in_seconds: float = EXPIRES_IN_SECONDS,
) -> str:
    """Put a request into the run's mailbox; returns its id, for `wait_for_ack`.

    Raises SettingsError for a command or argument that does not exist.
    """
    try:
        checked = _check(command, dict(args or {}))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    paths = RunPaths(run)
    paths.control.mkdir(mode=0o700, exist_ok=True)
    now = time.time()
    name = uuid.uuid4().hex
    request = {"id": name, "command": command, "args": checked, "by": by, "at": now}
    data = encode_row(request | {"expires": now + expires_in_seconds})
    replace_file(Disk(), paths.control / f"{time.time_ns()}-{name}.json", data, sync=False)
    return name


class ControlInbox:
    """The trainer's side of the mailbox."""

    def __init__(self, run: Path) -> None:
        self._folder = RunPaths(run).control
        self._seen: set[str] = set()
        self._refusals: list[Refusal] = []

    def poll(self) -> list[Command]:
        """Take out what has come, in the order of the files' names; costs one listing if empty.

        Each id comes at most once. What is malformed is set aside as `refused-…`, what has
        expired is removed; `refusals` tells of both.
        """
        taken = (self._take(path) for path in self._requests())
        return [command for command in taken if command is not None]

    def peek(self) -> list[Command]:
        """What a poll would take out now; everything stays where it is."""
        found = []
        for path in self._requests():
            with suppress(OSError):
                command = _read_command(path)
                if isinstance(command, Command) and command.expires >= time.time():
                    found.append(command)
        return found

    def _requests(self) -> list[Path]:
        try:
            names = sorted(name for name in os.listdir(self._folder) if _is_request(name))
        except OSError:
            return []
        return [self._folder / name for name in names]

    def refusals(self) -> list[Refusal]:
        """What was refused since the last call, each to be answered by an event."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def _take(self, path: Path) -> Command | None:
        try:
            command = _read_command(path)
            # First of all: a command that cannot be removed would be done for ever.
            if isinstance(command, Refusal):
                os.rename(path, path.with_name(f"{REFUSED}{path.name}-{secrets.token_hex(4)}"))
            else:
                os.unlink(path)
        except OSError:
            return None
        if isinstance(command, Command) and command.expires < time.time():
            reason = f"The command {command.command} came too late: it had expired."
            command = Refusal(command.id, command.command, reason, command.by)
        if isinstance(command, Refusal):
            self._refusals.append(command)
            return None
        if command.id in self._seen:
            return None
        self._seen.add(command.id)
        return command


def wait_for_ack(run: Path, command_id: str, timeout_seconds: float) -> Row | None:
    """The event row that answers a command (kind command_applied or command_refused).

    None if no answer has come in time.
    """
    reader = RunReader(run)
    deadline = time.monotonic() + timeout_seconds
    while True:
        for row in reader.history("events"):
            if row.get("id") == command_id and row.get("kind") in (
                "command_applied",
                "command_refused",
            ):
                return row
        if time.monotonic() >= deadline:
            return None
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _is_request(name: str) -> bool:
    return name.endswith(".json") and not name.startswith((".", REFUSED))


def _read_command(path: Path) -> Command | Refusal:
    values: dict[str, Any] = {}
    try:
        values = parse(_read_small(path))
        return Command(
            id=_want(values, "id", str),
            command=_want(values, "command", str),
            args=_check(values["command"], _want(values, "args", dict)),
            by=_want(values, "by", str),
            at=_want(values, "at", int, float),
            expires=_want(values, "expires", int, float),
        )
    except ValueError as error:
        told = {key: values[key] for key in ("id", "command") if isinstance(values.get(key), str)}
        reason = f"{path.name} is no command: {error}"
        return Refusal(told.get("id"), told.get("command"), reason)


def _want(values: Mapping[str, Any], key: str, *types: type) -> Any:
    if type(values.get(key)) not in types:
        raise ValueError(f"its {key} is {values.get(key)!r}")
    return values[key]


def _read_small(path: Path) -> bytes:
    """A plain file of ours. A link, a pipe, a giant, another person's file: ValueError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it cannot be opened: {error.strerror}") from None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a plain file")
        if hasattr(os, "geteuid") and about.st_uid not in (0, os.geteuid()):
            raise ValueError("it belongs to another user")
        data = os.read(fd, _COMMAND_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > _COMMAND_BYTES:
        raise ValueError(f"it is longer than {_COMMAND_BYTES} bytes")
    return data


def _check(command: str, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments with defaults filled in. Raises ValueError with a sentence."""
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}."
        raise ValueError(f"There is no command {command!r}: {hint}")
    expected = COMMANDS[command]
    for name, value in args.items():
        if name not in expected:
            raise ValueError(f"The command {command} takes no {name!r}.")
        if type(value) not in expected[name].types:
            raise ValueError(f"The command {command} cannot take {name} = {value!r}.")
    for name, argument in expected.items():
        if name not in args and not argument.optional:
            raise ValueError(f"The command {command} needs {name!r}.")
    return {name: args.get(name, argument.default) for name, argument in expected.items()}
