"""What a teacher sees and says: a person at a terminal, lines through a pipe, or lines of JSON.

All three say the same, so the talk itself (`teach_loop`) does not know which it is. Through a pipe
each line that comes is one thing said: a prompt, or a key with what belongs to it. Answers go to
stdout, remarks to stderr; as JSON everything goes to stdout, one object a line.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from rich.live import Live
from rich.table import Table
from rich.text import Text

from tinychat.cli.keys import forget_typed, read_key, single_keys
from tinychat.cli.output import print_rows, screen
from tinychat.cli.terminal import Terminal, interruptible, interrupts
from tinychat.words import inert
from tinychat.words import table as table_lines

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import Several

Keys = Mapping[str, str]
"""Each key with the word for what it does."""

YES_NO: Keys = {"y": "yes", "n": "no"}

_FRAME_SECONDS = 0.07  # between two looks of answers that come
_STYLES = {"refused": "yellow", "kept": "green", "asks": "bold", "asks_how": "bold"}
_SIDE_BY_SIDE = 60  # columns that two answers beside each other need


class View(Protocol):
    """How the talk is shown, and how what the teacher says is heard."""

    live: bool
    has_ended: bool  # nothing more will be said: Ctrl+D, or the end of a pipe

    def quiet(self) -> AbstractContextManager[None]:
        """What is typed meanwhile is not shown."""
        ...

    def greet(self, lines: Sequence[str]) -> None: ...

    def tell(self, kind: str, message: str, **facts: Any) -> None:
        """Something that happened; `facts` are for programs."""
        ...

    def hear_prompt(self, suggestion: str | None, before: str, keys: Keys) -> str | None:
        """A typed line, "" for the suggestion; None when the input ends."""
        ...

    def hear_key(self, keys: Keys) -> tuple[str, str] | None:
        """One of the keys and, through a pipe, what stands behind it on its line."""
        ...

    def hear_text(self, label: str) -> str | None:
        """A line, or the lines of a block."""
        ...

    def show_coming(self, several: "Several") -> None:
        """Answers as they come, until all are over; Ctrl+C ends them."""
        ...

    def show(self, texts: Sequence[str]) -> None:
        """Numbered answers that are there already."""
        ...

    def show_pair(self, prompt: str, texts: Sequence[str], names: Sequence[str]) -> None:
        """Two answers beside each other, or below where there is no room."""
        ...

    def show_plan(
        self, rows: Sequence[tuple[str, str]], remarks: Sequence[str], plan: Mapping[str, Any]
    ) -> None:
        """What a training would be: a word and its text a row, and what to know about it."""
        ...


def view_of(as_json: bool) -> View:
    """The one for whoever sits at the other end."""
    terminal = Terminal()
    if as_json:
        return JsonView(terminal)
    return PersonView(terminal) if terminal.live else LineView(terminal)


def ask(view: View, question: str) -> bool:
    """Whether the teacher says yes."""
    view.tell("asks", question)
    heard = view.hear_key(YES_NO)
    return heard is not None and heard[0] == "y"


class PersonView:
    """A terminal with a person: keys are heard without Enter."""

    live = True

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.has_ended = False
        terminal.complete(lambda _: ())  # lines can be edited and remembered

    def quiet(self) -> AbstractContextManager[None]:
        return single_keys()

    def greet(self, lines: Sequence[str]) -> None:
        first, *others = lines
        self._print(Text(first, style="bold"))
        for line in others:
            self._print(Text(line, style="dim"))

    def tell(self, kind: str, message: str, **facts: Any) -> None:
        self._print(Text(message, style=_STYLES.get(kind, "dim")))

    def hear_prompt(self, suggestion: str | None, before: str, keys: Keys) -> str | None:
        print()
        self._print(Text(before, style="dim"))
        if suggestion is not None:
            told = Text("Enter asks: ", style="dim")
            told.append(inert(suggestion))
            self._print(told)
        return self._read("prompt › ", "(q leaves)")

    def hear_key(self, keys: Keys) -> tuple[str, str] | None:
        for line in _key_lines(keys, self._width):
            self._print(line)
        with single_keys():
            while True:
                try:
                    with interruptible():
                        key = read_key()
                except KeyboardInterrupt:
                    told = "(q leaves)" if "q" in keys else "(Ctrl+D leaves)"
                    self._print(Text(told, style="dim"))
                    continue
                if key is None:
                    self.has_ended = True
                    return None
                if key.lower() in keys:
                    return key.lower(), ""

    def hear_text(self, label: str) -> str | None:
        return self._read(f"{label} › ", "(an empty line gives it up)")

    def show_coming(self, several: "Several") -> None:
        live = Live(console=screen(), auto_refresh=False, transient=True)
        with single_keys(), interrupts(several.cancel), live:
            while several.take(_FRAME_SECONDS):
                live.update(_numbered(several.texts, self._width), refresh=True)
        self.show(several.texts)

    def show(self, texts: Sequence[str]) -> None:
        self._print(_numbered(texts, self._width))

    def show_pair(self, prompt: str, texts: Sequence[str], names: Sequence[str]) -> None:
        forget_typed()  # it was not meant for these
        print()
        self._print(Text(inert(prompt), style="bold"))
        if self._width < _SIDE_BY_SIDE:
            self._print(_numbered(texts, self._width, names))
            return
        table = Table(box=None, expand=True, padding=(0, 2, 1, 0), show_edge=False)
        for place, name in enumerate(names):
            title = Text(f"{place + 1}", style="bold cyan")
            title.append(f"  {name}", style="dim")
            table.add_column(title, ratio=1, overflow="fold")
        table.add_row(*(_shown(text) for text in texts))
        self._print(table)

    def show_plan(
        self, rows: Sequence[tuple[str, str]], remarks: Sequence[str], plan: Mapping[str, Any]
    ) -> None:
        print_rows(screen(), [(word, inert(told)) for word, told in rows])
        for remark in remarks:
            self._print(Text(inert(remark), style="yellow"))

    def _read(self, prompt: str, on_interrupt: str) -> str | None:
        while True:
            try:
                with interruptible():
                    said = self._terminal.read(prompt, on_interrupt)
            except KeyboardInterrupt:  # just before or after
                continue
            self.has_ended = said is None
            return said

    @property
    def _width(self) -> int:
        return max(20, screen().width - 1)

    def _print(self, what: Any) -> None:
        screen().print(what, soft_wrap=False, width=self._width)


class LineView:
    """A program at the other end of a pipe."""

    live = False

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.has_ended = False

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def greet(self, lines: Sequence[str]) -> None:
        self._terminal.remark(lines[0])

    def tell(self, kind: str, message: str, **facts: Any) -> None:
        self._terminal.remark(message)

    def hear_prompt(self, suggestion: str | None, before: str, keys: Keys) -> str | None:
        said = self._read()
        if said == "" and suggestion is not None:
            print(f"> {inert(suggestion)}", flush=True)
        return said

    def hear_key(self, keys: Keys) -> tuple[str, str] | None:
        while (said := self._read()) is not None:
            key, _, rest = said.strip().partition(" ")
            if key.lower() in keys:
                return key.lower(), rest
            told = ", ".join(f"{key} {word}" for key, word in keys.items())
            self.tell("refused", f"{inert(said)!r} is none of these: {told}")
        return None

    def hear_text(self, label: str) -> str | None:
        return self._read()

    def show_coming(self, several: "Several") -> None:
        with interrupts(several.cancel):
            while several.take(None):
                pass
        self.show(several.texts)

    def show(self, texts: Sequence[str]) -> None:
        for number, text in enumerate(texts, 1):
            print(f"{number}  " + inert(text, keep="\n\t").replace("\n", "\n   "))
        print(flush=True)

    def show_pair(self, prompt: str, texts: Sequence[str], names: Sequence[str]) -> None:
        print(f"> {inert(prompt)}")
        for place, (text, name) in enumerate(zip(texts, names, strict=True), 1):
            print(f"{place}  {name}  " + inert(text, keep="\n\t").replace("\n", "\n   "))
        print(flush=True)

    def show_plan(
        self, rows: Sequence[tuple[str, str]], remarks: Sequence[str], plan: Mapping[str, Any]
    ) -> None:
        for line in (*table_lines(rows), *remarks):
            self.tell("plan", inert(line))

    def _read(self) -> str | None:
        said = self._terminal.read()
        self.has_ended = said is None
        return said


class JsonView(LineView):
    """The same for a program that wants to be sure: one JSON object a line on stdout.

    `answers` and `pair` are what to judge; whatever else happens has its own `kind`.
    """

    def greet(self, lines: Sequence[str]) -> None:
        self._put("greeting", message=lines[0])

    def tell(self, kind: str, message: str, **facts: Any) -> None:
        self._put(kind, message=message, **facts)

    def hear_prompt(self, suggestion: str | None, before: str, keys: Keys) -> str | None:
        self._put("asks_prompt", suggestion=suggestion, message=before)
        return self._read()

    def hear_key(self, keys: Keys) -> tuple[str, str] | None:
        self._put("asks_key", keys=dict(keys))
        return super().hear_key(keys)

    def hear_text(self, label: str) -> str | None:
        self._put("asks_text", message=label)
        return self._read()

    def show(self, texts: Sequence[str]) -> None:
        self._put("answers", answers=list(texts))

    def show_pair(self, prompt: str, texts: Sequence[str], names: Sequence[str]) -> None:
        self._put("pair", prompt=prompt, answers=list(texts), names=list(names))

    def show_plan(
        self, rows: Sequence[tuple[str, str]], remarks: Sequence[str], plan: Mapping[str, Any]
    ) -> None:
        self._put("plan", **plan)

    def _put(self, kind: str, **facts: Any) -> None:
        sys.stdout.write(json.dumps({"kind": kind, **facts}) + "\n")
        sys.stdout.flush()


def _numbered(texts: Sequence[str], width: int, names: Sequence[str] = ()) -> Table:
    """Answers below each other, each behind its number; one that repeats another says so."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.width = width
    table.add_column(justify="right", width=2, style="bold cyan")
    table.add_column(ratio=1, overflow="fold")
    for place, text in enumerate(texts):
        shown = _shown(text)
        if names:
            shown = Text(f"{names[place]}\n", style="dim") + shown
        elif text and text in texts[:place]:
            shown = Text(f"the same as {texts.index(text) + 1}", style="dim italic")
        table.add_row()
        table.add_row(str(place + 1), shown)
    table.add_row()
    return table


def _shown(text: str) -> Text:
    """An answer as it may reach a terminal."""
    if not text.strip():
        return Text("(nothing)", style="dim italic")
    return Text(inert(text.rstrip("\n"), keep="\n\t"))


def _key_lines(keys: Keys, width: int) -> list[Text]:
    """The keys in as few lines as there is room for; an entry is never broken."""
    lines = [Text()]
    for name, word in _ranges(keys).items():
        entry = Text(name, style="bold cyan")
        entry.append(f" {word}", style="dim")
        if lines[-1] and lines[-1].cell_len + 3 + entry.cell_len > width:
            lines.append(Text())
        lines[-1].append_text(Text("   ") + entry if lines[-1] else entry)
    return lines


def _ranges(keys: Keys) -> dict[str, str]:
    """The same; neighbours with one word become one entry: 1-4."""
    found: dict[str, list[str]] = {}
    for key, word in keys.items():
        found.setdefault(word, []).append(key)
    return {
        (f"{names[0]}-{names[-1]}" if len(names) > 1 else names[0]): word
        for word, names in found.items()
    }
