"""`tinychat serve`: the API that OpenAI's clients speak, over the models of this machine."""

import os
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import Port

from tinychat.cli.models import PLACE, Place
from tinychat.cli.output import screen
from tinychat.words import count, inert

if TYPE_CHECKING:  # it imports torch
    from tinychat.server import Catalog
    from tinychat.server import Place as ServerPlace

TOKEN_VARIABLE = "TINYCHAT_TOKEN"
_SHOWN_RUNS = 8


def serve_command(
    run: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    token: str | None = None,
    place: Place = PLACE,
) -> int:
    """Answer programs that speak OpenAI's API: chat and text completions, over HTTP.

    All models of the folder of runs can be asked, or only RUN's; a run that is still training
    too. Runs and checkpoints that come later are found without a restart. Ctrl+C ends it.

        tinychat serve
        tinychat serve demo --port 8080

    Only this machine can reach it. Another --host needs a token; better give it in the environment
    variable TINYCHAT_TOKEN than as a flag, which other users of the machine can see.

    Parameters
    ----------
    run
        Serve only this run, its folder, one checkpoint (demo@300), or a Hugging Face model folder.
    host
        Address to listen at. Anything but this machine's own needs a token.
    port
        Port to listen at (0: any free one).
    token
        What every request must carry, at least 16 characters (else $TINYCHAT_TOKEN).
    """
    token = token if token is not None else os.environ.get(TOKEN_VARIABLE) or None
    shelf = place.shelf()
    from tinychat.engine import Engine
    from tinychat.server import API_ROUTES, Catalog, create_app, serve

    catalog = Catalog(shelf.checkpoints, run)
    with Engine() as engine:
        serve(
            create_app(engine, shelf, catalog=catalog),
            API_ROUTES,
            host=host,
            port=port,
            token=token,
            on_ready=lambda ready: _tell(ready, catalog, token is not None),
        )
    return 0


def _tell(place: "ServerPlace", catalog: "Catalog", has_token: bool) -> None:
    """Where it listens, what can be asked, and how."""
    out = screen()
    runs = catalog.runs()
    out.print(f"{place.url}/v1   Ctrl+C ends it", style="bold")
    if runs:
        names = ", ".join(runs[:_SHOWN_RUNS]) + (" …" if len(runs) > _SHOWN_RUNS else "")
        out.print(f"{count(len(runs), 'model')}: {inert(names)}")
        out.print(f"  each also as {inert(runs[0])}@best, {inert(runs[0])}@latest or @STEP")
    else:
        out.print(f"no models yet in {inert(str(catalog.checkpoints))}: `tinychat demo` makes one")
    header = f" -H 'Authorization: Bearer '\"${TOKEN_VARIABLE}\"" if has_token else ""
    model = next((run for run in runs if catalog.is_chat(run)), None)
    route, asks = "chat/completions", '"messages": [{"role": "user", "content": "Hello!"}]'
    if runs and model is None:
        model, route, asks = runs[0], "completions", '"prompt": "Once upon a time"'
    out.print(
        f"try it: curl {place.url}/v1/{route} -H 'Content-Type: application/json'{header} "
        f'-d \'{{"model": "{inert(model or "demo")}", {asks}}}\''
    )
    out.file.flush()
