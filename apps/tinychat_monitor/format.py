"""Numbers and foreign text as a person reads them. Numbers carry their units; None is a dash."""

import unicodedata

NOTHING = "–"
_JOINERS = "\u200c\u200d"  # inside many a letter and emoji; harmless


def count(number: int | None) -> str:
    """41250 -> `41,250`."""
    return NOTHING if number is None else f"{number:,}"


def short(number: float | None) -> str:
    """51234 -> `51.2k`: three digits and a size."""
    if number is None:
        return NOTHING
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{letter}"
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"


def progress(step: int, max_steps: int | None) -> str:
    """`1,250/5,000`, or only the steps done where no end is set."""
    return count(step) if max_steps is None else f"{step:,}/{max_steps:,}"


def duration(seconds: float | None) -> str:
    """The two largest units: `42s`, `5m10s`, `5h12m`, `3d4h`. Never negative."""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{second:02d}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minute:02d}m"
    return f"{hours // 24}d{hours % 24}h"


def age(seconds: float | None) -> str:
    """How long ago, in the largest unit only, so that it seldom changes: `3s`, `5m`, `2h`, `9d`."""
    if seconds is None:
        return NOTHING
    whole = max(0, int(seconds))
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{letter}"
    return f"{whole}s"


def loss(value: float | None) -> str:
    """Four digits: `1.842`, `10.83`."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 9.9995 else f"{value:.4g}"


def visible(text: str, *, keep: str = "") -> str:
    """Text from a file with everything made visible that could steer a terminal or hide.

    Control characters become their pictures (`␛`), others of that kind their number; characters
    in `keep` stay as they are.
    """
    return "".join(each if each in keep else _visible(each) for each in text)


def clip(text: str, width: int) -> str:
    """At most `width` characters, the last one `…` if any were left out."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _visible(char: str) -> str:
    kind = unicodedata.category(char)
    if char in _JOINERS or kind not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return char
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    return "␡" if char == "\x7f" else f"<U+{ord(char):04X}>"
