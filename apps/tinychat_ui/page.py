"""The page: what it will be, what there is to talk to, and how to do that today."""

from pathlib import Path

import gradio as gr

from tinychat.runs import RunReader, list_runs, true_state

ABOUT = """# tinychat

This page will be the web chat: any checkpoint of any run, also while it trains. **It is not built
yet**, and nothing here pretends to be it. Until then your models talk in the terminal:

    tinychat chat RUN
    tinychat generate RUN --prompt "Hello"
"""
COLUMNS = ["run", "state", "step", "best val_loss (nats per token)", "talk to it"]


def build_page(checkpoints: Path) -> gr.Blocks:
    """The page over a folder of runs; the list is read again each time it is opened."""
    with gr.Blocks(title="tinychat", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        gr.Markdown(f"## Runs in `{checkpoints}`")
        table = gr.Dataframe(headers=COLUMNS, interactive=False, show_label=False)
        page.load(
            lambda: [row(run) for run in list_runs(checkpoints)],
            outputs=table,
            api_visibility="private",
        )
    return page


def row(run: RunReader) -> list[str]:
    """One run as a line of the table."""
    status = run.status
    state = true_state(status).state if status else "starting"
    best = run.best
    return [
        run.name,
        state,
        f"{status.step:,} of {status.max_steps:,}" if status and status.max_steps else "",
        f"{best.val_loss:.4f} at step {best.step:,}" if best else "",
        f"tinychat chat {run.name}",
    ]
