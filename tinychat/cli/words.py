"""Numbers as people read them, every one with its unit, and foreign text made harmless."""

import unicodedata

NOTHING = "–"
_JOINERS = "\u200c\u200d"  # inside many a letter and emoji
# Control, format (bidi too), surrogate, private, unassigned, line and paragraph separators.
_UNPRINTED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def number(value: int) -> str:
    """12,345"""
    return f"{value:,}"


def count(value: int, one: str, many: str | None = None) -> str:
    """1 file, 3 files"""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def size(count: float) -> str:
    """Bytes: 1.2 MB"""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def age(seconds: float | None) -> str:
    """The largest unit of a duration, which is enough for a past thing: 12 s, 3 min, 2 h, 3 d"""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def loss(value: float | None) -> str:
    """Nats per token: 1.234"""
    return NOTHING if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def progress(step: int | None, max_steps: int | None) -> str:
    """250/1,500, or what is known of it"""
    if step is None:
        return NOTHING
    return number(step) if max_steps is None else f"{step:,}/{max_steps:,}"


def clip(text: str, length: int) -> str:
    """At most that many characters, the last one … if any were left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def inert(text: str, keep: str = "") -> str:
    """Words of models and users, without anything that a terminal would obey or that hides.

    Control characters become their pictures (␛), others of that kind their number (<U+202E>);
    characters in `keep` stay as they are.
    """
    return "".join(c if c in keep or is_harmless(c) else _picture(c) for c in text)


def is_harmless(character: str) -> bool:
    """Whether a terminal shows this character as itself."""
    return character in _JOINERS or unicodedata.category(character) not in _UNPRINTED


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"
