"""What stands behind an answer, as plain text: numbers, probabilities of its tokens, exact ids."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tinychat.cli.talk import Behind
from tinychat.conversations import CUT_OFF, FAILED, Answer
from tinychat.errors import SettingsError
from tinychat.runs import list_runs
from tinychat.words import clip, count, inert, number, table

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import OpenedModel, TokenDetail
    from tinychat.text import Tokenizer

FINISHED = {
    "end": "end token",
    "length": "longest answer reached",
    "context": "context full",
    "stop": "stop text",
    "repetition": "it repeated itself",
    "deadline": "it took too long",
    "cancelled": "stopped by you",
    CUT_OFF: "cut off: the page or server went away",
    FAILED: "cut off: it failed",
}
_PIECE = 16  # characters of a token that are shown
_WORTH_TELLING = 0.005  # probability of what else could have come
_STEPS = 8  # checkpoints of a run that are named


def stats_line(answer: Answer, version: int = 1) -> str:
    """12 tokens · 171 tok/s · first 12 ms · end token · context 61/512"""
    stats = answer.stats
    parts = [count(stats["new_tokens"], "token")]
    if (speed := stats["tokens_per_second"]) is not None:
        parts.append(f"{speed:,.0f} tok/s")
    if (at_once := stats.get("tokens_per_pass") or 1) >= 1.1:
        parts.append(f"{at_once:.1f} tokens a pass")
    if (first := stats["first_token_seconds"]) is not None:
        parts.append(f"first {first * 1000:,.0f} ms")
    parts.append(FINISHED.get(answer.finish_reason, inert(answer.finish_reason)))
    length = stats["context_length"]  # a text that is continued slides on through it
    parts.append(f"context {number(min(stats['context_used'], length))}/{number(length)}")
    if version > 1:
        parts.append(f"version {version}")
    return " · ".join(parts)


def inside_text(behind: Behind | None) -> str:
    """Each token of an answer: how likely it was, its rank, and what else could have come.

    Raises SettingsError for an answer of which that is not known.
    """
    if behind is None:
        raise SettingsError("that answer was not given here; /retry asks for another")
    if not behind.details:
        raise SettingsError("that answer has no tokens")
    rows = [_inside(detail, behind.tokenizer) for detail in behind.details]
    lines = table([("  token", "p", "rank", "likeliest others"), *rows], right=(1, 2))
    if any(each.removed_by for detail in behind.details for each in detail.candidates):
        lines.append("  (in brackets: what the sampling rules took away)")
    return "\n".join(lines)


def raw_text(answer: Answer, behind: Behind | None) -> str:
    """Exactly what the model was shown and what it said: ids, and each as a piece of text."""
    lines = []
    for name, ids in (("shown", answer.prompt_ids), ("said", answer.answer_ids)):
        lines.append(f"{name}, {count(len(ids), 'token')}:")
        if ids:
            lines.append(f"  {' '.join(map(str, ids))}")
        if ids and behind is not None:
            lines.append(f"  {'|'.join(map(inert, behind.tokenizer.pieces(ids)))}")
    return "\n".join(lines)


def models_text(checkpoints: Path, now: "OpenedModel") -> str:
    """The runs there are and the newest steps of each; a star where we are."""
    rows = []
    for reader in list_runs(checkpoints):
        steps = reader.checkpoints()
        here = reader.paths.root.absolute() == now.run.absolute()
        names = [f"{step}{'*' if here and step == now.step else ''}" for step in steps[-_STEPS:]]
        if len(steps) > _STEPS:
            names.insert(0, "…")
        best = reader.best
        told = f"best {best.step}" if best is not None else ""
        rows.append((f"  {inert(reader.name)}", " ".join(names) or "no checkpoint yet", told))
    return "\n".join(table(rows)) if rows else f"there are no runs in {checkpoints}"


def _inside(detail: "TokenDetail", tokenizer: "Tokenizer") -> tuple[str, str, str, str]:
    others = [
        f"({shown})" if each.removed_by else shown
        for each in detail.candidates
        if each.id != detail.id and each.probability >= _WORTH_TELLING
        for shown in [f"{_piece(each.id, tokenizer)} {each.probability:.0%}"]
    ]
    p = f"{math.exp(detail.logprob):.1%}"
    return f"  {_piece(detail.id, tokenizer)}", p, number(detail.rank), " ".join(others)


def _piece(token: int, tokenizer: "Tokenizer") -> str:
    """A token between marks, so that blanks are seen."""
    (piece,) = tokenizer.pieces([token])
    return f"‹{clip(inert(piece), _PIECE)}›"
