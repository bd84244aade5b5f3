"""The real API over real sockets, with two tiny models that were really trained."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from starlette.types import ASGIApp

from tests.conftest import until
from tinychat.config import RuntimeSettings
from tinychat.engine import Engine, Shelf
from tinychat.server import (
    API_ROUTES,
    Access,
    Gate,
    Limits,
    bind,
    create_app,
    make_server,
)

TOKEN = "a token of the tests".replace(" ", "-")


@cache
def plain_client() -> httpx.Client:
    """A new connection for each request. Made once: that takes longer than most requests."""
    return httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


@cache
def official_client(url: str, token: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)


@dataclass(frozen=True)
class Reply:
    """What came back on a plain socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    """A server that runs, and ways to ask it."""

    port: int
    engine: Engine
    shelf: Shelf

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def openai(self, token: str = "none") -> openai.OpenAI:
        return official_client(self.url, token)

    def get(self, path: str) -> httpx.Response:
        return plain_client().get(self.url + path)

    def post(self, path: str, body: Any) -> httpx.Response:
        """A JSON body: a document, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return plain_client().post(self.url + path, content=content, headers=headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, raw: bytes) -> Reply:
        """Bytes exactly as they are, and all that comes back."""
        with self.connect() as plain:
            plain.sendall(raw)
            return read_reply(plain)

    def is_idle(self) -> bool:
        return self.engine.running == 0 and self.engine.waiting == 0


def read_reply(plain: socket.socket) -> Reply:
    """One response, up to its Content-Length or the end of the connection."""
    raw = b""
    while b"\r\n\r\n" not in raw and (more := plain.recv(65536)):
        raw += more
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = int(headers.get("content-length", 10**9))
    while len(body) < length and (more := plain.recv(65536)):
        body += more
    return Reply(int(first.split()[1]), headers, body)


@contextmanager
def listening(gate: ASGIApp) -> Iterator[int]:
    """A real server around an app, in a thread; gives its port."""
    plain = bind("127.0.0.1", 0)
    server = make_server(gate)
    thread = threading.Thread(target=server.run, args=([plain],), daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    try:
        yield plain.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        plain.close()


@contextmanager
def site_of(
    checkpoints: Path,
    *,
    engine: Engine | None = None,
    limits: Limits | None = None,
    access: Access | None = None,
    shelf: Shelf | None = None,
) -> Iterator[Site]:
    """The API over a folder of runs."""
    shelf = shelf or Shelf(checkpoints, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    with engine or Engine() as engine:
        app = create_app(engine, shelf, limits)
        gate = Gate(app, API_ROUTES, access=access, limits=limits)
        with listening(gate) as port:
            yield Site(port, engine, shelf)


@pytest.fixture(scope="package")
def site(trained_runs: Path) -> Iterator[Site]:
    """The runs `talk` (chat) and `story` (base), open to this machine."""
    with site_of(trained_runs) as running:
        yield running


@pytest.fixture(scope="package")
def closed_site(trained_runs: Path) -> Iterator[Site]:
    """The same behind a token."""
    with site_of(trained_runs, access=Access(TOKEN)) as running:
        yield running


def endless(checkpoints: Path) -> Shelf:
    """A shelf whose base model never ends by itself (ask it at temperature 2)."""
    shelf = Shelf(checkpoints, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    text = shelf.open("story").text
    text.never_sampled.append(text.tokenizer.format.end)
    return shelf


ENDLESS = {
    "model": "story",
    "prompt": "Anna",
    "temperature": 2,
    "top_k": 0,
    "max_tokens": 1_000_000,
}
