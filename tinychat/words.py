"""Numbers, times and foreign text as people read them: in a line, in columns, as JSON.

Every number has its unit, and what is not known is a dash. Nothing that comes from a file or a
model reaches a terminal but through `inert`.
"""

import itertools
import json
import math
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

NOTHING = "–"
NOT_FINITE = "NaN/∞"
_DEEPEST = 100  # of nested JSON
_JOINERS = "\u200c\u200d"  # inside many a letter and emoji
# Control, format (bidi too), surrogate, private, unassigned, line and paragraph separators.
_UNPRINTED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_SPARKS = ("▁▂▃▄▅▆▇█", "_.:-=+*#")
_ASCII = str.maketrans(
    {
        **dict.fromkeys("─╌┄┈╴╶‾▔▁", "-"),
        **dict.fromkeys("━═╸╺╾╼", "="),  # the done part of a bar
        **dict.fromkeys("│┃║╎┆┊╵╷╹╻▏▕▎▍▌▐", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋▗▖▝▘", "+"),
        **dict.fromkeys("█▉▊▋▇▆▅▓", "#"),
        **dict.fromkeys("▄▃▂▀▒░", "="),
        **dict.fromkeys(map(chr, range(0x2801, 0x2900)), "*"),  # braille
        "▲": "^", "▼": "v", "↑": "^", "↓": "v", "←": "<", "→": ">", "▶": ">", "◀": "<",
        "●": "*", "○": "o", "⭘": "o", "◆": "*", "■": "#", "‖": "=", "✓": "+", "✗": "x", "×": "x",
        "·": "-", "•": "*", "…": "~", "–": "-", "—": "-", "∞": "i", "›": ">", "‹": "<",
        "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2800": " ",
    }
)  # fmt: skip


def number(value: int | None) -> str:
    """12,345"""
    return NOTHING if value is None else f"{value:,}"


def count(value: int, one: str, many: str | None = None) -> str:
    """1 file, 3 files"""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def short(value: float | None) -> str:
    """Three digits and a power of a thousand: 7, 0.25, 51.2k, 1.50G"""
    if value is None:
        return NOTHING
    for power, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= power * 0.9995:
            digits = abs(value) / power
            places = 2 if digits < 9.995 else 1 if digits < 99.95 else 0
            return f"{value / power:.{places}f}{letter}"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def size(count: float | None) -> str:
    """Bytes: 999 B, 1.2 MB"""
    if count is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def loss(value: float | None) -> str:
    """Nats per token, four digits: 1.842, 10.83"""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return NOT_FINITE
    return f"{value:.3f}" if abs(value) < 9.9995 else f"{value:.4g}"


def signed(size: str, value: float) -> str:
    """The words of a size with the value's sign, where anything of it is left: +0.12, 0.000"""
    if not size.strip("0."):
        return size
    return f"{'-' if value < 0 else '+'}{size}"


def progress(step: int | None, max_steps: int | None) -> str:
    """250/1,500, or what is known of it"""
    return number(step) if step is None or max_steps is None else f"{step:,}/{max_steps:,}"


def duration(seconds: float | None) -> str:
    """The two largest units, for tables and headlines: 42s, 5m10s, 5h12m, 3d4h. Never negative."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def long_duration(seconds: float) -> str:
    """The same for sentences: 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h"""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def age(seconds: float | None) -> str:
    """How long ago, in the largest unit only, so that it seldom changes: 3s, 5m, 2h, 9d"""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = max(0, int(seconds))
    for length, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= length:
            return f"{whole // length}{letter}"
    return f"{whole}s"


def clock(time: float | None) -> str:
    """Unix seconds as the local time of day: 17:16:05"""
    return _local(time, "%H:%M:%S")


def moment(time: float | None) -> str:
    """Unix seconds as a local date and time: 2026-05-23 17:16:05"""
    return _local(time, "%Y-%m-%d %H:%M:%S")


def finish_time(seconds: float | None, now: float) -> str:
    """When something that takes so long from `now` (Unix seconds) ends: 17:16, Sat 17:16, or
    from a week on 2026-05-23."""
    if seconds is None:
        return NOTHING
    today, day = _local(now, "%Y-%m-%d"), _local(now + seconds, "%Y-%m-%d")
    if day == today:
        return _local(now + seconds, "%H:%M")
    return _local(now + seconds, "%a %H:%M") if seconds < 6 * 86400 else day


def sparkline(
    values: Sequence[float], width: int, *, ascii: bool = False, low: float | None = None
) -> str:
    """The course of some numbers in one line, each sign the mean of its share of them.

    At most `width` signs; values that are not finite are left out. The lowest sign stands for the
    least of them, or for `low`, which none is below.
    """
    values = [value for value in values if math.isfinite(value)]
    means = shares(values, width)
    if not means:
        return ""
    low, high = min(means) if low is None else low, max(means)
    signs = _SPARKS[ascii]
    scale = (len(signs) - 1) / (high - low) if high > low else 0.0
    return "".join(signs[round((value - low) * scale)] for value in means)


def shares(values: Sequence[float], most: int) -> list[float]:
    """At most so many numbers: the means of equal shares of `values`, in their order."""
    n = min(most, len(values))
    if n <= 0:
        return []
    edges = [len(values) * i // n for i in range(n + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def clip(text: str, length: int) -> str:
    """At most that many characters, the last one … if any were left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def inert(text: str, keep: str = "") -> str:
    """Words of models and users, without anything that a terminal would obey or that hides.

    Control characters become their pictures (␛), others of that kind their number (<U+202E>);
    characters in `keep` stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or is_harmless(c) else _picture(c) for c in text)


def is_harmless(character: str) -> bool:
    """Whether a terminal shows this character as itself."""
    return character in _JOINERS or unicodedata.category(character) not in _UNPRINTED


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def to_ascii(text: str, columns_of: Callable[[str], int] = columns_of) -> str:
    """The same in ASCII, as many columns wide: our signs by ones like them, the rest by ?."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else "?" * columns_of(c) for c in text.translate(_ASCII))


def first_places(places: Sequence[str], number: int, most: int = 5) -> str:
    """Where the first of so many are: a.jsonl:12, a.jsonl:40, …"""
    return ", ".join(places[:most]) + (", …" if number > len(places[:most]) else "")


def with_places(number: int, what: str, places: Sequence[str], most: int = 5) -> str:
    """So many of something, and where the first of them are: 3 torn (a.jsonl:12, a.jsonl:40, …)"""
    return f"{number:,} {what}" + (f" ({first_places(places, number, most)})" if places else "")


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns; columns in `right` are written towards the right."""
    if not rows:
        return []
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - columns_of(cell))
            cells.append(space + cell if place in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def json_text(document: Any, *, ascii: bool = False) -> str:
    """JSON that reads well and that a terminal can show: unprintable characters are escaped, with
    `ascii` all beyond ASCII. Null stands for numbers that are not finite, and for what is nested
    too deep.
    """
    text = json.dumps(_finite(document), ensure_ascii=ascii, allow_nan=False, indent=2)
    return "".join(c if c == "\n" or is_harmless(c) else _escaped(c) for c in text)


def _local(time: float | None, form: str) -> str:
    if time is None:
        return NOTHING
    try:
        return datetime.fromtimestamp(time).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"


def _columns_of(character: str) -> int:
    if character in _JOINERS or unicodedata.category(character) in ("Mn", "Mc", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


def _finite(value: Any, depth: int = 0) -> Any:
    if (isinstance(value, float) and not math.isfinite(value)) or depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {key: _finite(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each, depth + 1) for each in value]
    return value


def _escaped(character: str) -> str:
    escaped = json.dumps(character)[1:-1]
    return escaped if escaped != character else f"\\u{ord(character):04x}"
