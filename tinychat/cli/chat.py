"""`tinychat chat`: talk with a model in the terminal, or through a pipe, one turn a line."""

import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tinychat.cli.models import PLACE, Place, Run, open_model
from tinychat.cli.sampling import SAMPLING, Rules
from tinychat.config.sampling import draw_seed


def chat_command(
    run: Run,
    /,
    *,
    system: Annotated[str, Parameter(show_default=False)] = "",
    begin: Annotated[str, Parameter(show_default=False)] = "",
    sampling: Rules = SAMPLING,
    place: Place = PLACE,
) -> int:
    """Talk with a model. Ctrl+C stops an answer, Ctrl+D leaves, /help tells the rest.

    Its words come as they are made. A talk that outgrows the model's context loses its oldest
    turns, and says so. Input may also come through a pipe: each line is a turn, each answer goes
    to stdout, remarks go to stderr. Each answer has its own seed: the next number after the last.

        tinychat chat demo
        printf 'Hello!\\nWhat is 3 + 4?\\n' | tinychat chat demo --temperature 0

    Parameters
    ----------
    system
        What the model is told before the talk begins.
    begin
        What each answer begins with.
    """
    from tinychat.cli.chat_loop import ChatLoop
    from tinychat.cli.talk import Talk
    from tinychat.cli.terminal import cleared_up
    from tinychat.engine import Engine

    seed = draw_seed() if sampling.seed is None else sampling.seed
    sampling.rules(seed)  # refuse what cannot be, before anything is loaded
    shelf = place.shelf()
    model = open_model(shelf, run)
    with (
        cleared_up(),
        Engine(batch_rows=1) as engine,
        tempfile.TemporaryDirectory(prefix="tinychat-") as folder,
    ):
        ChatLoop(engine, shelf, model, sampling, Talk(Path(folder), system), begin, seed).run()
    return 0
