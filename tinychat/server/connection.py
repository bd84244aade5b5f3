"""One connection, with the deadlines that uvicorn lacks.

uvicorn waits for ever for the rest of a header and for a client that does not read. A few hundred
such sockets would use up the process's files.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # from the connection, or the last response, to a whole header
STALL_SECONDS = 10.0  # that a client may leave what was sent to it unread
HEADER_BYTES = 32 * 1024


class DeadlineConnection(H11Protocol):
    """HTTP/1.1 that ends a connection whose header does not come or whose client does not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_timer = _stopped(self._header_timer)
        self._stall_timer = _stopped(self._stall_timer)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self._is_answering():
            self._header_timer = _stopped(self._header_timer)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # a request that was sent ahead begins in here
        if not self._is_answering():
            self._await_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall_timer = _stopped(self._stall_timer)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_header(self) -> None:
        self._header_timer = _stopped(self._header_timer)
        if not self.transport.is_closing() and self.conn.our_state is not h11.ERROR:
            # abort: closing would first wait for the client to read
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
