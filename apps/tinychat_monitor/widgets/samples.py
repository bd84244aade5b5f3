"""What the model writes, beside what it wrote earlier, and what changed between them."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.events import Click
from textual.message import Message

from tinychat import words
from tinychat.runs import Row
from tinychat.watch.details import RunLook
from tinychat.watch.history import Round
from tinychat_monitor.diff import Piece, likeness, word_diff
from tinychat_monitor.keys import bindings
from tinychat_monitor.themes import Colour, state_colours
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.panes import Pane

_CHARACTERS = 4000  # of a sample that are shown
_ROUNDS_BACK = 500  # how far an earlier sample of the same prompt is looked for
_ALIKE = 0.25  # texts that share less are simply different
_SCRUBBER = 20  # columns


class Shown(NamedTuple):
    """Which sample is shown, and the earlier one it is compared with."""

    rounds: int
    round: int  # its place among them
    step: int
    prompts: int
    prompt: int
    sample: Row
    earlier_step: int | None
    earlier: Row | None


def choose(rounds: Sequence[Round], step: int | None, prompt: int) -> Shown | None:
    """The sample at a place: the round of that step or the first after it (None: the newest)."""
    rounds = [each for each in rounds if each.samples]
    if not rounds:
        return None
    place = len(rounds) - 1
    if step is not None:
        place = min(place, bisect_left(rounds, step, key=lambda each: each.step))
    chosen = rounds[place]
    prompt = min(max(0, prompt), len(chosen.samples) - 1)
    sample = chosen.samples[prompt]
    before = _before(rounds[:place], sample, _occurrence(chosen, prompt))
    earlier_step, earlier = before or (None, None)
    return Shown(
        len(rounds), place, chosen.step, len(chosen.samples), prompt, sample, earlier_step, earlier
    )


def compared(old: str, new: str, colour: Colour) -> tuple[Text, Text]:
    """Both texts with what is gone and what is new marked, by sign and by colour: [-gone-] {+new+}.

    Texts that have next to nothing in common are left unmarked.
    """
    pieces = word_diff(old, new)
    if likeness(pieces) < _ALIKE:
        return Text(old), Text(new)
    gone = _marked(pieces, "removed", ("[-", "-]"), colour("red"), "strike")
    added = _marked(pieces, "added", ("{+", "+}"), colour("green"), "bold")
    return gone, added


def sample_text(row: Row) -> str:
    """What the model wrote, harmless and of a length that can be shown."""
    text = str(row.get("text", ""))
    more = len(text) - _CHARACTERS
    shown = words.inert(text[:_CHARACTERS], keep="\n")
    return shown + (f" … {words.count(more, 'more character')}" if more > 0 else "")


class Scrubber(InertText):
    """Where among the rounds a person is; a click goes there."""

    class Moved(Message):
        """A person clicked at this share of the run's rounds, 0 to 1."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    DEFAULT_CSS = """
    Scrubber { height: 1; padding: 0 1; color: $text-muted; }
    """

    def show_place(self, shown: Shown, *, newest: bool, dropped: int = 0) -> None:
        """Draw the place, and how many older samples are not kept."""
        last = max(1, shown.rounds - 1)
        knob = round(shown.round / last * (_SCRUBBER - 1))
        told = (
            f"  step {shown.step:,} · round {shown.round + 1:,}/{shown.rounds:,} · "
            f"prompt {shown.prompt + 1}/{shown.prompts}"
        )
        text = Text.assemble(
            "─" * knob, ("●", "bold"), "─" * (_SCRUBBER - 1 - knob), (told, "bold")
        )
        text.append(" · newest" if newest else "")
        text.append(f" · {words.count(dropped, 'older sample')} not kept" if dropped else "")
        text.no_wrap, text.overflow = True, "ellipsis"
        self.show(text)

    def on_click(self, event: Click) -> None:
        place = event.x - 1  # of the padding
        if 0 <= place < _SCRUBBER:
            self.post_message(self.Moved(place / (_SCRUBBER - 1)))


class Texts(VerticalScroll, inherit_bindings=False):
    """Both texts. Only whole pages scroll by keys: the arrows go through prompts and rounds."""

    ALLOW_MAXIMIZE = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
    ]


class SamplesPane(Pane):
    """Samples: left and right go through the prompts, up and down through the rounds."""

    DEFAULT_CSS = """
    SamplesPane #sample-texts { height: 1fr; scrollbar-size-vertical: 1; }
    SamplesPane #sample-both { height: auto; layout: vertical; }
    SamplesPane .sample { height: auto; width: 1fr; padding: 0 1; }
    SamplesPane #sample-earlier { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("samples")

    def __init__(self) -> None:
        super().__init__("samples")
        self._step: int | None = None  # of the round that is looked at; None follows the newest
        self._prompt = 0
        self._wanted: str | None = None  # a prompt whose sample is to be shown

    def compose(self) -> ComposeResult:
        yield Scrubber("sample-place")
        with Texts(id="sample-texts"), Container(id="sample-both"):
            yield InertText("sample-now", classes="sample")
            yield InertText("sample-earlier", classes="sample")

    def depends_on(self, look: RunLook) -> object:
        rounds = self._rounds()
        self._find_wanted(rounds)
        shown = choose(rounds, self._step, self._prompt)  # most looks find the same one again
        return shown, self._step, look.history.samples_dropped

    def draw(self, look: RunLook) -> None:
        shown = choose(self._rounds(), self._step, self._prompt)
        if shown is None:
            self.query_one("#sample-place", InertText).show("")
            self.query_one("#sample-now", InertText).show("no samples yet: g asks for some")
            self.query_one("#sample-earlier", InertText).show("")
            return
        dropped = look.history.samples_dropped
        self.query_one(Scrubber).show_place(shown, newest=self._step is None, dropped=dropped)
        now, earlier = _texts(shown, state_colours(self.app.current_theme))
        self.query_one("#sample-now", InertText).show(now)
        self.query_one("#sample-earlier", InertText).show(earlier)

    def action_previous_prompt(self) -> None:
        """The prompt before; from the first to the last."""
        self._turn(-1)

    def action_next_prompt(self) -> None:
        """The next prompt; from the last to the first."""
        self._turn(1)

    def action_earlier_round(self) -> None:
        """The round before."""
        self._move(-1)

    def action_later_round(self) -> None:
        """The round after; the newest one follows."""
        self._move(1)

    def action_first_round(self) -> None:
        """The first round."""
        self._go_to(0)

    def action_newest_round(self) -> None:
        """The newest round, and every one that comes."""
        self._step = None
        self.draw_if_open()

    def show_newest_of(self, prompt: str) -> None:
        """The last sample of a prompt in the newest round, as soon as it has been read."""
        self._wanted = prompt
        self.draw_if_open()

    def _find_wanted(self, rounds: Sequence[Round]) -> None:
        prompts = [row.get("prompt") for row in rounds[-1].samples] if rounds else []
        if self._wanted in prompts:
            self._step = None
            self._prompt = len(prompts) - 1 - prompts[::-1].index(self._wanted)
            self._wanted = None

    def on_scrubber_moved(self, message: Scrubber.Moved) -> None:
        message.stop()
        self._go_to(round(message.share * (len(self._rounds()) - 1)))

    def _rounds(self) -> list[Round]:
        if self.seen is None:
            return []
        history = self.seen.history
        with history.lock:
            return [each for each in history.samples if each.samples]

    def _turn(self, by: int) -> None:
        shown = choose(self._rounds(), self._step, self._prompt)
        if shown is not None:
            self._prompt = (shown.prompt + by) % shown.prompts
            self.draw_if_open()

    def _move(self, by: int) -> None:
        shown = choose(self._rounds(), self._step, self._prompt)
        if shown is not None:
            self._go_to(shown.round + by)

    def _go_to(self, place: int) -> None:
        rounds = self._rounds()
        if rounds:
            place = max(0, place)
            self._step = rounds[place].step if place < len(rounds) - 1 else None
            self.draw_if_open()


def _before(rounds: Sequence[Round], sample: Row, nth: int) -> tuple[int, Row] | None:
    """The newest earlier sample of the same prompt: (its step, it)."""
    for each in reversed(rounds[-_ROUNDS_BACK:]):
        same = [row for row in each.samples if row.get("prompt") == sample.get("prompt")]
        if same:
            return each.step, same[min(nth, len(same) - 1)]
    return None


def _occurrence(chosen: Round, prompt: int) -> int:
    """How many samples of the same prompt stand before this one in its round."""
    told = chosen.samples[prompt].get("prompt")
    return sum(row.get("prompt") == told for row in chosen.samples[:prompt])


def _texts(shown: Shown, colour: Colour) -> tuple[Text, Text]:
    """The sample and the earlier one, each under its title, ready to be drawn."""
    prompt = words.inert(str(shown.sample.get("prompt", ""))[:_CHARACTERS], keep="\n")
    title = Text(f"› {prompt}\n", f"bold {colour('cyan')}")
    text = sample_text(shown.sample)
    if shown.earlier is None:
        return Text.assemble(title, text), Text("\nno earlier sample of this prompt", "dim italic")
    old, new = compared(sample_text(shown.earlier), text, colour)
    before = Text(f"step {shown.earlier_step:,}:\n", "bold")
    return Text.assemble(title, new), Text.assemble(before, old)


def _marked(
    pieces: Sequence[Piece], kind: str, signs: tuple[str, str], colour: str, style: str
) -> Text:
    """One of the two texts, its own pieces between signs."""
    text = Text()
    for piece in pieces:
        if piece.kind == "same":
            text.append(piece.text)
        elif piece.kind == kind:
            body = piece.text.strip()
            lead = piece.text[: len(piece.text) - len(piece.text.lstrip())]
            trail = piece.text[len(lead) + len(body) :]
            text.append(lead)
            if body:
                text.append(signs[0], colour)
                text.append(body, f"{style} {colour}")
                text.append(signs[1], colour)
            text.append(trail)
    return text
