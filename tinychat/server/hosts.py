"""Which names this server answers to, so that a page elsewhere cannot speak to it by another.

A page that a browser has open can point its own host name at this machine (DNS rebinding). Its
requests then carry that name in their Host header, and that is what is judged here.
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Hosts:
    """The host names that are ours, whatever port stands behind them (tunnels change ports)."""

    def __init__(self, names: Iterable[str] = (), *, any_address: bool = False) -> None:
        """`names` are ours besides this machine's loopback names. `any_address` also allows every
        IP address: nobody can point one elsewhere."""
        self._names = _LOOPBACK | {name.lower() for name in names}
        self._any_address = any_address

    @classmethod
    def of(cls, host: str) -> "Hosts":
        """For a server that listens at `host`."""
        bracketed = f"[{host}]" if ":" in host else host
        if is_loopback(host):
            return cls((bracketed,))
        own = socket.gethostname()
        return cls((bracketed, own, f"{own.split('.')[0]}.local"), any_address=True)

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower()
        return name in self._names or (self._any_address and _is_address(name))

    def is_own_page(self, origin: str, host: str) -> bool:
        """Whether an Origin header is that of this server's own page, asked for as `host`."""
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own. A name is not, except localhost."""
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
