"""From an app to a port: what listens, who is let in, and how it ends."""

import errno
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from tinychat.errors import ServerError, SettingsError
from tinychat.server.access import Access
from tinychat.server.connection import HEADER_BYTES, DeadlineConnection
from tinychat.server.gate import Gate
from tinychat.server.hosts import Hosts, is_loopback
from tinychat.server.limits import Limits

GOODBYE_SECONDS = 2  # for answers on their way, once Ctrl+C was pressed
SEND_BUFFER_BYTES = 256 * 1024  # left alone, a system keeps megabytes for a client that reads none


@dataclass(frozen=True)
class Place:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For a browser or client on this machine, where that is where it listens."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else "::1" if self.host == "::" else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def serve(
    app: ASGIApp,
    routes: Iterable[str],
    *,
    host: str = "127.0.0.1",
    port: int,
    token: str | None = None,
    limits: Limits | None = None,
    on_ready: Callable[[Place], None] = lambda place: None,
    on_link: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve an app behind the gate, until Ctrl+C.

    Only `routes` pass. `on_ready` is called once the port is ours; with a token, `on_link` is told
    the link that signs one browser in, and the next one whenever it was used. Raises SettingsError
    for another host than this machine without a token, ServerError if the port cannot be had.
    """
    check_exposure(host, token)
    access = None
    if token is not None:
        access = Access(token, on_link=lambda key: on_link(link(place, key)))
    listening = bind(host, port)
    place = Place(host, listening.getsockname()[1])
    gate = Gate(app, routes, hosts=Hosts.of(host), access=access, limits=limits)
    on_ready(place)
    if access is not None:
        on_link(link(place, access.key))
    try:
        make_server(gate).run([listening])
    except KeyboardInterrupt:  # uvicorn has ended everything, and tells it again
        pass
    finally:
        listening.close()


def check_exposure(host: str, token: str | None) -> None:
    """Raises SettingsError where others could reach the server and nothing would stop them."""
    if token is None and not is_loopback(host):
        raise SettingsError(
            f"--host {host} lets other machines in, so it needs a token: set TINYCHAT_TOKEN, or "
            "stay on 127.0.0.1 and reach it through `ssh -L`."
        )


def link(place: Place, key: str) -> str:
    """What signs a browser in, once."""
    return f"{place.url}/?token={key}"


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ServerError in one sentence if it cannot be had."""
    if host == "localhost":  # no look-up for what everybody means by it
        host = "127.0.0.1"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise SettingsError(f"--host {host} is no address of this machine.") from None
    listening = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listening.bind(address)
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        listening.close()
        raise _no_port(host, port, error) from None
    return listening


def make_server(gate: ASGIApp) -> uvicorn.Server:
    """uvicorn with our connections, silent, without websockets, trusting no proxy's headers."""
    return uvicorn.Server(
        uvicorn.Config(
            gate,
            http=DeadlineConnection,
            ws="none",
            loop="asyncio",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
    )


def _no_port(host: str, port: int, error: Exception) -> ServerError | SettingsError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return ServerError(f"Port {port} of {host} is in use; choose another with --port.")
    if number == errno.EACCES:
        return ServerError(f"Port {port} of {host} is not allowed to you; use one above 1023.")
    if number == errno.EADDRNOTAVAIL:
        return SettingsError(f"--host {host} is no address of this machine.")
    return ServerError(f"Port {port} of {host} cannot be had: {error}.")
