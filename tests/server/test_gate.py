"""The requests that a hostile page or program would send, over real sockets, as they are."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.types import Receive, Scope, Send

from tests.server.conftest import TOKEN, Reply, Site, listening, read_reply
from tinychat.server import API_ROUTES, Access, Gate, Hosts, Limits, Routes, create_app
from tinychat.server.errors import ApiError

GOOD = json.dumps({"model": "story", "prompt": "Anna", "max_tokens": 1}).encode()
JSON = "Content-Type: application/json"


def raw(
    line: str, *headers: str, host: str | None = "127.0.0.1:{port}", body: bytes | None = None
) -> bytes:
    """A request as bytes; `{port}` stands for the server's."""
    lines = [f"{line} HTTP/1.1"]
    lines += [] if host is None else [f"Host: {host}"]
    lines += [*headers, "Connection: close"]
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


POST = "POST /v1/completions"
PASSES = {
    "by its address": raw("GET /v1/models"),
    "without a port": raw("GET /v1/models", host="127.0.0.1"),
    "through a tunnel's port": raw("GET /v1/models", host="localhost:9999"),
    "localhost in capitals": raw("GET /v1/models", host="LocalHost:{port}"),
    "by IPv6": raw("GET /healthz", host="[::1]:{port}"),
    "a completion": raw(POST, JSON, body=GOOD),
    "a charset": raw(POST, JSON + "; charset=utf-8", body=GOOD),
    "from our own page": raw(POST, JSON, "Origin: http://127.0.0.1:{port}", body=GOOD),
    "from our own page's script": raw("GET /v1/models", "Sec-Fetch-Site: same-origin"),
    "from the address bar": raw("GET /healthz", "Sec-Fetch-Site: none"),
    "by a link elsewhere": raw(
        "GET /healthz", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document"),
    "from our own page by https": raw(POST, JSON, "Origin: https://127.0.0.1:{port}", body=GOOD),
}  # fmt: skip
REFUSED = {
    # another host name (DNS rebinding)
    "foreign host": (421, raw("GET /v1/models", host="evil.example")),
    "foreign host and port": (421, raw("GET /v1/models", host="evil.example:{port}")),
    "foreign host, health": (421, raw("GET /healthz", host="evil.example")),
    "foreign host, no route": (421, raw("GET /nothing", host="evil.example")),
    "foreign host and origin": (
        421, raw(POST, JSON, "Origin: http://evil.example", host="evil.example", body=GOOD)),
    "our name as a beginning": (421, raw("GET /v1/models", host="localhost.evil.example")),
    "our name as an end": (421, raw("GET /v1/models", host="evil.localhost")),
    "our name as a user": (421, raw("GET /v1/models", host="localhost@evil.example")),
    "a dot behind": (421, raw("GET /v1/models", host="localhost.")),
    "another loopback address": (421, raw("GET /v1/models", host="127.0.0.2")),
    "every address": (421, raw("GET /v1/models", host="0.0.0.0:{port}")),
    "a LAN address": (421, raw("GET /v1/models", host="192.168.1.2:{port}")),
    "an empty host": (421, raw("GET /v1/models", host="")),
    "a host with a path": (421, raw("GET /v1/models", host="localhost/")),
    "no host": (400, raw("GET /v1/models", host=None)),
    "two hosts": (400, raw("GET /v1/models", "Host: localhost", host="evil.example")),
    "a forwarded host": (421, raw("GET /v1/models", "X-Forwarded-Host: localhost", host="e.com")),
    # another page
    "foreign origin": (403, raw(POST, JSON, "Origin: http://evil.example", body=GOOD)),
    "null origin": (403, raw(POST, JSON, "Origin: null", body=GOOD)),
    "an empty origin": (403, raw(POST, JSON, "Origin:", body=GOOD)),
    "another port's origin": (403, raw(POST, JSON, "Origin: http://127.0.0.1:1", body=GOOD)),
    "another loopback name": (403, raw(POST, JSON, "Origin: http://localhost:{port}", body=GOOD)),
    "a file's origin": (403, raw(POST, JSON, "Origin: file://", body=GOOD)),
    "an extension's origin": (403, raw(POST, JSON, "Origin: chrome-extension://abc", body=GOOD)),
    "origin with a path": (403, raw(POST, JSON, "Origin: http://127.0.0.1:{port}/", body=GOOD)),
    "two origins": (
        403, raw(POST, JSON, "Origin: http://127.0.0.1:{port}", "Origin: null", body=GOOD)),
    "a foreign page reads": (403, raw("GET /v1/models", "Origin: http://evil.example")),
    "an image elsewhere": (
        403, raw("GET /v1/models", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors",
                 "Sec-Fetch-Dest: image")),
    "a frame elsewhere": (
        403, raw("GET /v1/models", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                 "Sec-Fetch-Dest: iframe")),
    "another port's script": (
        403, raw("GET /v1/models", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors")),
    "a preflight": (
        403, raw("OPTIONS /v1/completions", "Origin: http://evil.example",
                 "Access-Control-Request-Method: POST")),
    "a preflight of our own": (405, raw("OPTIONS /v1/completions")),
    # a form that any page may send
    "a text": (415, raw(POST, "Content-Type: text/plain", body=GOOD)),
    "a form": (415, raw(POST, "Content-Type: application/x-www-form-urlencoded", body=GOOD)),
    "an upload": (415, raw(POST, "Content-Type: multipart/form-data; boundary=x", body=GOOD)),
    "no type": (415, raw(POST, body=GOOD)),
    # what is not there
    "the start page": (404, raw("GET /")),
    "the docs": (404, raw("GET /docs")),
    "the other docs": (404, raw("GET /redoc")),
    "the schema": (404, raw("GET /openapi.json")),
    "an upload route": (404, raw("POST /upload", JSON, body=b"{}")),
    "a file": (404, raw("GET /file=/etc/passwd")),
    "a path upwards": (404, raw("GET /v1/../../etc/passwd")),
    "an encoded path upwards": (404, raw("GET /v1/%2e%2e/%2e%2e/etc/passwd")),
    "a doubled slash": (404, raw("GET //v1/models")),
    "a slash behind": (404, raw("GET /v1/models/")),
    "a proxy request": (404, raw("GET http://127.0.0.1/v1/models")),
    "another method": (405, raw("DELETE /v1/models")),
    "a route by the wrong method": (405, raw("GET /v1/completions")),
    "a websocket": (
        404, raw("GET /queue/join", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    # too much
    "a wrong length": (400, raw(POST, JSON, "Content-Length: -1")),
    "a body said to be large": (413, raw(POST, JSON, "Content-Length: 200000000")),
    "an unreadable line": (400, b"\x00\x01\x02\r\n\r\n"),
}  # fmt: skip


def ask(site: Site, request: bytes) -> Reply:
    return site.send(request.replace(b"{port}", str(site.port).encode()))


@pytest.mark.parametrize("name", PASSES)
def test_who_may_passes(site: Site, name: str) -> None:
    reply = ask(site, PASSES[name])
    assert reply.status == 200
    assert not any(header.startswith("access-control-") for header in reply.headers)


@pytest.mark.parametrize("name", REFUSED)
def test_who_may_not_is_refused(site: Site, name: str) -> None:
    status, request = REFUSED[name]
    reply = ask(site, request)
    assert reply.status == status
    assert not any(header.startswith("access-control-") for header in reply.headers)
    assert b"passwd" not in reply.body
    if reply.headers["content-type"] == "application/json":
        assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert ask(site, PASSES["a completion"]).status == 200


@pytest.mark.parametrize("name", PASSES)
def test_without_the_token_nobody_passes(closed_site: Site, name: str) -> None:
    reply = ask(closed_site, PASSES[name])
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("name", REFUSED)
def test_the_token_opens_nothing_else(closed_site: Site, name: str) -> None:
    status, request = REFUSED[name]
    assert ask(closed_site, request).status in ({status} if status in (400, 403, 421) else {401})
    line, _, rest = request.partition(b"\r\n")
    with_token = line + f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() + rest
    assert ask(closed_site, with_token).status == status


@pytest.mark.parametrize("route", [*API_ROUTES, "GET /docs", "GET /", "POST /upload"])
def test_every_route_wants_the_token(closed_site: Site, route: str) -> None:
    assert ask(closed_site, raw(route, JSON, body=b"{}")).status == 401


def test_the_token_in_the_official_client(closed_site: Site) -> None:
    assert list(closed_site.openai(TOKEN).models.list())


def test_every_answer_binds_the_browser(site: Site) -> None:
    for request in (PASSES["by its address"], REFUSED["the docs"][1], REFUSED["foreign host"][1]):
        headers = ask(site, request).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_the_apps_routes_are_the_list(site: Site) -> None:
    app = create_app(site.engine, site.shelf)
    routes = Routes(API_ROUTES)
    assert routes.missing(app.routes) == []
    assert len(app.routes) == len(API_ROUTES)
    app.add_api_route("/v1/more", lambda: None, methods=["GET"])
    app.mount("/static", FastAPI())

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None: ...

    assert routes.missing(app.routes) == [
        "GET /v1/more",
        "MOUNT /static",
        "APIWebSocketRoute /talk",
    ]


def test_a_beginning_lets_nothing_slip_past() -> None:
    routes = Routes(["GET /assets/*", "GET /exact"])
    assert routes.has("GET", "/assets/a/b.js")
    for path in ("/assets/../v1", "/assets//x", "/assets/\\x", "/assets/\x00", "/exact/", "/asset"):
        assert not routes.has("GET", path)
    assert not routes.has("POST", "/assets/a")


# bodies


def test_a_body_of_just_the_limit_is_read(site: Site) -> None:
    body = GOOD[:-1] + b', "user": "' + b"x" * (256 * 1024 - len(GOOD) - 12) + b'"}'
    assert len(body) == 256 * 1024
    assert ask(site, raw(POST, JSON, body=body)).status == 200
    assert ask(site, raw(POST, JSON, body=body + b" ")).status == 413


def test_a_large_body_without_a_length_is_refused(site: Site) -> None:
    head = raw(POST, JSON, "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with site.connect() as plain:
        plain.sendall(head.replace(b"{port}", str(site.port).encode()) + chunk * 5)
        assert read_reply(plain).status == 413


def test_a_chunked_body_is_read(site: Site) -> None:
    chunk = f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n0\r\n\r\n"
    assert ask(site, raw(POST, JSON, "Transfer-Encoding: chunked") + chunk).status == 200


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with echoing(limits=Limits(read_seconds=0.2)) as site:
        reply = site.send(raw(POST, JSON, "Content-Length: 10").replace(b"{port}", b"1") + b"{")
    assert reply.status == 408


def test_a_long_header_is_refused(site: Site) -> None:
    reply = ask(site, raw("GET /v1/models", "X-Long: " + "x" * 33 * 1024))
    assert reply.status in (400, 431)  # whether it came in one piece


def test_deep_nesting_is_refused(site: Site) -> None:
    assert ask(site, raw(POST, JSON, body=b"[" * 100_000)).status == 400


# an app that is mounted behind the gate


async def careless(scope: Scope, receive: Receive, send: Send) -> None:
    """Allows every page, and fails on one path."""
    if scope["path"] == "/fails":
        raise RuntimeError("a secret")
    message = await receive()
    origin = dict(scope["headers"]).get(b"origin", b"*")
    headers = [
        (b"access-control-allow-origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"x-frame-options", b"ALLOWALL"),
        (b"cache-control", b"max-age=60"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message.get("body", b"")})


@contextmanager
def echoing(**more: Any) -> Iterator[Site]:
    routes = ["GET /", "GET /fails", "GET /healthz", POST]
    with listening(Gate(careless, routes, **more)) as port:
        yield Site(port, None, None)  # type: ignore[arg-type]


def test_what_an_inner_app_allows_is_taken_off() -> None:
    with echoing() as site:
        reply = ask(site, raw("GET /", "Origin: http://127.0.0.1:{port}"))
        assert reply.status == 200
        assert not any(name.startswith("access-control-") for name in reply.headers)
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["cache-control"] == "max-age=60"
        assert site.post("/v1/completions", b"[1]").content == b"[1]"


def test_a_failure_inside_is_told_without_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    with echoing() as site:
        reply = ask(site, raw("GET /fails"))
    assert reply.status == 500
    assert b"secret" not in reply.body
    mark = reply.json["error"]["message"].split()[-1].strip(".")
    assert mark in caplog.text
    assert "a secret" in caplog.text


# signing in


@contextmanager
def signing_in() -> Iterator[tuple[Site, Access, list[str], list[float]]]:
    links: list[str] = []
    now = [0.0]
    access = Access(TOKEN, on_link=links.append, clock=lambda: now[0])
    with echoing(access=access) as site:
        yield site, access, links, now


def test_a_link_signs_one_browser_in_once() -> None:
    with signing_in() as (site, access, links, _):
        key = access.key
        first = ask(site, raw(f"GET /?token={key}"))
        assert first.status == 200
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert key not in cookie
        assert ask(site, raw("GET /", f"Cookie: other=1; {cookie.split(';')[0]}")).status == 200
        assert ask(site, raw(f"GET /?token={key}")).status == 401
        assert links == [access.key] != [key]
        assert ask(site, raw(f"GET /?token={links[0]}")).status == 200


def test_wrong_credentials_do_not_pass() -> None:
    with signing_in() as (site, access, _, now):
        for header in (
            "Authorization: Bearer " + TOKEN[:-1],
            "Authorization: Bearer",
            f"Authorization: Basic {TOKEN}",
            f"Authorization: {TOKEN}",
            f"Cookie: tinychat_{site.port}={TOKEN}",
            f"Cookie: tinychat_{site.port}=",
            f"Cookie: tinychat_{site.port}={access.key}",
            "Cookie: \xff\xfe=;;;",
            f"X-Api-Key: {TOKEN}",
        ):
            now[0] += 1000
            assert ask(site, raw("GET /", header)).status == 401
        assert ask(site, raw(f"GET /?token={TOKEN}")).status == 401
        assert ask(site, raw(f"GET /healthz?token={access.key}")).status == 401
        assert ask(site, raw(f"{POST}?token={access.key}", JSON, body=b"{}")).status == 401


def test_a_browser_without_token_gets_a_page() -> None:
    with signing_in() as (site, *_):
        reply = ask(site, raw("GET /", "Accept: text/html,*/*"))
        assert reply.status == 401
        assert b"<h1>" in reply.body
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def test_after_five_wrong_tries_one_waits() -> None:
    wrong, right = "Authorization: Bearer nonsense", f"Authorization: Bearer {TOKEN}"
    with signing_in() as (site, access, _, now):
        cookie = "Cookie: " + access.cookie(f"tinychat_{site.port}").split(";")[0]
        assert [ask(site, raw("GET /", wrong)).status for _ in range(6)] == [401] * 5 + [429]
        waiting = ask(site, raw("GET /", right))
        assert waiting.status == 429
        assert waiting.headers["retry-after"] == "1"
        assert ask(site, raw(f"GET /?token={access.key}")).status == 429
        assert ask(site, raw("GET /", cookie)).status == 200  # it cannot be guessed
        now[0] += 1
        assert ask(site, raw("GET /", wrong)).status == 401
        assert ask(site, raw("GET /", right)).headers["retry-after"] == "2"  # longer each time
        now[0] += 2
        assert ask(site, raw("GET /", right)).status == 200
        assert ask(site, raw("GET /", wrong)).status == 401  # forgiven


def test_many_addresses_take_no_more_memory() -> None:
    access = Access(TOKEN)
    for number in range(5000):
        access.has_token(b"Bearer no", f"10.0.{number // 256}.{number % 256}")
    assert len(access._wrong) <= 1024


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with spaces in it ....", "ümlaut" * 5])
def test_a_token_that_is_easily_guessed_is_refused(token: str) -> None:
    with pytest.raises(Exception, match="16 to 256 characters"):
        Access(token)


# names of a server that others can reach


def test_a_server_for_others_answers_to_addresses_and_its_own_name() -> None:
    hosts = Hosts.of("0.0.0.0")
    own = os.uname().nodename
    for host in ("192.168.1.2:8000", "localhost", "[::1]:1", "[fe80::1]:8000", own, f"{own}:1"):
        assert hosts.is_ours(host)
    for host in ("evil.example", f"{own}.evil.example", "1.2.3.4.evil.example", "1.2.3", "[x]"):
        assert not hosts.is_ours(host)
    assert Hosts.of("box.lan").is_ours("box.lan:8000")
    assert Hosts.of("127.0.0.2").is_ours("127.0.0.2:8000")
    assert not Hosts.of("127.0.0.2").is_ours("192.168.1.2:8000")


def test_errors_have_one_shape() -> None:
    assert ApiError(429, "later", code="c").document() == {
        "error": {"message": "later", "type": "rate_limit_error", "param": None, "code": "c"}
    }
