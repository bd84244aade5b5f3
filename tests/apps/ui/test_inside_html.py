"""What Look inside draws: every token readable, nothing that a model says becomes markup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest

from tinychat.engine import Candidate, TokenDetail
from tinychat.text import CONTROL_TOKENS, END, Tokenizer, train_bpe, train_char
from tinychat_ui import inside_html
from tinychat_ui.inside_html import Piece

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "</span><script>alert(1)</script>", "\"><script>alert(1)</script>", "'><img src=x>",
    "\" onmouseover=\"alert(1)", "' onfocus='alert(1)' autofocus='", "<a href=javascript:alert(1)>",
    "<iframe src=//evil.example>", "<iframe srcdoc='<script>alert(1)</script>'>", "<object data=x>",
    "<embed src=x>", "<form action=//evil.example><input>", "<input autofocus onfocus=alert(1)>",
    "<body onload=alert(1)>", "<base href=//evil.example>", "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=//evil.example>", "<style>*{display:none}</style>",
    "<math><mtext></mtext></math>", "<video><source onerror=alert(1)>", "<audio src onerror=a()>",
    "<details open ontoggle=alert(1)>", "<marquee onstart=alert(1)>", "<select autofocus>",
    "<textarea>", "</textarea><script>a()</script>", "<title>", "</title><script>a()</script>",
    "<noscript><p title='</noscript><img src=x>'>", "<template><script>a()</script></template>",
    "<!--", "--><script>a()</script>", "<![CDATA[<script>a()</script>]]>", "<?xml version='1.0'?>",
    "<!DOCTYPE html>", "&lt;script&gt;", "&#60;script&#62;", "&#x3c;img src=x&#x3e;",
    "&amp;lt;b&gt;", "${alert(1)}", "`${alert(1)}`", "{{value}}", "{{{value}}}",
    "{{#each value}}x{{/each}}", "@children", "\u202e<b>txet desrever", "\u2066<i>\u2069",
    "\u200b<\u200bb>", "\ufeff<b>", "\x00<b>", "\x1b[31m<b>", "<b\x00>", "<scr\x00ipt>",
    "\u2028<b>\u2029", "＜script＞", "<ſcript>", "<img/src=`x`>", "<b>bold</b>",
    "</div></section></body></html>", "<button data-fork=1>", "<p class='tc-button'>",
]  # fmt: skip


@dataclass(frozen=True)
class Element:
    tag: str
    attributes: dict[str, str | None]


class Page(HTMLParser):
    """What a browser would see: the elements, and all text together."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.text = ""
        self.strange: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.strange.append(data)

    def handle_decl(self, decl: str) -> None:
        self.strange.append(decl)

    def handle_pi(self, data: str) -> None:
        self.strange.append(data)

    def unknown_decl(self, data: str) -> None:
        self.strange.append(data)

    def of_class(self, name: str) -> list[Element]:
        return [e for e in self.elements if name in (e.attributes.get("class") or "").split()]


def skeleton(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """The markup alone: each element with the names of its attributes."""
    page = Page(html)
    assert not page.strange
    return [(e.tag, tuple(e.attributes)) for e in page.elements]


def detail(
    token: int, p: float = 0.31, rank: int = 2, candidates: Sequence[Candidate] = ()
) -> TokenDetail:
    return TokenDetail(token, math.log(p), rank, 1.5, tuple(candidates))


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_bpe(["the cat sat on the mat, the dog sat on the log"] * 4, 280)


def whole(pieces: Sequence[Piece]) -> str:
    """Everything that Look inside draws, with these pieces as answer and as candidates."""
    details = [
        detail(piece.id, candidates=[Candidate(one.id, 0.1, 0.0, "top_k") for one in pieces])
        for piece in pieces
    ]
    return (
        inside_html.heat_map(pieces, details, 0)
        + inside_html.candidates(pieces, details, 0, pieces, end=END)
        + inside_html.raw(pieces, pieces)
    )


@pytest.mark.parametrize("payload", HOSTILE)
def test_no_token_becomes_markup(payload: str) -> None:
    harmless = [Piece(9, "a")]
    for pieces in (
        [Piece(9, payload)],
        [Piece(9, name=payload)],
        [Piece(9, payload, part=b"\xf0")],
    ):
        plain = [Piece(9, "a", name="b" if pieces[0].name else "", part=pieces[0].part)]
        # blanks carry a mark of ours: the rest of the markup is what a plain token has
        drawn = [e for e in skeleton(whole(pieces)) if e != ("span", ("class",))]
        assert drawn == [e for e in skeleton(whole(plain)) if e != ("span", ("class",))]
    page = Page(whole([Piece(9, payload), *harmless]))
    allowed = {"div", "span", "section", "h3", "small", "p", "table", "caption", "thead", "tbody"}
    allowed |= {"tr", "th", "td", "button", "strong", "ol", "li", "code"}
    assert {e.tag for e in page.elements} <= allowed
    assert not [n for e in page.elements for n in e.attributes if n.startswith("on") or n == "href"]


def test_a_text_is_shown_as_it_is_with_blanks_marked(bpe: Tokenizer) -> None:
    text = "the  cat\n\n\tsat on"
    pieces = inside_html.spell(bpe, bpe.encode(text))
    html = inside_html.heat_map(pieces, [detail(piece.id) for piece in pieces])
    page = Page(html)
    assert page.text == text
    assert len(page.of_class("inside-space")) == 3
    assert len(page.of_class("inside-newline")) == 2
    assert len(page.of_class("inside-tab")) == 1


def test_a_token_is_a_named_button_and_one_of_them_is_in_the_tab_order(bpe: Tokenizer) -> None:
    pieces = inside_html.spell(bpe, bpe.encode("the cat"))
    details = [detail(piece.id) for piece in pieces]
    for chosen in (None, 1):
        page = Page(inside_html.heat_map(pieces, details, chosen))
        buttons = page.of_class("inside-token")
        assert len(buttons) == len(pieces)
        assert [b.attributes["tabindex"] for b in buttons].count("0") == 1
        assert buttons[chosen or 0].attributes["tabindex"] == "0"
        assert sum("aria-current" in b.attributes for b in buttons) == (chosen is not None)
        assert buttons[0].attributes["role"] == "button"
        assert buttons[0].attributes["aria-label"] == "“the”, p=0.31, rank 2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the", "“the”"), (" the", "“the”"), (" ", "space"), ("  ", "2 spaces"), ("\n", "newline"),
        ("\n\n  ", "2 newlines and 2 spaces"), ("\t", "tab"), ('a"b', "“a\"b”"),
    ],
)  # fmt: skip
def test_a_token_in_words(text: str, said: str) -> None:
    assert inside_html.spoken(Piece(9, text)) == said


def test_a_character_of_many_tokens_is_told_by_the_last(bpe: Tokenizer) -> None:
    ids = bpe.encode("a😀b")
    assert len(ids) == 6  # this vocabulary knows no emoji: four bytes
    pieces = inside_html.spell(bpe, ids)
    assert [piece.text for piece in pieces] == ["a", "", "", "", "😀", "b"]
    assert [piece.part.hex() for piece in pieces] == ["", "f0", "9f", "98", "80", ""]
    assert inside_html.spoken(pieces[1]) == "bytes F0, part of a character"
    assert inside_html.spoken(pieces[4]) == "bytes 80, completes “😀”"
    assert "😀" in inside_html.shown(pieces[4])


def test_broken_bytes_are_shown_as_bytes_and_the_rest_stays_readable(bpe: Tokenizer) -> None:
    smile, letter = bpe.encode("😀"), bpe.encode("b")
    pieces = inside_html.spell(bpe, [*smile[:2], *letter, END, *smile[2:], *letter])
    assert pieces[0].part == b"\xf0"
    assert pieces[2].part == b"b"  # it ends the character that never became one
    assert pieces[2].text.endswith("b")
    assert pieces[-1] == Piece(letter[0], "b")


def test_control_tokens_and_unknown_ids_are_shown_as_such(bpe: Tokenizer) -> None:
    pieces = inside_html.spell(bpe, [0, 3, 4, 99_999, -1])
    assert [piece.name for piece in pieces[:3]] == [CONTROL_TOKENS[i] for i in (0, 3, 4)]
    assert pieces[3].name == pieces[4].name == "not in this vocabulary"
    page = Page(inside_html.raw(pieces, []))
    assert len(page.of_class("inside-control")) == 5
    assert "<|bos|>" in page.text


def test_control_tokens_spelt_by_a_person_are_ordinary_text() -> None:
    tokenizer = train_char(["<|end|> abc"])
    pieces = inside_html.spell(tokenizer, tokenizer.encode("<|end|>"))
    assert not any(piece.name for piece in pieces)
    assert Page(inside_html.raw(pieces, [])).of_class("inside-control") == []


def test_what_was_given_is_no_choice_of_the_model(bpe: Tokenizer) -> None:
    pieces = inside_html.spell(bpe, bpe.encode("the cat sat"))
    assert len(pieces) >= 3
    page = Page(inside_html.heat_map(pieces, [detail(piece.id) for piece in pieces[2:]]))
    assert len(page.of_class("inside-given")) == 2
    assert page.of_class("inside-token")[0].attributes["data-index"] == "2"


@pytest.mark.parametrize(
    ("p", "step"), [(1.0, 0), (0.9, 0), (0.6, 1), (0.3, 2), (0.1, 3), (0.01, 4), (0.0, 4)]
)
def test_the_less_likely_the_thicker(p: float, step: int) -> None:
    assert inside_html.level(p) == step


def test_the_table_tells_what_became_of_each_candidate(bpe: Tokenizer) -> None:
    the, cat, dog = bpe.encode("the"), bpe.encode(" cat"), bpe.encode(" dog")
    listed = [
        Candidate(the[0], 0.5, 0.8, None),
        Candidate(cat[0], 0.2, 0.2, None),
        Candidate(dog[0], 0.1, 0.0, "top_k"),
        Candidate(END, 0.05, 0.0, "temperature"),
    ]
    pieces = inside_html.spell(bpe, the)
    spelt = inside_html.spell(bpe, [one.id for one in listed])
    html = inside_html.candidates(pieces, [detail(the[0], 0.5, 1, listed)], 0, spelt, end=END)
    page = Page(html)
    assert "removed by top-k" in page.text
    assert "removed by temperature 0" in page.text
    assert len(page.of_class("inside-came")) == 1
    forks = [e.attributes["data-fork"] for e in page.of_class("inside-fork")]
    assert forks == [str(cat[0]), str(dog[0])]  # not what came, and nothing follows an end
    assert len(page.of_class("inside-rest")) == 1
    assert "0.15" in page.text  # of all others
    assert {e.tag for e in page.elements} >= {"table", "caption", "thead", "th"}


def test_numbers_that_are_none_do_not_stop_it(bpe: Tokenizer) -> None:
    nan = math.nan
    pieces = inside_html.spell(bpe, bpe.encode("the"))
    broken = TokenDetail(pieces[0].id, nan, 1, nan, (Candidate(pieces[0].id, nan, nan, None),))
    html = inside_html.heat_map(pieces, [broken]) + inside_html.summary([broken])
    assert html + inside_html.candidates(pieces, [broken], 0, pieces, end=END)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.314, "0.31"), (0.0042, "0.0042"), (0.99999, ">0.99"), (1.0, "1"), (0, "0"),
        (1e-9, "<0.0001"),
    ],
)  # fmt: skip
def test_a_probability_never_looks_surer_than_it_is(value: float, text: str) -> None:
    assert inside_html.probability(value) == text
