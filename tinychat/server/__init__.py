"""The HTTP API over the engine, with its limits, and the gate that stands before every route.

`create_app` speaks OpenAI's `/v1` for the models of a `Shelf`. `Gate` is a plain ASGI middleware
that judges host, origin, token, route and body before any app sees a request, ours or a mounted
page; `serve` binds a port and runs an app behind it. Knows nothing of screens; the one room that
speaks HTTP.
"""

from tinychat.server.access import Access
from tinychat.server.app import API_ROUTES, create_app
from tinychat.server.catalog import Catalog
from tinychat.server.gate import Gate, Routes
from tinychat.server.hosts import Hosts
from tinychat.server.limits import Limits
from tinychat.server.serving import Place, bind, check_exposure, make_server, serve

__all__ = [
    "API_ROUTES",
    "Access",
    "Catalog",
    "Gate",
    "Hosts",
    "Limits",
    "Place",
    "Routes",
    "bind",
    "check_exposure",
    "create_app",
    "make_server",
    "serve",
]
