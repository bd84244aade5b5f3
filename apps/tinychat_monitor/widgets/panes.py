"""What the panes of the run screen have in common: when to draw, and lines of text that follow."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.text import Text
from textual.containers import Container
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tinychat.watch.details import RunLook


class Pane(Container):
    """One pane: `show` hands it every look, and it draws only while a person sees it."""

    DEFAULT_CSS = """
    Pane { width: 1fr; height: 1fr; }
    """
    ALLOW_MAXIMIZE = True

    def __init__(self, name: str) -> None:
        super().__init__(id=f"pane-{name}", classes="pane")
        self.seen: RunLook | None = None
        self._made_from: object = None

    def show(self, look: RunLook) -> None:
        """Keep the look, and draw it if this pane is open."""
        self.seen = look
        self.draw_if_open()

    def draw_if_open(self) -> None:
        """Draw what was last seen, unless the pane is hidden or shows it already."""
        if self.seen is None or not self.display or not self.is_mounted:
            return
        made_from = (self.app.theme, self.depends_on(self.seen))
        if made_from != self._made_from:
            self._made_from = made_from
            self.draw(self.seen)

    def depends_on(self, look: RunLook) -> object:
        """What decides how this pane looks; it is drawn again when that has changed."""
        raise NotImplementedError

    def draw(self, look: RunLook) -> None:
        """Draw it."""
        raise NotImplementedError

    def take_focus(self) -> None:
        """Give the focus to whatever in this pane takes keys."""
        for widget in [self, *self.query("*")]:
            if widget.focusable:
                self.screen.set_focus(widget, scroll_visible=False)  # at once, unlike focus()
                return


class Lines(ScrollView, can_focus=True):
    """Lines that grow at the end: wrapped, scrollable, following while the end is in view.

    Only lines that are new are made ready; those that have left at the beginning are dropped.
    """

    DEFAULT_CSS = """
    Lines {
        height: 1fr; overflow-x: hidden; overflow-y: auto;
        scrollbar-size-vertical: 1; scrollbar-gutter: stable;
    }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[Text] = []
        self._ready: list[list[Strip]] = []  # the rows of each line
        self._rows: list[Strip] = []
        self._width = 0
        self._follows = True  # the end is in view

    def show(self, lines: Sequence[Text]) -> None:
        """Draw these lines instead of those before."""
        gone = _gone(self._shown, lines)
        if not gone and len(lines) == len(self._shown):
            return
        kept = len(self._shown) - gone
        self._ready[:gone] = []
        self._ready += [self._wrapped(line) for line in lines[kept:]]
        self._shown = list(lines)
        self._lay_out()

    def on_resize(self) -> None:
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            self._ready = [self._wrapped(line) for line in self._shown]
            self._lay_out()
        elif self._follows:
            self._to_end()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._follows = self.is_vertical_scroll_end

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        strip = self._rows[row] if row < len(self._rows) else Strip.blank(0)
        return strip.extend_cell_length(self._width).apply_style(self.rich_style)

    def _lay_out(self) -> None:
        follows = self._follows
        self._rows = [row for rows in self._ready for row in rows]
        self.virtual_size = Size(self._width, len(self._rows))
        if follows:
            self._to_end()
        self.refresh()

    def _to_end(self) -> None:
        self._follows = True
        self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _wrapped(self, line: Text) -> list[Strip]:
        width = self._width - 2  # a column free at each side
        if width < 1:
            return []
        console = self.app.console
        rows = [line] if line.cell_len <= width else line.wrap(console, width)
        margin = Segment(" ")
        return [Strip([margin, *row.render(console)]) for row in rows]


def _gone(old: Sequence[Text], new: Sequence[Text]) -> int:
    """How many of the first lines have left, if the others are now followed by more lines."""
    return next(gone for gone in range(len(old) + 1) if old[gone:] == list(new[: len(old) - gone]))
