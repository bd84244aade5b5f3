"""Finds text whose encoding was once mistaken, so that it reads `donâ€™t` or `don�t` for `don’t`.

The former is UTF-8 that was read as Latin-1 or cp1252; it can be mended. Of it only what real text
in any language does not hold counts, so a place or two may be overlooked. The latter is lost.
"""

import re

_CP1252 = {  # what cp1252 makes of the bytes 80 to 9F; Latin-1 leaves them control characters
    chr(code): byte
    for byte in range(0x80, 0xA0)
    for code in [ord(bytes([byte]).decode("cp1252", "replace"))]
    if code != 0xFFFD
}
_FOLLOWS = "[\x80-\xbf" + "".join(_CP1252) + "]"
_SEQUENCE = f"(?:[\xc2-\xdf]{_FOLLOWS}|[\xe0-\xef]{_FOLLOWS}{{2}}|[\xf0-\xf4]{_FOLLOWS}{{3}})"
_RUN = re.compile(f"{_SEQUENCE}+")
_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")  # NEL aside, no text holds them
# The UTF-8 of a first character of a sequence, and of what may be the next.
_MAY_BE = re.compile(rb"\xc3[\x82-\xb4][\xc2\xc5\xc6\xcb\xe2]")
_LOST = re.compile("\ufffd+")
# Quotation marks and dashes, the euro, trade mark, arrows, mathematics, ticks.
_SIGN = re.compile("[\u2010-\u203f€™\u2180-\u22ff\u2700-\u27bf]")
_SHOWN = 24  # characters of an example on either side


class Garbled:
    """Adds up the places of one file, and keeps the first as an example."""

    def __init__(self) -> None:
        self.places = 0
        self.line = 0
        self.example = ""
        self.mended = ""
        self.lost = 0
        self.lost_line = 0

    def look(self, text: str, line: int, *, over_lines: bool = True) -> None:
        """Look at a text that begins at this line of the file, and goes over its lines or (as
        records do, however many line ends their text has) stands in it whole."""
        if text.isascii():
            return
        found = _MAY_BE.search(text.encode("utf-8", "surrogatepass"))
        if found is None and "\ufffd" not in text:
            return  # told ten times as fast as by looking at characters
        for match in _LOST.finditer(text):
            self.lost += 1
            if self.lost == 1:
                self.lost_line = line + over_lines * text.count("\n", 0, match.start())
        for match in _RUN.finditer(text):
            mended = _mended(match)
            if mended is None:
                continue
            self.places += 1
            if self.places == 1:
                self.line = line + over_lines * text.count("\n", 0, match.start())
                self._keep(text, match, mended)

    def _keep(self, text: str, match: re.Match[str], mended: str) -> None:
        before = re.split(r"\s", text[max(match.start() - _SHOWN, 0) : match.start()])[-1]
        after = re.split(r"\s", text[match.end() : match.end() + _SHOWN])[0]
        self.example = f"{before}{match[0]}{after}"
        self.mended = f"{before}{mended}{_RUN.sub(lambda m: _mended(m) or m[0], after)}"

    def __str__(self) -> str:
        """A sentence for a person; empty if nothing was found."""
        told: list[str] = []
        if self.places:
            told.append(
                f"{_places(self.places)} of UTF-8 once read as another encoding, the first in line "
                f"{self.line}: {self.example} should be {self.mended}"
            )
        if self.lost:
            told.append(
                f"{_places(self.lost)} where characters were lost (U+FFFD), the first in line "
                f"{self.lost_line}"
            )
        return "; ".join(told)


def _places(count: int) -> str:
    return f"{count:,} places" if count > 1 else "1 place"


def _mended(match: re.Match[str]) -> str | None:
    """What a run was before; None where it may be meant as it stands."""
    run = match[0]
    try:
        mended = bytes(_CP1252.get(char, ord(char)) for char in run).decode("utf-8")
    except ValueError:
        return None
    if any("\x80" <= char <= "\x9f" for char in mended):
        return None
    if _CONTROLS.search(run) or len(mended) >= 3 or mended[0] >= "\U00010000":
        return mended
    # One or two sequences: `“Spaß»` and `É…` are good text, `â€œ` and `Ã©` are not.
    if all(_SIGN.match(char) for char in mended):
        return mended
    before = match.string[match.start() - 1 : match.start()]
    return mended if run[0] in "ÂÃ" and not before.isupper() else None
