"""`tinychat control`: the mailbox of a running trainer, from a shell."""

import time
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tinychat.errors import SettingsError
from tinychat.runs import (
    COMMANDS,
    Row,
    RunReader,
    default_checkpoints,
    find_run,
    lock_is_held,
    send_command,
    true_state,
    wait_for_ack,
)
from tinychat.words import inert

_LOOK_SECONDS = 1.0  # between looks whether the trainer still lives


def control_command(
    run: str,
    command: str,
    setting: str | None = None,
    value: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    judgement: str | None = None,
    save: Annotated[bool, Parameter(name="--save", negative="--no-save")] = True,
    free: Annotated[bool, Parameter(negative="")] = False,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: float = 120.0,
    checkpoints: Path | None = None,
) -> int:
    """Ask a running trainer for something: it answers between two steps.

    COMMAND is pause, resume, checkpoint, sample, evaluate, undo, stop or set. What decides the
    weights cannot be set while they are being trained; intervals, samples and what is kept can.

        tinychat control demo sample --prompt "Who are you?" --wait
        tinychat control demo set sample.every_steps 100
        tinychat control demo stop --wait
        tinychat control demo-live undo

    Parameters
    ----------
    run
        A run's name or folder.
    command
        pause, resume, checkpoint, sample, evaluate, undo, stop, set.
    setting
        With set: a setting's name, as `tinychat train --help` spells it.
    value
        With set: its new value; "none" is off.
    prompt
        With sample: what to say to the model (else the usual round).
    judgement
        With undo, which takes back the last step of a run that learns from judgements as they come:
        the judgement that the step must be of.
    save
        With stop: save before stopping, or lose what came after the last checkpoint.
    free
        With pause: give the accelerator's memory back meanwhile.
    wait
        Wait for the answer and print it; exit code 1 if it is a refusal or does not come.
    timeout
        With --wait: how many seconds.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    """
    folder, _ = find_run(run, checkpoints or default_checkpoints())
    args = _arguments(command, setting, value, prompt, judgement, save, free)
    if not lock_is_held(folder):
        raise SettingsError(_nobody_there(folder))
    sent = send_command(folder, command, args, by="shell")
    if not wait:
        print(
            f"sent {command} to {inert(folder.absolute().name)}; --wait would wait for the answer"
        )
        return 0
    return _await_answer(folder, sent, timeout)


def _arguments(
    command: str,
    setting: str | None,
    value: str | None,
    prompt: str | None,
    judgement: str | None,
    save: bool,
    free: bool,
) -> dict[str, Any]:
    """What goes into the mailbox. Raises SettingsError for a command that does not exist, and for
    flags of another one."""
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        raise SettingsError(f"there is no command {command!r}; {hint}")
    given = {
        "set": {"setting": setting, "value": value},
        "sample": {"prompt": prompt},
        "undo": {"judgement": judgement},
        "stop": {} if save else {"save": False},
        "pause": {"free": True} if free else {},
    }
    args = {name: each for name, each in given.pop(command, {}).items() if each is not None}
    for other, theirs in given.items():
        misplaced = [str(each) for each in theirs.values() if each is not None]
        if misplaced:
            raise SettingsError(
                f"{misplaced[0]!r} belongs to `tinychat control RUN {other}`, not to {command}"
            )
    if command == "set" and len(args) < 2:
        raise SettingsError("`tinychat control RUN set` needs the name of a setting and a value")
    return args


def _await_answer(run: Path, sent: str, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        lives = lock_is_held(run)  # looked at first: a trainer answers before it lets go
        answer = wait_for_ack(run, sent, min(_LOOK_SECONDS, left) if lives else 0.0)
        if answer is not None:
            return _print_answer(answer)
        if not lives:
            print("the trainer ended before it answered")
            return 1
    print(f"no answer within {timeout:g} s; it will be obeyed when the trainer gets to it")
    return 1


def _print_answer(answer: Row) -> int:
    refused = answer.get("kind") == "command_refused"
    message = inert(str(answer.get("message", "")), keep="\n")
    print(f"refused: {message}" if refused else message)
    return 1 if refused else 0


def _nobody_there(run: Path) -> str:
    status = RunReader(run).status
    state = "never started" if status is None else f"is {true_state(status).state}"
    name = run.absolute().name
    return (
        f"nobody trains {name} now (it {state}), so nobody would obey; "
        f"`tinychat resume {name}` goes on with it"
    )
