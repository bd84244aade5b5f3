from pathlib import Path

import pytest

from tinychat.text.mojibake import Garbled
from tinychat.text.reading import Tally, read_items
from tinychat.text.shapes import PLAIN, Shape


def once_read_as(encoding: str, text: str) -> str:
    """UTF-8 read wrongly; the five bytes that cp1252 lacks stay as they are, as browsers do it."""
    read = (bytes([byte]).decode(encoding, "replace") for byte in text.encode())
    pairs = zip(read, text.encode(), strict=True)
    return "".join(chr(byte) if char == "\ufffd" else char for char, byte in pairs)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("don’t say “no” — please", 4),
        ("café à la crème", 3),
        ("Größe 5 °C, 3 € und £2", 4),
        ("Привет", 1),
        ("日本語", 1),
        ("well 😀", 1),
        ("a → b ✓", 2),
    ],
)
def test_what_was_read_wrongly_is_found_and_mended(encoding: str, text: str, places: int) -> None:
    garbled = Garbled()
    garbled.look("fine\nfine\n" + once_read_as(encoding, text), 10)
    assert (garbled.places, garbled.line) == (places, 12)
    assert garbled.mended in text
    assert garbled.example in once_read_as(encoding, text)
    assert f"should be {garbled.mended}" in str(garbled)


@pytest.mark.parametrize(
    "text",
    [
        "Er macht Spaß», sagte er. »Spaß« … Größe, Äpfel, ÜBER–ÖFFNEN, GROẞ”, Maß – Fuß…",
        "CAFÉ… «\u00a0ÉTÉ\u00a0!\u00a0» À\u00a0Paris, l’été\u00a0: ça va\u00a0? ÂGE, Âge, pâté…",
        "AMANHÃ… MANHÃ” “Amanhã…” não, irmã—, “AÇÃO”, Ângela, ÓRGÃO»",
        "Tiếng Việt: NGÃ” Â… ẤN “ngã”; đã…” bã“ ĐÃ…",
        "Þú ert ð… Það“ Ísland; și â” în…; Ångström – Å» Å“",
        "Привет “мир” — да… 日本語の「テスト」 😀 → ✓",
    ],
)
def test_real_text_is_left_alone(text: str) -> None:
    garbled = Garbled()
    garbled.look(text, 1)
    assert str(garbled) == ""


def test_lost_characters_are_counted() -> None:
    garbled = Garbled()
    garbled.look("a\nb\ufffd\ufffd c\ufffd", 1)
    assert (garbled.lost, garbled.lost_line) == (2, 2)
    assert str(garbled) == "2 places where characters were lost (U+FFFD), the first in line 2"


@pytest.mark.parametrize(
    ("name", "shape"), [("a.txt", PLAIN), ("a.jsonl", Shape("text", "lines", "text"))]
)
def test_only_a_pass_that_counts_looks(
    name: str, shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_text('{"text": "donâ€™t"}\n', encoding="utf-8")
    tally = Tally()
    items = list(read_items(path, shape, tally))
    assert tally.garbled.places == 1
    monkeypatch.delattr(Garbled, "look")
    assert list(read_items(path, shape)) == items
