"""`tinychat-monitor`: flags first, so that `--help` and `--once` never wait for a screen."""

import argparse
import gc
import io
import os
import sys
from pathlib import Path

from tinychat.errors import TinychatError
from tinychat_monitor.options import MARKERS, Options, needs_ascii

_EPILOG = "Keys are shown by ? on the screen. Leaving it never ends a training run."


def main(arguments: list[str] | None = None) -> int:
    """Show runs, live or once; returns the exit code."""
    given = _parser().parse_args(arguments)
    from tinychat.runs import default_checkpoints, find_run

    checkpoints = given.checkpoints or default_checkpoints()
    try:
        run = find_run(given.run, checkpoints)[0] if given.run else None
    except TinychatError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    plain = given.ascii if given.ascii is not None else needs_ascii()
    if given.once or given.json or given.plain:
        return _as_text(checkpoints, run, given, ascii=plain)
    return _on_screen(run.parent if run else checkpoints, run, given, ascii=plain)


def _as_text(checkpoints: Path, run: Path | None, given: argparse.Namespace, *, ascii: bool) -> int:
    if sys.stdout is None:  # it was closed: nobody would read it
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without UTF-8 gets ? for ●
        sys.stdout.reconfigure(errors="replace")
    if given.plain and not (given.once or given.json):
        from tinychat_monitor.plain import follow_plain

        try:
            return follow_plain(checkpoints, run, ascii=ascii)
        except OSError as error:
            return _unwritten(error)
    from tinychat_monitor.once import report

    try:
        text = report(checkpoints, run, as_json=given.json, ascii=ascii)
    except OSError as error:
        print(f"{checkpoints} cannot be read: {error.strerror}.", file=sys.stderr)
        return 1
    try:
        print(text, flush=True)
    except OSError as error:
        return _unwritten(error)
    return 0


def _unwritten(error: OSError) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again at its end
    if isinstance(error, BrokenPipeError):  # `| head` has read all that it wants
        return 0
    print(f"The output cannot be written: {error.strerror}.", file=sys.stderr)
    return 1


def _on_screen(
    checkpoints: Path, run: Path | None, given: argparse.Namespace, *, ascii: bool
) -> int:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(
            "The dashboard needs a terminal; --once, --plain and --json print text instead.",
            file=sys.stderr,
        )
        return 2
    # a row that is read is an object too: Python would look for garbage after every 700 of them
    gc.set_threshold(50_000, 20, 20)
    from tinychat import words
    from tinychat_monitor.app import MonitorApp
    from tinychat_monitor.parting import parting_line

    app = MonitorApp(
        checkpoints,
        run,
        Options(readonly=given.readonly, ascii=ascii, marker=given.marker, theme=given.theme),
    )
    if given.theme is not None and given.theme not in app.available_themes:
        names = ", ".join(sorted(app.available_themes))
        print(f"There is no theme {given.theme!r}; there are: {names}.", file=sys.stderr)
        return 2
    app.run()
    if app.return_code == 0 and (line := parting_line(checkpoints, app.left_on)):
        print(words.to_ascii(line) if ascii else line)
    return app.return_code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinychat-monitor",
        description="Watch training runs in the terminal, and steer them. It may be closed, "
        "opened twice or killed: no run notices.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", help="a run's name or folder; without it, all runs"
    )
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        type=Path,
        help="the folder where runs live (default: $TINYCHAT_CHECKPOINTS, else ./checkpoints)",
    )
    parser.add_argument("--once", action="store_true", help="print the state as text and exit")
    parser.add_argument(
        "--json", action="store_true", help="print it as one JSON document and exit"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="print a line a minute and one for each event, for scripts and screen readers",
    )
    parser.add_argument(
        "--readonly", action="store_true", help="watch only: take the keys that steer away"
    )
    parser.add_argument(
        "--ascii",
        action=argparse.BooleanOptionalAction,
        help="ASCII characters only (default: where the terminal has no UTF-8)",
    )
    parser.add_argument(
        "--marker", choices=MARKERS, default="braille", help="what curves are drawn with"
    )
    parser.add_argument(
        "--theme",
        metavar="NAME",
        help="tinychat-dark, tinychat-light, tinychat-contrast, or one of Textual's "
        "(default: the one of last time)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
