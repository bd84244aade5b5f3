"""What is inside an answer, as HTML: its tokens, what could have come instead, the raw ids.

Pure: from ids and the engine's TokenDetails to text. Whatever a model or a person wrote goes
through `inert` and `escape`, so no word of theirs can become markup, hide, or turn the line round.
"""

import codecs
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from tinychat.words import count, inert

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import Candidate, TokenDetail
    from tinychat.text import Tokenizer

# From how likely the model held a token to how thick the line under it is drawn.
LEVELS = (0.9, 0.5, 0.2, 0.05)
LEVEL_NAMES = ("sure", "likely", "open", "daring", "surprising")
RULES = {
    "temperature": "temperature 0",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
}
_BLANKS = {" ": "space", "\n": "newline", "\t": "tab"}


@dataclass(frozen=True)
class Piece:
    """One token as a person should see it."""

    id: int
    text: str = ""  # whole characters that have become certain with this token
    name: str = ""  # of a control token, which stands for no text
    part: bytes = b""  # its bytes, where they are not whole characters by themselves


def spell(tokenizer: "Tokenizer", ids: Iterable[int]) -> list[Piece]:
    """How each token is spelt. A character that several tokens share is told by the last of them;
    an id that the vocabulary lacks is told as such."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = []
    for token in ids:
        known = 0 <= token < tokenizer.vocab_size
        raw = tokenizer.id_bytes(token) if known else b""
        if not raw:
            name = tokenizer.pieces([token])[0] if known else "not in this vocabulary"
            pieces.append(Piece(token, name=name))
            decoder.reset()
            continue
        amid = bool(decoder.getstate()[0])
        text = decoder.decode(raw)
        whole = not amid and text.encode() == raw
        pieces.append(Piece(token, text) if whole else Piece(token, text, part=raw))
    return pieces


def spoken(piece: Piece) -> str:
    """A token in words, as a screen reader should say it: “the”, newline, 2 spaces, bytes F0 9F."""
    if piece.name:
        return f"control token {inert(piece.name)}"
    if piece.part:
        done = f", completes “{inert(piece.text)}”" if piece.text else ", part of a character"
        return f"bytes {hexadecimal(piece.part)}{done}"
    word = piece.text.strip(" \n\t")
    if word:
        return f"“{inert(word)}”"
    runs = [(blank, len(list(same))) for blank, same in groupby(piece.text)]
    return " and ".join(
        _BLANKS[blank] if length == 1 else count(length, _BLANKS[blank]) for blank, length in runs
    )


def hexadecimal(raw: bytes) -> str:
    """F0 9F 98"""
    return raw.hex(" ").upper()


def shown(piece: Piece) -> str:
    """A token as HTML: blanks visible and preserved, control tokens and bytes set apart."""
    if piece.name:
        return f'<span class="inside-control">{escape(inert(piece.name))}</span>'
    if piece.part:
        whole = f"→{_visible(piece.text)}" if piece.text else ""
        return f'<span class="inside-bytes">{hexadecimal(piece.part)}{whole}</span>'
    return _visible(piece.text)


def level(probability: float) -> int:
    """0 where the model was sure of a token, 4 where it took it by surprise."""
    return next((i for i, least in enumerate(LEVELS) if probability >= least), len(LEVELS))


def heat_map(
    pieces: Sequence[Piece], details: Sequence["TokenDetail"], chosen: int | None = None
) -> str:
    """The answer, each token a button with a line under it: the thicker, the less sure.

    `details` belong to the last so many pieces; those before them were given, not chosen by the
    model. Exactly one token takes part in the page's tab order.
    """
    given = len(pieces) - len(details)
    focus = given if chosen is None else chosen
    tokens = []
    for index, piece in enumerate(pieces):
        if index < given:
            tokens.append(f'<span class="inside-given">{shown(piece)}</span>')
            continue
        detail = details[index - given]
        current = ' aria-current="true"' if index == chosen else ""
        tokens.append(
            f'<span role="button" tabindex="{0 if index == focus else -1}" data-index="{index}" '
            f'class="inside-token inside-level-{level(math.exp(detail.logprob))}"{current} '
            f'aria-label="{escape(label(piece, detail))}">{shown(piece)}</span>'
        )
    return (
        '<div class="inside-answer" role="toolbar" dir="auto" '
        f'aria-label="The answer, {count(len(details), "token")}; arrow keys move, Enter '
        f'chooses">{"".join(tokens)}</div>'
    )


def label(piece: Piece, detail: "TokenDetail") -> str:
    """“the”, p=0.31, rank 2"""
    return f"{spoken(piece)}, {_chance(detail)}"


def probability(value: float) -> str:
    """0.31, 0.0042, <0.0001; never a 1.00 or a 0 that is not one"""
    if value == 0 or value >= 1:
        return "0" if value == 0 else "1"
    if value < 0.0001:
        return "<0.0001"
    if value > 0.995:
        return ">0.99"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _chance(detail: "TokenDetail") -> str:
    told = probability(math.exp(detail.logprob))
    return f"p{told if told[0] in '<>' else f'={told}'}, rank {detail.rank}"


def legend() -> str:
    """What the lines mean, in the same lines."""
    percent = [f"{least:.0%}" for least in LEVELS]
    words = [f"over {percent[0]}"]
    words += [f"{low} to {high}" for high, low in pairwise(percent)]
    words += [f"under {percent[-1]}"]
    items = "".join(
        f'<li><span class="inside-token inside-level-{i}">{name}</span> {word}</li>'
        for i, (name, word) in enumerate(zip(LEVEL_NAMES, words, strict=True))
    )
    return f'<ul class="inside-legend" aria-label="How likely the token was">{items}</ul>'


def summary(details: Sequence["TokenDetail"]) -> str:
    """One line over the whole answer."""
    if not details:
        return ""
    mean = math.fsum(detail.logprob for detail in details) / len(details)
    first = sum(detail.rank == 1 for detail in details)
    return (
        f'<p class="inside-soft">{count(len(details), "token")} · on average like a choice among '
        f"{choices(-mean)} · the likeliest came {first} of {len(details)} times</p>"
    )


def choices(nats: float) -> str:
    """So much entropy, as a number of equally likely tokens: 1.0, 8.2, 310"""
    many = math.exp(min(nats, 50.0))
    return f"{many:.1f}" if many < 99.95 else f"{many:,.0f}"


def candidates(
    pieces: Sequence[Piece],
    details: Sequence["TokenDetail"],
    chosen: int,
    spelt: Sequence[Piece],
    *,
    end: int,
) -> str:
    """What could have stood at one place, before and after the sampling rules.

    `spelt` are the pieces of `details[...].candidates` there, in their order; `end` is the model's
    end token, which no answer can go on from.
    """
    given = len(pieces) - len(details)
    piece, detail = pieces[chosen], details[chosen - given]
    rows = [
        _row(candidate, one, candidate.id == piece.id, candidate.id != end)
        for candidate, one in zip(detail.candidates, spelt, strict=True)
    ]
    if rows:
        rows.append(_rest_row(detail))
    table = (
        '<div class="inside-scroll"><table class="inside-table"><caption>What could have come '
        "here, to the model and after the sampling rules</caption><thead><tr>"
        '<th scope="col">token</th><th scope="col">model</th><th scope="col">after rules</th>'
        '<th scope="col">outcome</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return (
        f'<section class="inside-place" aria-label="Token {chosen + 1}">'
        f'<div class="inside-head"><h3>{shown(piece)} <small>token {chosen + 1} of {len(pieces)}, '
        f"id {piece.id}</small></h3>{_steps(chosen, given, len(pieces))}</div>"
        f'<p class="inside-soft" role="status">{escape(_chance(detail))} · entropy '
        f"{detail.entropy:.2f} nats: as open as a choice among {choices(detail.entropy)} equally "
        "likely tokens</p>"
        f"{table if rows else ''}</section>"
    )


def raw(prompt: Sequence[Piece], answer: Sequence[Piece]) -> str:
    """The exact ids that the model saw and gave, each with its spelling."""
    return (
        f"<h3>Prompt: {count(len(prompt), 'token')}</h3>{_id_list(prompt, 'Prompt')}"
        f"<h3>Answer: {count(len(answer), 'token')}</h3>{_id_list(answer, 'Answer')}"
    )


def _row(candidate: "Candidate", piece: Piece, came: bool, can_fork: bool) -> str:
    if came:
        fate = "<strong>came</strong>"
    else:
        removed = RULES.get(candidate.removed_by or "", "")
        fate = f"<span>removed by {removed}</span>" if removed else "<span>kept</span>"
        if can_fork:
            fate += (
                f' <button type="button" class="tc-button inside-fork" data-fork="{candidate.id}" '
                f'aria-label="Fork here: go on with {escape(spoken(piece))} instead">'
                "Fork here</button>"
            )
    kind = "inside-came" if came else "inside-removed" if candidate.removed_by else ""
    return (
        f'<tr class="{kind}"><th scope="row">{shown(piece)}</th>{_bar(candidate.probability)}'
        f'{_bar(candidate.share)}<td class="inside-fate">{fate}</td></tr>'
    )


def _rest_row(detail: "TokenDetail") -> str:
    before = 1 - math.fsum(one.probability for one in detail.candidates)
    after = 1 - math.fsum(one.share for one in detail.candidates)
    return (
        f'<tr class="inside-rest"><th scope="row">all others</th>{_bar(before)}{_bar(after)}'
        "<td></td></tr>"
    )


def _bar(share: float) -> str:
    """A share as a number, and a bar for the eye."""
    share = min(1.0, share) if share > 1e-9 else 0.0  # what rounding leaves of nothing is nothing
    return (
        f'<td class="inside-share"><span class="inside-bar" style="width:{share:.1%}"></span>'
        f"<span>{probability(share)}</span></td>"
    )


def _steps(chosen: int, first: int, after: int) -> str:
    """Buttons to the tokens beside this one, for fingers."""
    words = ((-1, "previous", "‹", chosen > first), (1, "next", "›", chosen + 1 < after))
    return (
        '<span class="inside-steps">'
        + "".join(
            f'<button type="button" class="tc-button" data-go="{chosen + by}" '
            f'aria-label="{word} token"{"" if there else " disabled"}>{sign}</button>'
            for by, word, sign, there in words
        )
        + "</span>"
    )


def _id_list(pieces: Sequence[Piece], name: str) -> str:
    items = "".join(
        f"<li><span>{shown(piece)}</span><code>{piece.id}</code></li>" for piece in pieces
    )
    return f'<ol class="inside-ids" aria-label="{name}, token by token">{items}</ol>'


def _visible(text: str) -> str:
    """Escaped text in which blanks carry a mark and keep their effect."""
    marked = []
    for character in inert(text, keep="\n\t"):
        if character in _BLANKS:
            marked.append(f'<span class="inside-{_BLANKS[character]}">{character}</span>')
        else:
            marked.append(escape(character))
    return "".join(marked)


def words(text: str) -> str:
    """A sentence of ours, which may name files of others, as HTML."""
    return escape(inert(text))
