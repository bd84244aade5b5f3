"""`tinychat plan` asked for as a child process, and its answer in the few rows of a screen.

Measuring needs torch, which no screen imports; a child can also be ended at any moment.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinychat import words
from tinychat.errors import FormatError, RunError, SettingsError
from tinychat.watch.schedule import planned_rate

FORMAT = 1  # of the document that is understood
CURVE_POINTS = 240  # of the learning rate; a screen draws fewer
_ERROR = "tinychat: "  # begins what the command line says is wrong; other lines are progress
_BLOCK_BYTES = 8192


@dataclass(frozen=True)
class ShortPlan:
    """What a person decides by before a start. Words are empty where nothing is known.

    A share is what the run takes of what is free; above 1 it does not fit.
    """

    parameters: str
    length: str  # steps, tokens, passes, tokens for each parameter
    time: str
    ends: str  # by the clock, if it were started now
    memory: str
    memory_share: float | None
    disk: str
    disk_share: float | None
    schedule: str
    rates: tuple[float, ...]  # the learning rate over the run
    pace: str  # seconds of a step, tokens per second
    computed_on: str
    advice: tuple[str, ...]


def plan_arguments(arguments: Sequence[str]) -> list[str]:
    """What asks for the plan of the run that `train_arguments` would start."""
    return ["plan", *arguments[1:], "--json"]


async def ask_plan(arguments: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """The document of `tinychat ARGUMENTS`; `tell` gets what it is doing, as it says so.

    Takes half a minute or more; cancelling the task ends the child at once. Raises RunError or
    SettingsError with the child's own sentence if it refuses, OSError if no process can be started.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tinychat", *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        answer, said = await asyncio.gather(process.stdout.read(), _hear(process.stderr, tell))
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()  # what it measures in ends with it
            await process.wait()
    if code:
        kind = SettingsError if code == SettingsError.exit_code else RunError
        raise kind(_complaint(said) or f"The plan ended with {code} and without a word.")
    try:
        document = json.loads(answer)
    except ValueError:
        raise RunError("The plan cannot be read: it is not JSON.") from None
    if not isinstance(document, dict):
        raise RunError("The plan cannot be read: it is no JSON object.")
    return document


async def _hear(stream: asyncio.StreamReader, tell: Callable[[str], None]) -> list[str]:
    """All lines that it says, each told as it comes."""
    lines: list[str] = []
    rest = b""
    while block := await stream.read(_BLOCK_BYTES):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            lines.append(words.inert(line.decode(errors="replace").strip()))
            if not lines[-1].startswith(_ERROR):
                tell(lines[-1])
    return [*lines, words.inert(rest.decode(errors="replace").strip())]


def _complaint(said: Sequence[str]) -> str:
    told = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
    return "\n".join(told) or next((line for line in reversed(said) if line), "")


def short_plan(document: Mapping[str, Any], now: float) -> ShortPlan:
    """What stands in a plan's document, in words; what it lacks or what is new in it is left out.

    `now` is in Unix seconds. Raises FormatError for a document of a later format.
    """
    said = document.get("format")
    if isinstance(said, int) and said > FORMAT:
        raise FormatError(f"The plan has format {said}; this tinychat reads up to {FORMAT}.")
    find = _Finder(document)
    seconds = find.number("duration.total")
    memory, disk = find.number("memory.peak"), find.number("disk.bytes")
    memory_free, disk_free = find.number("memory.available"), find.number("disk.free")
    schedule, rates = _rates(document, find.number("max_steps"))
    advice = document.get("advice")
    return ShortPlan(
        parameters=_parameters(find),
        length=_length(find),
        time=_time(find, seconds),
        ends="" if seconds is None else words.finish_time(seconds, now),
        memory=_of(memory, memory_free),
        memory_share=_share(memory, memory_free),
        disk=_of(disk, disk_free),
        disk_share=_share(disk, disk_free),
        schedule=schedule,
        rates=rates,
        pace=_pace(find),
        computed_on=_computed_on(find),
        advice=tuple(words.inert(str(each)) for each in advice)
        if isinstance(advice, Sequence) and not isinstance(advice, str)
        else (),
    )


class _Finder:
    """Values of a document by their path, "memory.peak"; None for what is not of that kind."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def _value(self, path: str) -> Any:
        value: Any = self._document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def number(self, path: str) -> float | None:
        value = self._value(path)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, path: str) -> str:
        value = self._value(path)
        return words.inert(value) if isinstance(value, str) else ""


def _parameters(find: _Finder) -> str:
    total, embedding = find.number("parameters.total"), find.number("parameters.embedding")
    if total is None:
        return ""
    vocabulary = "" if embedding is None else f", {_whole(embedding)} of them for the vocabulary"
    return f"{_whole(total)}{vocabulary}"


def _length(find: _Finder) -> str:
    steps, tokens = find.number("max_steps"), find.number("tokens")
    epochs, each = find.number("epochs"), find.number("tokens_per_parameter")
    parts = [
        "" if steps is None else words.count(int(steps), "step"),
        "" if tokens is None else f"{words.short(tokens)} tokens",
        "" if epochs is None else f"{epochs:,.2f} passes",
        "" if each is None else f"{each:,.1f} tokens a parameter",
    ]
    return ", ".join(filter(None, parts)) or "as long as the data makes it, and none was given"


def _time(find: _Finder, seconds: float | None) -> str:
    if seconds is None:
        return ""
    low, high = find.number("duration.low"), find.number("duration.high")
    told = words.long_duration(seconds)
    if low is None or high is None:
        return told
    return f"{told} ({words.long_duration(low)} to {words.long_duration(high)})"


def _pace(find: _Finder) -> str:
    seconds, tokens = find.number("seconds_a_step"), find.number("tokens_a_step")
    if not seconds:
        return ""
    rate = "" if tokens is None else f", {words.short(tokens / seconds)} tokens/s"
    return f"{seconds:.3g} s a step{rate}"


def _computed_on(find: _Finder) -> str:
    device, dtype = find.text("computed_on.device"), find.text("computed_on.dtype")
    threads = find.number("computed_on.threads")
    parts = [
        f"{device} in {dtype}" if device and dtype else device or dtype,
        "" if threads is None else words.count(int(threads), "thread"),
    ]
    return ", ".join(filter(None, parts))


def _of(taken: float | None, free: float | None) -> str:
    if taken is None:
        return ""
    return f"{words.size(taken)}{'' if free is None else f' of {words.size(free)} free'}"


def _share(taken: float | None, free: float | None) -> float | None:
    return None if taken is None or free is None else taken / max(free, 1)


def _whole(value: float) -> str:
    return words.number(round(value))


def _rates(document: Mapping[str, Any], steps: float | None) -> tuple[str, tuple[float, ...]]:
    from tinychat.config.load import from_json  # it costs pydantic

    try:
        settings = from_json(document).settings
    except SettingsError:  # of another version
        return "", ()
    optim = settings.optim
    told = f"{optim.schedule}, {optim.learning_rate:g} to {optim.min_learning_rate:g}"
    if steps is None:
        return told, ()
    return told, tuple(planned_rate(settings, int(steps), 0, int(steps), CURVE_POINTS)[1])
