"""A console whose reader may leave, as in `tinychat show RUN | head`."""

from rich.console import Console


class PipeConsole(Console):
    """Leaves it to the command line to end quietly; rich would end the process itself."""

    def on_broken_pipe(self) -> None:
        """Called by rich."""
        raise BrokenPipeError
