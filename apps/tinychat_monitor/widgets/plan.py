"""The short form of a plan, drawn."""

from rich.text import Text
from textual import events
from textual.theme import Theme

from tinychat import words
from tinychat.watch.plan import ShortPlan
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import Colour, series_colours, state_colours
from tinychat_monitor.widgets.inert import InertText

_NAME_COLUMNS = 12
_BAR_COLUMNS = 16
_MOST_CURVE_COLUMNS = 60
_NARROW = 70  # columns; without bars below that
_TIGHT, _FULL = 0.8, 1.0  # shares of what is free, from which a bar warns


class PlanView(InertText):
    """Rows of name and words, with a bar for each share and the curve of the learning rate."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self._plan: ShortPlan | None = None
        self._heading = ""

    def show_plan(self, plan: ShortPlan | None, heading: str = "") -> None:
        """Draw this one under a heading, or nothing."""
        self._plan, self._heading = plan, heading
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        if self._plan is None:
            self.show("")
            return
        width = max(20, (self.size.width or 80) - 2)
        ascii_only = options_of(self).ascii
        text = plan_text(self._plan, width, self.app.current_theme, ascii_only=ascii_only)
        self.show(Text.assemble((f"{self._heading}\n", "bold"), text) if self._heading else text)


def plan_text(plan: ShortPlan, width: int, theme: Theme, *, ascii_only: bool = False) -> Text:
    """The rows in that many columns; what is not known has no row."""
    colour = state_colours(theme)
    rows = [
        ("parameters", Text(plan.parameters, "bold")),
        ("length", Text(plan.length)),
        ("time", _time(plan, colour)),
        ("memory", _share(plan.memory, plan.memory_share, width, colour)),
        ("disk", _share(plan.disk, plan.disk_share, width, colour)),
        ("LR", _curve(plan, width, theme, ascii_only=ascii_only)),
        ("measured", Text(", ".join(filter(None, (plan.pace, plan.computed_on))))),
    ]
    lines = [
        Text.assemble((f"{name:<{_NAME_COLUMNS}}", "dim"), told) for name, told in rows if told
    ]
    lines += [Text(f"! {sentence}", colour("yellow")) for sentence in plan.advice]
    return Text("\n").join(lines)


def _time(plan: ShortPlan, colour: Colour) -> Text:
    if not plan.time:
        return Text()
    told, _, between = plan.time.partition(" (")
    text = Text.assemble((told, "bold"), f" ({between}" if between else "")
    return text.append(f", done at {plan.ends}") if plan.ends else text


def _share(told: str, share: float | None, width: int, colour: Colour) -> Text:
    """How much of what is free is taken: a bar, and the sizes."""
    if not told or share is None:
        return Text(told)
    name = "red" if share > _FULL else "yellow" if share > _TIGHT else "green"
    text = Text()
    if width >= _NARROW:
        done = min(_BAR_COLUMNS, max(1, round(share * _BAR_COLUMNS)))
        text.append("━" * done, colour(name)).append("─" * (_BAR_COLUMNS - done), "dim").append(" ")
    text.append(told)
    return text.append("  it does not fit", f"bold {colour('red')}") if share > _FULL else text


def _curve(plan: ShortPlan, width: int, theme: Theme, *, ascii_only: bool) -> Text:
    columns = min(_MOST_CURVE_COLUMNS, width - _NAME_COLUMNS - len(plan.schedule) - 2)
    if columns < 8 or not plan.rates:
        return Text(plan.schedule)
    drawn = words.sparkline(plan.rates, columns, ascii=ascii_only, low=0.0)
    return Text.assemble((drawn, series_colours(theme)["lr"]), f"  {plan.schedule}")
