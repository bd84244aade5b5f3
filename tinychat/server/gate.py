"""The gate: what stands before every route, ours and those of a mounted page.

A plain ASGI middleware, because it must judge requests that an inner app would answer by itself.
In this order: the host that is asked for, the page that asks, the token, the route, the form of the
body, its size and its time. What comes out carries headers that bind the browser.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs

import orjson
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinychat.server.access import Access, page
from tinychat.server.connection import HEADER_BYTES
from tinychat.server.errors import JSON, ApiError, too_many
from tinychat.server.hosts import Hosts
from tinychat.server.limits import Limits

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio compiles its own templates
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OURS = {name for name, _ in SECURITY_HEADERS}
_LINGER_SECONDS = 2.0
_log = logging.getLogger("tinychat.server")


class Gone(Exception):
    """The client left before its request was whole."""


class Routes:
    """The list of what may pass: "GET /v1/models", or "GET /assets/*" for all that begins so."""

    def __init__(self, routes: Iterable[str]) -> None:
        pairs = [route.split(" ", 1) for route in routes]
        self._exact = {(method, path) for method, path in pairs if not path.endswith("*")}
        self._beginnings = [(method, path[:-1]) for method, path in pairs if path.endswith("*")]

    def has(self, method: str, path: str) -> bool:
        """Whether a request may pass. Never one whose path could mean another."""
        if (method, path) in self._exact:
            return True
        if ".." in path or "//" in path or "\\" in path or not path.isprintable():
            return False
        return any(method == m and path.startswith(begin) for m, begin in self._beginnings)

    def methods(self, path: str) -> list[str]:
        """By which methods a path may be asked."""
        known = {method for method, _ in (*self._exact, *self._beginnings)}
        return sorted(method for method in known if self.has(method, path))

    def missing(self, routes: Iterable[BaseRoute]) -> list[str]:
        """The routes of an app that are not on the list, for a test to compare."""
        found: list[str] = []
        for route in routes:
            if isinstance(route, Mount):
                found += [f"MOUNT {route.path}"]
            elif isinstance(route, Route):
                found += [f"{method} {route.path}" for method in sorted(route.methods or ())]
            else:
                found.append(f"{type(route).__name__} {getattr(route, 'path', '')}")
        return [each for each in found if not self.has(*each.split(" ", 1))]


class Gate:
    """An ASGI app around another one.

    `routes` lists what may pass, `hosts` the names of this server; with `access`, nothing passes
    without its token.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[str],
        *,
        hosts: Hosts | None = None,
        access: Access | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._app = app
        self._routes = Routes(routes)
        self._hosts = hosts or Hosts()
        self._access = access
        self._limits = limits or Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing of ours speaks over a websocket
            await send({"type": "websocket.close", "code": 1008})
            return
        out = _Outlet(send)
        try:
            headers = _Headers(scope)
            if headers.size > HEADER_BYTES:  # the parser bounds only one that comes in pieces
                raise ApiError(431, "The header is too large.")
            self._judge_origin(headers)
            if await self._signed_in(scope, headers, out):
                return
            self._judge_route(scope, headers)
            if headers.has_body:
                receive = await self._read(headers, receive)
        except Gone:
            return
        except ApiError as refusal:
            await self._refuse(refusal, scope, receive, out)
            return
        try:
            await self._app(scope, receive, out.send)
        except Exception:
            mark = secrets.token_hex(4)
            _log.exception("request %s failed", mark)
            if out.started:
                raise
            message = f"The server failed; its log says more under {mark}."
            failure = ApiError(500, message, code="internal_error")
            await self._refuse(failure, scope, receive, out)

    def _judge_origin(self, headers: "_Headers") -> None:
        host, origin = headers.one(b"host"), headers.one(b"origin")
        if host is None or not self._hosts.is_ours(host):
            raise ApiError(421, "This server does not answer to that host name.")
        if headers.count(b"origin") and (
            origin is None or not self._hosts.is_own_page(origin, host)
        ):
            raise ApiError(403, "Pages of other sites may not ask this server.")
        # an image, a frame or a script on another page: no origin is sent with these
        told = [headers.one(b"sec-fetch-" + name) for name in (b"site", b"mode", b"dest")]
        is_foreign = told[0] not in (None, "same-origin", "none")
        if is_foreign and told[1:] != ["navigate", "document"]:
            raise ApiError(403, "Pages of other sites may not ask this server.")

    async def _signed_in(self, scope: Scope, headers: "_Headers", out: "_Outlet") -> bool:
        """Whether a browser was signed in, which answers the request. Refuses who has no token."""
        access = self._access
        if access is None:
            return False
        name = f"tinychat_{scope['server'][1]}" if scope.get("server") else "tinychat"
        if access.has_cookie(headers.all(b"cookie"), name):
            return False
        address = scope["client"][0] if scope.get("client") else ""
        given, key = headers.one(b"authorization"), _key_of(scope)
        if given is None and key is None:
            raise ApiError(
                401,
                "This server wants its token: `Authorization: Bearer TOKEN`, or in a browser the "
                "link that it has printed.",
                headers={"www-authenticate": "Bearer"},
            )
        if wait := access.wait_of(address):
            raise too_many(f"Too many wrong tokens; try again in {wait} seconds.", wait)
        if given is not None and access.has_token(given.encode("latin-1"), address):
            return False
        if key is not None and access.use_link(key, address):
            cookie = (b"set-cookie", access.cookie(name).encode())
            body = page("Signed in", "This browser is signed in now.", onward=True)
            await out.respond(200, body, cookie, kind=b"text/html; charset=utf-8")
            return True
        raise ApiError(
            401,
            "That is not the token, or the link was used already; the server has printed a new one."
            if key is not None
            else "That is not the token.",
            headers={"www-authenticate": "Bearer"},
        )

    def _judge_route(self, scope: Scope, headers: "_Headers") -> None:
        method, path = scope["method"], scope["path"]
        if not self._routes.has(method, path):
            if others := ", ".join(self._routes.methods(path)):
                raise ApiError(405, f"This route takes {others} only.", headers={"allow": others})
            raise ApiError(404, "There is nothing here.")
        if scope["method"] == "POST":
            kind = (headers.one(b"content-type") or "").split(";")[0].strip().lower()
            if kind != JSON:
                raise ApiError(415, f"The body must be JSON, and Content-Type say {JSON}.")

    async def _read(self, headers: "_Headers", receive: Receive) -> Receive:
        """The whole body, before anybody looks at it."""
        limit = self._limits.body_bytes
        too_large = ApiError(
            413, f"The body is larger than {limit:,} bytes.", headers={"connection": "close"}
        )
        if headers.content_length > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return _Replay({**message, "body": bytes(body)}, receive)
        except TimeoutError:
            raise ApiError(
                408, "The body did not come in time.", headers={"connection": "close"}
            ) from None

    async def _refuse(
        self, refusal: ApiError, scope: Scope, receive: Receive, out: "_Outlet"
    ) -> None:
        wants_page = refusal.status == 401 and b"text/html" in _Headers(scope).all(b"accept")
        if wants_page:
            body, kind = page("tinychat", str(refusal)), b"text/html; charset=utf-8"
        else:
            body, kind = orjson.dumps(refusal.document()), JSON.encode()
        # closing while a body still comes would take the answer with it
        unread = receive if refusal.status == 413 else None
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await out.respond(refusal.status, body, *headers, kind=kind, unread=unread)


class _Headers:
    """The headers of a request, by lower-case name."""

    def __init__(self, scope: Scope) -> None:
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

    def count(self, name: bytes) -> int:
        return sum(key == name for key, _ in self._headers)

    def one(self, name: bytes) -> str | None:
        """Its value, if it stands there once."""
        values = [value for key, value in self._headers if key == name]
        return values[0].decode("latin-1") if len(values) == 1 else None

    def all(self, name: bytes) -> bytes:
        """Its values, with semicolons between."""
        return b";".join(value for key, value in self._headers if key == name)

    @property
    def size(self) -> int:
        return sum(len(name) + len(value) for name, value in self._headers)

    @property
    def content_length(self) -> int:
        """As it is told; 0 where it is not."""
        told = self.one(b"content-length") or "0"
        return int(told) if told.isdecimal() and len(told) < 19 else 10**19

    @property
    def has_body(self) -> bool:
        return self.content_length > 0 or self.count(b"transfer-encoding") > 0


class _Replay:
    """A `receive` that gives a body that was read, and from then on what really comes."""

    def __init__(self, message: Message, receive: Receive) -> None:
        self._message: Message | None = message
        self._receive = receive

    async def __call__(self) -> Message:
        if (message := self._message) is not None:
            self._message = None
            return message
        return await self._receive()


class _Outlet:
    """A `send` that puts our headers on every response and takes permissions for others off."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kept = [
                (name, value)
                for name, value in message.get("headers", ())
                if name.lower() not in _OURS and not name.lower().startswith(b"access-control-")
            ]
            if all(name.lower() != b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*kept, *SECURITY_HEADERS]}
        await self._send(message)

    async def respond(
        self,
        status: int,
        body: bytes,
        *headers: tuple[bytes, bytes],
        kind: bytes = JSON.encode(),
        unread: Receive | None = None,
    ) -> None:
        """A whole response. What still comes of an `unread` body is thrown away for a moment."""
        about = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
        await self.send({"type": "http.response.start", "status": status, "headers": about})
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        if unread is not None:
            await _drain(unread)
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _key_of(scope: Scope) -> str | None:
    """The key of a link, of the start page only."""
    if scope["method"] != "GET" or scope["path"] != "/":
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
