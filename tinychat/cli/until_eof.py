"""Ending with whoever started this process: their end of its standard input closes with them."""

import os
import signal
import sys
import threading


def stop_at_eof() -> None:
    """Once standard input ends, do what SIGTERM asks for: a trainer saves and stops."""

    stdin = sys.stdin.fileno()  # a thread that holds the object would abort Python at its end

    def wait() -> None:
        while os.read(stdin, 4096):
            pass
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="until-eof", daemon=True).start()
