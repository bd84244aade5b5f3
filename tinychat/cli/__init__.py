"""The command line: one file a command, each turning arguments into a call and a result into text.

Printing happens here and nowhere else in the core. Commands import the floors below them inside
their function, so that `tinychat --help` starts at once.
"""

from tinychat.cli.app import main

__all__ = ["main"]
