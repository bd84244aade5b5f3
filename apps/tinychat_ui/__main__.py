"""`tinychat-ui`: flags first, so that `--help` never waits for gradio or torch."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinychat.errors import SettingsError, TinychatError
from tinychat.threads import share_cores

if TYPE_CHECKING:  # it imports torch
    from tinychat.server import Place

TOKEN_VARIABLE = "TINYCHAT_TOKEN"
_EPILOG = (
    "Without RUN the newest run is opened, and others can be chosen on the page; in place of a run "
    "without a step answers what was accepted last of all that it was taught to be. Only this "
    "machine can reach it; another --host needs a token, which is better given in "
    f"${TOKEN_VARIABLE}, where other users of the machine cannot see it."
)


def main(arguments: list[str] | None = None) -> int:
    """Serve the page and the API until interrupted; returns the exit code."""
    given = _parser().parse_args(arguments)
    share_cores()
    try:
        _serve(given)
    except TinychatError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _serve(given: argparse.Namespace) -> None:
    from tinychat.runs import default_checkpoints, find_model, is_foreign

    checkpoints: Path = given.checkpoints or default_checkpoints()
    first = given.checkpoint or given.run
    if given.checkpoint and given.run:
        raise SettingsError("RUN and --checkpoint say the same; please give one of them.")
    if first is not None:  # a wrong name is told before anything slow begins
        run, step = find_model(first, checkpoints)
        if run.absolute().parent != checkpoints.absolute() or is_foreign(run):
            first = str(Path(first).absolute() if os.sep in first else run.absolute())
        elif os.sep in first:  # "checkpoints/demo@best" is demo@best
            _, at, which = Path(first).name.rpartition("@")
            which = which if at and which in ("best", "latest") else step
            first = run.name if which is None else f"{run.name}@{which}"
    token = given.token if given.token is not None else os.environ.get(TOKEN_VARIABLE) or None
    print("tinychat-ui is starting …", file=sys.stderr, flush=True)
    _keep_quiet()

    from tinychat.config import RuntimeSettings
    from tinychat.conversations import Conversations, Feedback, Teaching, Votes
    from tinychat.engine import Engine, Shelf
    from tinychat.server import API_ROUTES, check_exposure, create_app, serve
    from tinychat_ui.coach import Coach
    from tinychat_ui.context import Limits, PageContext, Runs
    from tinychat_ui.page import build_page, mount_page
    from tinychat_ui.routes import OPEN

    check_exposure(given.host, token)
    with Engine() as engine, Coach(checkpoints) as coach:
        settings = RuntimeSettings(device=given.device, dtype=given.dtype)
        shelf = Shelf(checkpoints, settings, int8=given.int8)
        context = PageContext(
            engine=engine,
            shelf=shelf,
            conversations=Conversations(checkpoints),
            feedback=Feedback(checkpoints),
            votes=Votes(checkpoints),
            teaching=Teaching(checkpoints),
            runs=Runs(checkpoints),
            coach=coach,
            limits=Limits(deadline_seconds=None if token is None else 120.0),
            first=first,
            local=token is None,
        )
        app = create_app(engine, shelf)
        serve(
            mount_page(app, build_page(context), given.host, given.port),
            (*API_ROUTES, *OPEN),
            host=given.host,
            port=given.port,
            token=token,
            on_ready=lambda place: _tell(place, token),
            on_link=lambda url: print(f"sign a browser in, once: {url}", flush=True),
        )


def _keep_quiet() -> None:
    """Gradio reads these while it is imported; without them it calls its makers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("GRADIO_SHARE", "GRADIO_VIBE_MODE", "GRADIO_MCP_SERVER", "GRADIO_SSR_MODE"):
        os.environ.pop(name, None)


def _tell(place: "Place", token: str | None) -> None:
    if token is None:
        print(f"tinychat-ui: {place.url}", flush=True)
    print(f"the API: {place.url}/v1   Ctrl+C ends both", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinychat-ui",
        description="Chat with your models in the browser, also while they train, and serve the "
        "same models to programs that speak OpenAI's API.",
        epilog=_EPILOG,
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run to begin with")
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        type=Path,
        help="the folder where runs live (default: $TINYCHAT_CHECKPOINTS, else ./checkpoints)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="begin with one checkpoint (demo@300, or its folder), or a Hugging Face model folder",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=7860, help="port to listen at, 0 for any (%(default)s)"
    )
    parser.add_argument("--token", help="what a visitor must know, at least 16 characters")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute"
    )
    parser.add_argument(
        "--dtype", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="precision"
    )
    parser.add_argument(
        "--int8", action="store_true", help="weights of eight bits for single answers, on a CPU"
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text}: a port is a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
