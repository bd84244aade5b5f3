"""What the panes of the run screen have in common: when to draw, and lines of text that follow."""

from collections.abc import Sequence

from rich.text import Text
from textual.containers import Container
from textual.dom import DOMNode
from textual.events import Resize
from textual.widgets import RichLog

from tinychat.watch.details import RunLook
from tinychat_monitor.themes import state_colour


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
                widget.focus(scroll_visible=False)
                return


class Lines(RichLog):
    """Lines that grow at the end: wrapped, scrollable, following while the end is in view."""

    DEFAULT_CSS = """
    Lines { background: transparent; height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    """

    def __init__(self) -> None:
        super().__init__(wrap=True, markup=False, highlight=False, min_width=1)
        self._shown: list[Text] = []
        self._drawn_width = 0

    def show(self, lines: Sequence[Text]) -> None:
        """Draw these lines; those that are drawn already stay as they are."""
        new = list(lines)
        if new == self._shown:
            return
        gone = _lines_gone(self._shown, new)
        follow = self.is_vertical_scroll_end
        if gone:  # what has left at the beginning takes a fresh start
            self._redraw(new, follow=follow)
        else:
            self._append(new[len(self._shown) :], follow=follow)
        self._shown = new

    def on_resize(self, event: Resize) -> None:
        if self.size.width != self._drawn_width:
            self._drawn_width = self.size.width
            self._redraw(self._shown, follow=True)

    def _redraw(self, lines: Sequence[Text], *, follow: bool) -> None:
        place = self.scroll_offset.y
        self.clear()
        self._append(lines, follow=follow)
        if not follow:
            self.scroll_to(y=place, animate=False)

    def _append(self, lines: Sequence[Text], *, follow: bool) -> None:
        for line in lines:
            self.write(line, scroll_end=False)
        if follow:
            self.scroll_end(animate=False, immediate=False, x_axis=False)


def _lines_gone(old: Sequence[Text], new: Sequence[Text]) -> bool:
    """Whether `new` is more than `old` with lines added at its end."""
    return len(new) < len(old) or list(new[: len(old)]) != list(old)


def colour_of(node: DOMNode, name: str) -> str:
    """What a colour name of states.LOOKS is in the theme of the screen."""
    return state_colour(node.app.current_theme, name)
