"""Our three themes, and the colours of curves, which are the same in every theme of one brightness.

The colours are those of Okabe and Ito, told apart with any kind of colour blindness.
"""

from collections.abc import Callable, Mapping

from textual.theme import Theme

DEFAULT = "tinychat-dark"
Colour = Callable[[str], str]  # from a colour name of states.LOOKS to one of the theme

THEMES = (
    Theme(
        name=DEFAULT,
        primary="#56B4E9", secondary="#7A8CA3", accent="#E69F00", success="#2FBF8F",
        warning="#F0C419", error="#FF6B5E", foreground="#E4E8EE", background="#11151B",
        surface="#171C24", panel="#222934", dark=True,
        variables={"footer-key-foreground": "#56B4E9", "border-blurred": "#3A4454"},
    ),
    Theme(
        name="tinychat-light",
        primary="#0072B2", secondary="#5B6B7E", accent="#B34700", success="#00795A",
        warning="#8F5A00", error="#B3261E", foreground="#1A1F26", background="#FBFBF8",
        surface="#F2F3F0", panel="#E3E6E4", dark=False,
        variables={"footer-key-foreground": "#0072B2", "border-blurred": "#B7BEC6"},
    ),
    Theme(
        name="tinychat-contrast",
        primary="#00E5FF", secondary="#FFFFFF", accent="#FFD400", success="#00FF87",
        warning="#FFD400", error="#FF7A7A", foreground="#FFFFFF", background="#000000",
        surface="#000000", panel="#1C1C1C", dark=True, text_alpha=1.0,
        variables={
            "footer-key-foreground": "#FFD400", "border-blurred": "#C0C0C0",
            "text-muted": "#E0E0E0", "foreground-muted": "#E0E0E0",
            "block-cursor-background": "#FFD400", "block-cursor-foreground": "#000000",
        },
    ),
)  # fmt: skip

_DARK = {
    "train": "#56B4E9",
    "val": "#E69F00",
    "old": "#B39DFF",
    "lr": "#009E73",
    "grad_norm": "#CC79A7",
    "tokens_per_second": "#F0E442",
    "memory": "#D55E00",
}
_LIGHT = {
    "train": "#0072B2",
    "val": "#D55E00",
    "old": "#6A3FB5",
    "lr": "#009E73",
    "grad_norm": "#CC79A7",
    "tokens_per_second": "#000000",
    "memory": "#8A6D00",
}
_RUNS_DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#FFFFFF")
_RUNS_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#8A6D00", "#7A7A7A")
# How states are shown: the colour names of watch.states.LOOKS in this theme.
_STATES_DARK = {
    "green": "#2FBF8F", "cyan": "#56B4E9", "yellow": "#F0C419", "blue": "#8AB4F8",
    "red": "#FF6B5E", "magenta": "#E09AC8",
}  # fmt: skip
_STATES_LIGHT = {
    "green": "#00795A", "cyan": "#00617F", "yellow": "#8F5A00", "blue": "#0057A8",
    "red": "#B3261E", "magenta": "#93327A",
}  # fmt: skip


def series_colours(theme: Theme) -> Mapping[str, str]:
    """The colour of each series by its role ("train", "val", "lr", ...)."""
    return _DARK if theme.dark else _LIGHT


def run_colours(theme: Theme) -> tuple[str, ...]:
    """The colours of runs that are compared, in their order."""
    return _RUNS_DARK if theme.dark else _RUNS_LIGHT


def state_colours(theme: Theme) -> Colour:
    """What the states' colour names ("green") are in a theme, readable on its background."""
    return (_STATES_DARK if theme.dark else _STATES_LIGHT).__getitem__
