"""The command table, and the one place where errors become exit codes.

Commands are named here and imported only when they run, so that `--help` imports neither torch nor
numpy. cyclopts reads flags and help from the signatures and from the settings' dataclasses.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter, UnknownOptionError
from rich.console import Console

from tinychat import __version__
from tinychat.cli.flags import GivenSettings
from tinychat.cli.pages import HelpPages
from tinychat.cli.pipes import PipeConsole
from tinychat.errors import SettingsError, TinychatError
from tinychat.launch import launch_of
from tinychat.threads import share_cores
from tinychat.words import inert

ABOUT = """Turn a text file into your own chat model, and understand what is going on all the way.

For a start:
    tinychat train                 the demo on its built-in small talk, about 3 minutes
    tinychat train --data my.txt   your own text
    tinychat chat RUN              talk to what you have trained
"""
ALSO = (
    "RUN is a run's name, its folder, one checkpoint folder, or name@300, name@best, name@latest.\n"
    "`tinychat COMMAND --help` tells more of each. With --json a command prints one JSON document "
    "on stdout and nothing else there.\n"
    "`tinychat-monitor` watches runs in the terminal, `tinychat-ui` lists them in the browser.\n"
    "Exit codes: 0 done, 1 it failed, 2 something was asked for that cannot be done."
)

LEARN = Group.create_ordered("Make a model")
WATCH = Group.create_ordered("Watch and steer")
TALK = Group.create_ordered("Use it")
LOOK = Group.create_ordered("Look at text")

COMMANDS = [
    (LEARN, "demo"),
    (LEARN, "plan"),
    (LEARN, "train"),
    (LEARN, "resume"),
    (LEARN, "tune"),
    (LEARN, "feedback"),
    (WATCH, "runs"),
    (WATCH, "show"),
    (WATCH, "verify"),
    (WATCH, "chaos"),
    (WATCH, "control"),
    (TALK, "chat"),
    (TALK, "teach"),
    (TALK, "generate"),
    (TALK, "serve"),
    (TALK, "eval"),
    (LOOK, "data"),
    (LOOK, "tokenizer"),
]


def make_app(given: GivenSettings) -> App:
    """The command line. `given` collects the settings that stand on it."""
    app = App(
        name="tinychat",
        help=ABOUT,
        help_epilogue=ALSO,
        help_format="plaintext",
        help_formatter=HelpPages(),
        console=PipeConsole(),
        version=__version__,
        default_parameter=Parameter(
            consume_multiple=True, negative_iterable=(), show_env_var=False
        ),
        config=given,
        exit_on_error=False,
        print_error=False,
    )
    for order, (group, name) in enumerate(COMMANDS):
        module = f"tinychat.cli.{name}:{name}_command"
        app.command(module, name=name, group=group, sort_key=order)
    for flag in ("--help", "--version"):
        app[flag].show = False
    return app


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code, at once: no atexit handler runs."""
    _open_closed_streams()
    share_cores()
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, TextIOWrapper)]
    for stream in streams:
        stream.reconfigure(errors="replace")  # a terminal that lacks a sign is no reason to fail
    code = run(sys.argv[1:] if argv is None else argv)
    for stream in streams:
        with suppress(OSError):  # `run` has told of it, or of something worse
            stream.flush()
    # The long way out takes half a second with torch, whose threads abort the process now and then.
    os._exit(code)


def _open_closed_streams() -> None:
    """Whoever starts this may have closed a standard stream: Python has None for it, and the next
    file that is opened would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code and prints errors as one sentence each."""
    launch = launch_of()
    if launch is None or launch.world_size == 1:
        return _run(argv)
    from tinychat.cli.together import run_together

    return run_together(argv, launch, _run, _tell)


def _run(argv: Sequence[str]) -> int:
    try:
        code = _dispatch(list(argv))
        sys.stdout.flush()
        return code
    except CycloptsError as error:
        _tell(_sentence(error))
        return 2
    except TinychatError as error:
        for line in str(error).splitlines():
            _tell(line)
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except SystemExit as left:  # `terminal.cleared_up`
        return left.code if isinstance(left.code, int) else 1
    except BrokenPipeError:  # `tinychat show RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _tell(_os_error(error))
        return 1


def _os_error(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _dispatch(argv: list[str]) -> int:
    given = GivenSettings()
    app = make_app(given)
    if not argv or argv[0] in app.help_flags:  # the page shows each command's first sentence
        for _, name in COMMANDS:
            app[name]  # imports it
    command, bound, unused, ignored = app.parse_known_args(argv)
    unknown = [token for token in unused if token.startswith("-")]
    if unused and not unknown:
        raise SettingsError(f"{unused[0]!r} is one word too many; see `tinychat --help`")
    given.unknown = tuple(unknown)
    if unknown and "given" not in ignored:
        raise SettingsError(*given.problems())
    extra: dict[str, Any] = {"given": given} if "given" in ignored else {}
    result = command(*bound.args, **bound.kwargs, **extra)
    return result if isinstance(result, int) else 0


def _sentence(error: CycloptsError) -> str:
    error.verbose = False
    if isinstance(error, UnknownOptionError):
        command = " ".join(("tinychat", *(error.command_chain or ())))
        _, _, near = str(error).partition("Did you mean ")
        hint = f"did you mean {near}" if near else f"see `{command} --help`"
        return f"`{command}` has no flag {error.token.keyword or error.token.value}; {hint}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        command = " ".join(("tinychat", *(error.command_chain or ())))
        name = error.keyword or error.argument.name
        what = f"a value for {name}" if error.keyword else name
        return f"`{command}` needs {what}; see `{command} --help`"
    return str(error).strip() or type(error).__name__


def _tell(sentence: str) -> None:
    """Print an error. Its words may be of a file, a user or a server: none is obeyed."""
    harmless = inert(f"tinychat: {sentence}", keep="\n")
    Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(
        harmless, markup=False, style="red" if sys.stderr.isatty() else ""
    )
