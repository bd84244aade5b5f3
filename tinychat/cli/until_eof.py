"""Ending with whoever started this process: their end of its standard input closes with them."""

import signal
import sys
import threading


def stop_at_eof() -> None:
    """Once standard input ends, do what SIGTERM asks for: a trainer saves and stops."""

    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="until-eof", daemon=True).start()
