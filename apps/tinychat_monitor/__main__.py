"""`tinychat-monitor`: flags first, so that `--help` and `--once` never wait for a screen."""

import argparse
import io
import signal
import sys
from pathlib import Path

from tinychat.errors import TinychatError


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
    if given.once or given.json:
        from tinychat_monitor.once import report

        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without UTF-8 gets ? for ●
            sys.stdout.reconfigure(errors="replace")
        if hasattr(signal, "SIGPIPE"):  # `| head` ends us without a word
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(report(checkpoints, run, as_json=given.json))
        return 0
    from tinychat_monitor.app import MonitorApp

    MonitorApp(run.parent if run else checkpoints, run).run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinychat-monitor",
        description="Watch training runs in the terminal. It only reads, so it never disturbs "
        "them. In the list: arrows and Enter for one run's details, q to leave.",
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
