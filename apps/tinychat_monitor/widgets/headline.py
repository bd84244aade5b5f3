"""The three rows that never scroll: what a run is, how far it is, how well it does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.text import Text
from textual.widgets import Static

from tinychat import words
from tinychat.runs import lineage_words
from tinychat.watch.details import RunLook
from tinychat.watch.health import Note, most_urgent_first
from tinychat.watch.overview import Overview
from tinychat.watch.states import ENDED, LIVE, look_of, state_word
from tinychat_monitor.themes import Colour

# an ETA from fewer steps than this is not shown, or shown with ~
_TOO_FEW_STEPS, _FEW_STEPS = 10, 200
_SHORTEST_BAR = 6
_FLAT = 0.003  # a change of the loss smaller than this share is none, nor is one that is noise
_COLOURS = {"alarm": "red", "warning": "yellow", "info": "cyan"}


@dataclass(frozen=True)
class Now:
    """What the screen knows beside the run's files."""

    time: float  # Unix seconds
    asked: Sequence[str] = ()  # commands without an answer yet: "pause…"
    frozen: bool = False
    readonly: bool = False
    eta_seconds: float | None = None  # the last one before a pause


class Part(NamedTuple):
    """A piece of a row. The pieces of the highest rank go first where there is no room."""

    rank: int
    text: str
    style: str = ""


class Headline(Static):
    """Draws `headline`, again only when a row differs."""

    DEFAULT_CSS = """
    Headline { height: auto; background: $panel; padding: 0 1; }
    """

    def __init__(self, id: str = "headline") -> None:
        super().__init__("", id=id, markup=False)
        self.shown = Text()

    def show(self, lines: Sequence[Text]) -> None:
        """Draw these rows."""
        text = Text("\n").join(lines)
        if text != self.shown:
            taller = text.plain.count("\n") != self.shown.plain.count("\n")
            self.shown = text
            self.update(text, layout=taller or not self.size.height)


def headline(look: RunLook, now: Now, width: int, colour: Colour) -> list[Text]:
    """The rows: three, and one more if there is anything to say about the run's health."""
    rows = [
        _identity(look, now, width, colour),
        _progress(look, now, width, colour),
        _numbers(look.overview, width, colour),
    ]
    notes = remarks(look, readonly=now.readonly)
    if notes:
        rows.append(_notes_row(notes, width, colour))
    return rows


def remarks(look: RunLook, *, readonly: bool = False) -> list[Note]:
    """Everything a person should know of a run, the most urgent first."""
    notes = [*_state_notes(look.overview, readonly=readonly), *look.notes, *_reading_notes(look)]
    return most_urgent_first(notes)


def note_text(note: Note, colour: Colour) -> Text:
    """A note as one line: sign, colour and sentence."""
    sign = {"alarm": "✗", "warning": "!", "info": "i"}[note.level]
    bold = "bold " if note.level == "alarm" else ""
    return Text(f"{sign} {words.inert(note.sentence)}", bold + colour(_COLOURS[note.level]))


def fit(left: Sequence[Part], right: Sequence[Part], width: int, gap: int = 2) -> Text:
    """Parts in one row of that width, some at its right end; what has no room is left out."""
    left, right = [p for p in left if p.text], [p for p in right if p.text]
    while _columns([*left, *right], gap) > width and len(left) + len(right) > 1:
        last = max([*left, *right], key=lambda part: part.rank)
        (left if last in left else right).remove(last)
    row = _joined(left, gap)
    if right:
        end = _joined(right, gap)
        row.append(" " * max(gap, width - row.cell_len - end.cell_len))
        row.append_text(end)
    row.truncate(width, overflow="ellipsis" if width > 8 else "crop")
    return row


def trend(losses: Sequence[float]) -> str:
    """Where the loss has been going: "falling", "rising", "flat", or "" if that is not known."""
    third = len(losses) // 3
    if third < 2:
        return ""
    (before, noise), (after, more) = _mean(losses[:third]), _mean(losses[-third:])
    if abs(after - before) <= max(_FLAT * abs(before), 2 * math.hypot(noise, more)):
        return "flat"
    return "falling" if after < before else "rising"


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean of some values, and how far chance moves it."""
    count = len(values)
    mean = math.fsum(values) / count
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values)) / count


def eta_words(look: RunLook, now: Now) -> tuple[str, str]:
    """("ETA 5h12m", "(Sat 17:16)"); empty where there is none."""
    overview = look.overview
    if overview.state == "paused":
        return _eta_when_paused(overview, now)
    seconds, status = overview.eta_seconds, overview.status
    timed = _steps_timed(look)
    if seconds is None or status is None or overview.state not in LIVE or timed < _TOO_FEW_STEPS:
        return "", ""
    about = "~" if timed < _FEW_STEPS else ""
    left = max(0.0, seconds - max(0.0, now.time - status.time))
    ends = words.finish_time(status.time + seconds - now.time, now.time)
    return f"ETA {about}{words.duration(left)}", f"({ends})"


def _eta_when_paused(overview: Overview, now: Now) -> tuple[str, str]:
    """What was left when it paused; it does not run down."""
    seconds, about = now.eta_seconds, ""
    pace = overview.number("step_seconds")
    if seconds is None and None not in (pace, overview.step, overview.max_steps):
        seconds, about = (overview.max_steps - overview.step) * pace, "~"  # type: ignore[operator]
    return ("", "") if seconds is None else (f"{about}{words.duration(seconds)} left", "")


def _steps_timed(look: RunLook) -> int:
    first = look.attempts[-1][1].from_step if look.attempts else 0
    return (look.overview.step or 0) - first


def _identity(look: RunLook, now: Now, width: int, colour: Colour) -> Text:
    overview, share = look.overview, look.history.share
    state_style = f"bold {colour(look_of(overview.state).colour)}"
    left = [
        Part(9, "tinychat", "dim"),
        Part(0, words.clip(words.inert(overview.name), 28), "bold"),
        Part(0, state_word(overview.state).upper(), state_style),
        Part(1, "  ".join(now.asked), f"bold {colour('yellow')}"),
        Part(1, "FROZEN" if now.frozen else "", f"bold reverse {colour('cyan')}"),
        Part(2, f"reading history {100 * share:.0f}%" if share < 1 else "", colour("cyan")),
        Part(3, "[read only]" if now.readonly else "", "dim"),
        Part(6, _device(look)),
        Part(10, lineage_words(look.attempts) if look.attempts else "", "dim"),
    ]
    right = [Part(5, words.clock(now.time)[:5], "dim"), Part(4, _beat(overview), "dim")]
    return fit(left, right, width)


def _device(look: RunLook) -> str:
    device = words.inert(look.attempts[-1][1].device) if look.attempts else ""
    memory = look.overview.number("memory_bytes")
    return f"{device} {words.size(memory) if memory else ''}".strip()


def _beat(overview: Overview) -> str:
    """How long it has been silent. Within two seconds is now, so that a calm screen stays calm."""
    if overview.age_seconds is None:
        return ""
    silent = overview.age_seconds if overview.age_seconds >= 2 else 0.0
    told = words.age(silent)
    return f"beat {told}" if overview.state in LIVE else f"last beat {told} ago"


def _progress(look: RunLook, now: Now, width: int, colour: Colour) -> Text:
    overview = look.overview
    step, most = overview.step, overview.max_steps
    if step is None:
        return Text(words.clip("no step yet", width), "dim")
    share = min(1.0, max(0.0, step / most)) if most and most > 0 else None
    eta, ends = eta_words(look, now)
    if overview.state in ENDED and overview.status is not None:
        eta = f"{overview.state} {_when(overview.status.time, now.time)}"
    parts = [
        Part(0, f"step {words.progress(step, most)}"),
        Part(1, "" if share is None else f"{100 * step // (most or 1)}%"),
        Part(0, eta, "bold"),
        Part(2, ends),
    ]
    room = width - _columns([part for part in parts if part.text], 2) - 2
    if share is None or room < _SHORTEST_BAR:
        return fit(parts, (), width)
    row = Text(f"{parts[0].text}  ")
    row.append_text(_bar(share, room, colour(look_of(overview.state).colour)))
    row.append("  ")
    return row.append_text(fit(parts[1:], (), width - row.cell_len))


def _when(then: float, now: float) -> str:
    """17:16 of today, else the date."""
    told, today = words.moment(then), words.moment(now)[:10]
    return told[11:16] if told[:10] == today else told[:16]


def _bar(share: float, width: int, style: str) -> Text:
    done = math.floor(share * width)
    return Text.assemble(("━" * done, style), ("─" * (width - done), "dim"))


def _numbers(overview: Overview, width: int, colour: Colour) -> Text:
    best, step = _best(overview)
    parts = [
        Part(0, f"loss {overview.loss_word('train_loss')}{_trend_sign(overview)}", "bold"),
        Part(1, _val(overview)),
        Part(3, best),
        Part(2, _old_data(overview)),
        Part(2, _preferences(overview)),
        Part(4, _named("lr", overview.number("learning_rate"), ".2g")),
        Part(5, _named("|g|", overview.number("grad_norm"), ".2f")),
        Part(2, _rate(overview)),
    ]
    if _columns([part for part in parts if part.text], 2) + len(step) <= width:
        parts[2] = Part(3, best + step)
    row = fit(parts, (), width)
    row.highlight_words([words.NOT_FINITE], f"bold {colour('red')}")
    return row


def _trend_sign(overview: Overview) -> str:
    return {"falling": " ▼", "rising": " ▲", "flat": " ="}.get(trend(overview.recent), "")


def _val(overview: Overview) -> str:
    step = None if overview.eval is None else overview.eval.get("step")
    at = f" @{step:,}" if isinstance(step, int) else ""
    return "" if overview.eval is None else f"val {overview.loss_word('val_loss')}{at}"


def _old_data(overview: Overview) -> str:
    """What a fine-tune makes of the data that was learnt before, or how it has changed there."""
    value, rise = overview.evaluated("replay_val_loss"), overview.old_val_loss_rise
    if value is None:
        return "" if rise is None else f"{rise:+.3f} since start"
    return f"old {words.loss(value)}" + ("" if rise is None else f" ({rise:+.3f})")


def _preferences(overview: Overview) -> str:
    margin, share = overview.evaluated("reward_margin"), overview.evaluated("preference_accuracy")
    told = [] if margin is None else [f"margin {margin:+.2f}"]
    return "  ".join(told if share is None else [*told, f"acc {share:.0%}"])


def _best(overview: Overview) -> tuple[str, str]:
    """The best validation loss, and its step, which is left out where there is no room."""
    best = overview.best
    return ("", "") if best is None else (f"best {words.loss(best.val_loss)}", f" @{best.step:,}")


def _rate(overview: Overview) -> str:
    rate = overview.number("tokens_per_second")
    return "" if rate is None else f"{words.short(rate)} tok/s"


def _named(name: str, value: float | None, form: str) -> str:
    return "" if value is None else f"{name} {_short_power(f'{value:{form}}')}"


def _short_power(told: str) -> str:
    """2.4e-04 as 2.4e-4"""
    return told.replace("e-0", "e-").replace("e+0", "e")


def _notes_row(notes: Sequence[Note], width: int, colour: Colour) -> Text:
    more = f" (+{len(notes) - 1} more: 2)" if len(notes) > 1 else ""
    row = note_text(notes[0], colour)
    row.truncate(max(1, width - len(more)), overflow="ellipsis")
    return row.append(more)


def _state_notes(overview: Overview, *, readonly: bool) -> list[Note]:
    """Why it does not go on, and what to do."""
    state, reason = overview.state, overview.reason
    go_on = f"`tinychat resume {overview.name}` goes on" if readonly else "r goes on"
    if state in ("crashed", "failed"):
        at = "" if overview.latest is None else f" from step {overview.latest:,}"
        return [Note("state", "alarm", f"{state.upper()}: {go_on}{at}. {reason}".strip(), None)]
    if state in ("stalled", "other host", "unknown"):
        level = "alarm" if state == "stalled" else "warning"
        return [Note("state", level, f"{state.upper()}: {reason}", None)]
    if state == "stopped":
        return [Note("state", "info", f"Stopped: {go_on}. {reason}".strip(), None)]
    if state == "paused":
        go_on = f"`tinychat control {overview.name} resume` goes on" if readonly else "p goes on"
        return [Note("state", "info", f"Paused: {go_on}.", None)]
    return [Note("state", "info", reason, None)] if reason else []


def _reading_notes(look: RunLook) -> list[Note]:
    """What of the logs could not be read."""
    history, notes = look.history, []
    if history.problem:
        notes.append(Note("reading", "warning", history.problem, None))
    if history.skipped:
        where = f" ({history.skipped_where})" if history.skipped_where else ""
        told = f"{words.count(history.skipped, 'damaged line')} passed over{where}."
        notes.append(Note("reading", "info", told, None))
    return notes


def _columns(parts: Sequence[Part], gap: int) -> int:
    return sum(words.columns_of(part.text) for part in parts) + gap * max(0, len(parts) - 1)


def _joined(parts: Sequence[Part], gap: int) -> Text:
    row = Text()
    for part in parts:
        if row.plain:
            row.append(" " * gap)
        row.append(part.text, part.style)
    return row
