"""What a person types and sees: lines or blocks in, answers and remarks out.

On a terminal both stand there together; through a pipe only answers go to stdout, and remarks to
stderr.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tinychat.cli.output import screen, tell
from tinychat.words import columns_of, inert

FENCE = "```"


class Terminal:
    """A terminal with a person, or a pipe with a program."""

    def __init__(self) -> None:
        self.live = sys.stdin.isatty() and sys.stdout.isatty()
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]

    def complete(self, words: Callable[[str], Sequence[str]]) -> None:
        """Edit and remember lines, and let the Tab key finish words that `words` knows."""
        try:
            import readline
        except ImportError:  # Windows has none
            return
        readline.set_completer_delims(" ")
        readline.set_completer(lambda text, n: [*words(text), None][n] if text else None)
        # macOS has libedit in its place, which speaks another language
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def read(self, prompt: str = "\nyou › ", on_interrupt: str = "(Ctrl+D leaves)") -> str | None:
        """What is said next: a line, or the lines between two fences. None when the input ends."""
        while True:
            try:
                line = self._line(prompt)
                return "\n".join(self._block()) if line.strip() == FENCE else line
            except EOFError:
                if self.live:
                    print()
                return None
            except KeyboardInterrupt:
                if not self.live:
                    raise
                print(f"\n{on_interrupt}")

    def remark(self, text: str) -> None:
        """Something that no model said."""
        if self.live:
            screen().print(text, style="dim")
        else:
            tell(text)

    def show(self, name: str, before: str, pieces: Iterable[str]) -> None:
        """An answer as it comes, after what it was made to begin with."""
        write = put
        if self.live:
            label = f"{inert(name)} › "
            screen().print(label, style="bold", end="")
            write = Lines(shutil.get_terminal_size().columns - 1, columns_of(label)).put
        try:
            write(before)
            for piece in pieces:
                write(piece)
        finally:
            print(flush=True)

    def _block(self) -> Iterator[str]:
        """Lines up to the closing fence, or to the end of the input."""
        try:
            while (line := self._line("… ")).strip() != FENCE:
                yield line
        except EOFError:
            return

    def _line(self, prompt: str) -> str:
        if self.live:
            return input(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


class Lines:
    """Text that comes in pieces, in lines of at most `width` columns that end between words.

    The first of them begins in column `column`.
    """

    def __init__(self, width: int, column: int = 0) -> None:
        self._width = max(1, width)
        self._column = column
        self._word = ""  # at the end of the line so far

    def put(self, text: str) -> None:
        """Print a piece at once."""
        print("".join(map(self._placed, inert(text, keep="\n\t"))), end="", flush=True)

    def _placed(self, character: str) -> str:
        """What puts the next character in its place."""
        before = ""
        if character == "\t":
            character = " " * (8 - self._column % 8)
        if character == "\n" or (
            character.isspace() and self._column + len(character) > self._width
        ):
            self._column, self._word = 0, ""
            return "\n"
        if self._column + columns_of(character) > self._width:
            before = self._next_line(columns_of(character))
        self._column += columns_of(character)
        self._word = "" if character.isspace() else self._word + character
        return before + character

    def _next_line(self, needed: int) -> str:
        """Take the word that does not fit along, unless it would fill the next line too."""
        taken = columns_of(self._word)
        if taken == self._column or taken + needed > self._width:
            self._column, self._word = 0, ""
            return "\n"
        self._column = taken
        return "\b" * taken + " " * taken + "\n" + self._word


@contextmanager
def interrupts(cancel: Callable[[], None]) -> Iterator[None]:
    """Ctrl+C ends the answer and not the program."""

    def heard(signal_number: int, frame: FrameType | None) -> None:
        cancel()

    before: Any = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within `interrupts`: Ctrl+C raises KeyboardInterrupt, as where something is waited for."""
    before: Any = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def cleared_up() -> Iterator[None]:
    """SIGTERM, or a terminal that is closed, raises SystemExit: what is within clears up. One that
    comes just before a line is waited for is heard after it, or with the next one."""
    numbers = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))  # Windows has one of them

    def heard(signal_number: int, frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # once is enough
        raise SystemExit(128 + signal_number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def put(text: str) -> None:
    """A piece of an answer on stdout, at once, as harmless characters."""
    print(inert(text, keep="\n\t"), end="", flush=True)
