"""`tinychat demo`: the whole way through in one command."""

from pathlib import Path

from tinychat.cli.flags import (
    SETTINGS,
    GivenFlags,
    SettingsFlags,
    command_line,
    with_absolute_mirror,
)
from tinychat.errors import SettingsError

NAME = "demo"


def demo_command(
    *,
    checkpoints: Path | None = None,
    settings: SettingsFlags = SETTINGS,
    given: GivenFlags,
) -> int:
    """Train the demo on its built-in small talk, then talk with it.

    Takes three to ten minutes on two CPU cores. Interrupt it and it goes on where it was the next
    time; once it is trained, only the talk is held again.

    Parameters
    ----------
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    """
    from tinychat.config.load import FLAGS, Layer, read_preset, resolve
    from tinychat.config.names import nest
    from tinychat.runs import RunReader, default_checkpoints

    if given.unknown:
        raise SettingsError(*given.problems())
    root = checkpoints or default_checkpoints()
    run = root / NAME
    status = RunReader(run).status
    if status is None or status.state != "finished":
        if (run / "settings.json").exists():
            from tinychat.cli.resume import go_on

            go_on(NAME, root, given)
        else:
            from tinychat.cli.train import start_run

            layer = Layer(FLAGS, nest(with_absolute_mirror(given.values)), text=True)
            start_run(run, resolve(read_preset(NAME), layer), command_line(), farewell=False)
        status = RunReader(run).status
    if status is None or status.state != "finished":
        return 0  # stopped on the way; how to go on has been said
    _talk(run)
    print("\nGo on with:")
    where = f" --checkpoints {checkpoints}" if checkpoints else ""
    print(f"  tinychat chat {NAME}{where}        talk with it yourself")
    print(f"  tinychat eval {NAME}{where}        ask it the questions it has never seen")
    print(f"  tinychat train --data my.txt{where}    the same with a text of your own")
    return 0


def _talk(run: Path) -> None:
    """A short conversation, printed as it comes. Always the likeliest words."""
    from tinychat.cli.models import PLACE, open_model
    from tinychat.cli.terminal import put
    from tinychat.engine import Engine, Sampling
    from tinychat.text import Message
    from tinychat.text.smalltalk import DEMO_TALK

    model = open_model(PLACE.shelf(), str(run))
    rules = Sampling(temperature=0.0, max_new_tokens=80)
    print(f"\nA talk with {run.name}, step {model.card.step:,}:\n")
    messages: list[Message] = []
    with Engine(batch_rows=1) as engine:
        for said in DEMO_TALK:
            messages.append(Message("user", said))
            print(f"  you       {said}\n  tinychat  ", end="", flush=True)
            prompt = model.text.fit(messages, rules.max_new_tokens)
            pieces = []
            for piece in engine.ask(model.text, prompt, rules, serial=True):
                pieces.append(piece)
                put(piece)
            print()
            messages.append(Message("assistant", "".join(pieces)))
