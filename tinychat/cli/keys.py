"""Single keys of a terminal: heard at once, without Enter and without being shown."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_END = "\x04"  # Ctrl+D
_ESCAPE = b"\x1b"


@contextmanager
def single_keys() -> Iterator[None]:
    """Keys are not shown meanwhile, and wait for `read_key` one by one. Ctrl+C stays a signal."""
    try:
        import termios
        import tty
    except ImportError:  # Windows hears keys without that
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def forget_typed() -> None:
    """What was typed while something else went on is meant for nothing that is asked now."""
    try:
        import termios
    except ImportError:
        return
    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def read_key() -> str | None:
    """The next key; None if the person leaves (Ctrl+D, or the terminal is gone), "" for one that
    stands for no character. Within `single_keys`."""
    try:
        import msvcrt
    except ImportError:
        return _read_key(sys.stdin.fileno())
    key: str = msvcrt.getwch()  # type: ignore[attr-defined]
    if key in ("\0", "\xe0"):  # the first half of a key without a character
        msvcrt.getwch()  # type: ignore[attr-defined]
        return ""
    if key == "\x03":
        raise KeyboardInterrupt
    return None if key in (_END, "\x1a") else key


def _read_key(fd: int) -> str | None:
    try:
        data = os.read(fd, 1)
    except OSError:  # the terminal is gone
        return None
    if not data or data == _END.encode():
        return None
    if data == _ESCAPE:
        _swallow_sequence(fd)
        return ""
    for _ in range(_bytes_that_follow(data[0])):
        data += os.read(fd, 1)
    return data.decode(errors="replace")


def _bytes_that_follow(first: int) -> int:
    """Of a character in UTF-8."""
    return next((n for n, least in ((3, 0xF0), (2, 0xE0), (1, 0xC0)) if first >= least), 0)


def _swallow_sequence(fd: int) -> None:
    """What an arrow or a function key sends after its escape character."""
    import select

    while select.select([fd], [], [], 0.02)[0]:
        byte = os.read(fd, 1)
        if not byte or (byte.isalpha() and byte != b"O") or byte == b"~":
            return
