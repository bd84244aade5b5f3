"""`tinychat runs`: what there is, and in which state it truly is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from tinychat.cli.output import print_json, screen
from tinychat.errors import SettingsError
from tinychat.runs import default_checkpoints
from tinychat.watch.lines import COLUMNS, NUMBERS, cells, no_runs, notes
from tinychat.watch.overview import Overview, Watch, runs_json
from tinychat.watch.states import look_of, state_word
from tinychat.words import table


def runs_command(
    *run: str,
    checkpoints: Path | None = None,
    prune: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(negative="")] = False,
    damaged: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the runs, newest first, each in its true state.

    A run whose process is gone is called crashed, whatever it said last; one that has not been
    heard of for too long is stalled. Age is the time since it was last heard of. Losses are in
    nats per token.

    --prune shows what could be freed, with sizes: checkpoints beyond what the run's settings keep
    (the best, the last few, the pinned, milestones), what interrupted saves left, and prepared
    corpora that no run refers to. It frees that after --yes, or y at the terminal. Runs that are
    being trained are passed over.

        tinychat runs
        tinychat runs --json
        tinychat runs --prune
        tinychat runs --prune --yes demo

    Parameters
    ----------
    run
        With --prune: only these runs, and not the prepared corpora.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    prune
        Show what could be freed, and free it if that is wanted.
    yes
        Free it without asking.
    damaged
        Also what was set aside as damaged.
    as_json
        Print one JSON document instead.
    """
    root = checkpoints or default_checkpoints()
    if prune:
        from tinychat.cli.prune import prune_runs

        return prune_runs(root, run, yes=yes, damaged=damaged, as_json=as_json)
    if run or yes or damaged:
        given = next(iter(run), "--yes" if yes else "--damaged")
        raise SettingsError(f"`tinychat runs {given}` needs --prune; see `tinychat runs --help`")
    found = Watch(root).look()
    if as_json:
        print_json(runs_json(root, found))
    elif found:
        _print_table(found)
    else:
        print(no_runs(root))
    return 0


def state_text(overview: Overview) -> Text:
    """The state's sign and word, in its colour."""
    return Text(state_word(overview.state), style=look_of(overview.state).colour)


def _print_table(found: Sequence[Overview]) -> None:
    console = screen()
    header, *lines = table([COLUMNS, *map(cells, found)], right=NUMBERS)
    console.print(Text(header, style="bold"))
    for overview, line in zip(found, lines, strict=True):
        text = Text(line)
        state = state_text(overview)
        text.highlight_words([state.plain], state.style)
        console.print(text)
    if told := notes(found):
        console.print("\n" + "\n".join(told))
