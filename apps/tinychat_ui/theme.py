"""How the page looks and moves: Gradio's theme over our own colours, and the scripts beside it.

The colours themselves stand in `page.css`, once for light and once for dark. No font is loaded:
the system's own are used.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base

_HERE = Path(__file__).parent
STYLES = sorted(_HERE.glob("*.css"), key=lambda path: (path.name != "page.css", path.name))

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "Consolas", "monospace"]


def script(*names: str) -> str:
    """What a component of ours runs when it appears: `core.js` and the scripts of these names.

    Together in one piece, because Gradio promises no order between the page's scripts and its
    components.
    """
    parts = [(_HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("core", *names)]
    return "\n".join(parts)


def component(*drawn_by: str, value: Any = None, **properties: Any) -> gr.HTML:
    """A component that its scripts draw, from a JSON value that the server sends."""
    return gr.HTML(
        value={} if value is None else value,
        html_template="",
        apply_default_css=False,
        js_on_load=script(*drawn_by),
        **properties,
    )


def theme() -> Base:
    """Gradio's components in our colours."""
    return Base(font=_SANS, font_mono=_MONO, radius_size="md").set(
        **_both(
            body_background_fill="var(--tc-bg)",
            body_text_color="var(--tc-text)",
            body_text_color_subdued="var(--tc-soft)",
            background_fill_primary="var(--tc-panel)",
            background_fill_secondary="var(--tc-sunk)",
            border_color_primary="var(--tc-line)",
            border_color_accent="var(--tc-accent)",
            color_accent_soft="var(--tc-tint)",
            link_text_color="var(--tc-accent)",
            link_text_color_hover="var(--tc-accent)",
            link_text_color_visited="var(--tc-accent)",
            link_text_color_active="var(--tc-accent)",
            block_background_fill="var(--tc-panel)",
            block_border_color="var(--tc-line)",
            block_label_background_fill="var(--tc-panel)",
            block_label_text_color="var(--tc-soft)",
            block_title_text_color="var(--tc-text)",
            block_info_text_color="var(--tc-soft)",
            panel_background_fill="var(--tc-panel)",
            panel_border_color="var(--tc-line)",
            input_background_fill="var(--tc-sunk)",
            input_background_fill_focus="var(--tc-sunk)",
            input_border_color="var(--tc-line)",
            input_border_color_focus="var(--tc-accent)",
            input_placeholder_color="var(--tc-soft)",
            button_primary_background_fill="var(--tc-accent)",
            button_primary_background_fill_hover="var(--tc-accent-hover)",
            button_primary_text_color="var(--tc-on-accent)",
            button_primary_border_color="var(--tc-accent)",
            button_secondary_background_fill="var(--tc-panel)",
            button_secondary_background_fill_hover="var(--tc-sunk)",
            button_secondary_text_color="var(--tc-text)",
            button_secondary_border_color="var(--tc-line)",
            button_cancel_background_fill="var(--tc-panel)",
            button_cancel_text_color="var(--tc-bad)",
            button_cancel_border_color="var(--tc-line)",
            checkbox_background_color="var(--tc-sunk)",
            checkbox_background_color_selected="var(--tc-accent)",
            checkbox_border_color="var(--tc-edge)",
            checkbox_border_color_selected="var(--tc-accent)",
            checkbox_label_background_fill="var(--tc-panel)",
            checkbox_label_background_fill_selected="var(--tc-tint)",
            checkbox_label_text_color_selected="var(--tc-text)",
            slider_color="var(--tc-accent)",
            table_even_background_fill="var(--tc-panel)",
            table_odd_background_fill="var(--tc-sunk)",
            table_border_color="var(--tc-line)",
            error_background_fill="var(--tc-panel)",
            error_text_color="var(--tc-bad)",
            error_border_color="var(--tc-bad)",
            code_background_fill="var(--tc-sunk)",
            accordion_text_color="var(--tc-text)",
        ),
        block_radius="10px",
        container_radius="10px",
        input_radius="8px",
        table_radius="8px",
        checkbox_border_radius="4px",
        button_large_radius="8px",
        button_medium_radius="8px",
        button_small_radius="8px",
        block_shadow="none",
        button_primary_shadow="none",
        button_secondary_shadow="none",
    )


def _both(**values: str) -> dict[str, str]:
    """The same for light and dark: our colours change by themselves."""
    return values | {f"{name}_dark": value for name, value in values.items()}
