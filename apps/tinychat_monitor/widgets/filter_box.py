"""A box for a text to filter by, hidden until it is asked for."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input


class FilterBox(Input):
    """Enter keeps the filter, Escape takes it away; both give the focus back.

    Whoever filters listens to Input.Changed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "End", show=False),
        Binding("enter,down", "keep", "Keep", show=False),
    ]
    DEFAULT_CSS = """
    FilterBox { border: none; height: 1; padding: 0 1; background: $boost; display: none; }
    FilterBox:focus { border: none; }
    """

    def __init__(self, placeholder: str, id: str) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self._before: Widget | None = None
        self.can_focus = False  # until it is asked for, or it would swallow every key

    def open(self) -> None:
        """Show it and take the focus."""
        if not self.has_focus:
            self._before = self.screen.focused
        self.display = self.can_focus = True
        self.screen.set_focus(self)  # at once: focus() would let the next key go elsewhere

    def action_give_up(self) -> None:
        """No filter any more."""
        self.value = ""
        self.action_keep()

    def action_keep(self) -> None:
        """Leave the filter as it is."""
        self.display = bool(self.value.strip())
        if self._before is not None and self._before.is_attached:
            self.screen.set_focus(self._before)
        else:
            self.screen.set_focus(None)
        self.can_focus = self.display
