"""Text that is drawn as it stands, whatever it says."""

from rich.text import Text
from textual.widgets import Static


class InertText(Static):
    """Text that is never markup, drawn again only when it differs, and hidden while empty."""

    DEFAULT_CSS = """
    InertText { height: auto; padding: 0 1; }
    InertText.-empty { display: none; }
    """

    def __init__(self, id: str | None = None, *, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self.add_class("-empty")
        self.shown = Text()

    def with_text(self, text: Text | str) -> "InertText":
        """The same widget, showing this from the start."""
        self.show(text)
        return self

    def show(self, text: Text | str) -> None:
        """Draw this. A string is taken as it is."""
        text = Text(text) if isinstance(text, str) else text
        self.set_class(not text.plain, "-empty")  # not display, which would overrule the CSS
        if text != self.shown or text.style != self.shown.style:  # == knows text and spans only
            self.shown = text
            self.update(text)
