"""A small hub on loopback that speaks the protocol of the real one, to be fetched from in tests.

Knows one repository of each kind: its description with sizes and sha256, and its files with
ETag, commit, and ranges. `cut` ends the first answer of a file after so many bytes; while
`gate` is closed, no file is sent.
"""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `files` of every repository whose name is in `names`."""

    def __init__(self, names: set[str], files: dict[str, bytes], licence: Any) -> None:
        self.names, self.files, self.licence = names, files, licence
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, range
        self.cut: dict[str, int] = {}
        self.lies: dict[str, bytes] = {}  # sent instead of the file
        self.commit = COMMIT
        self.gate = Event()
        self.gate.set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def log_message(self, format: str, *_: Any) -> None: ...  # noqa: A002

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def fetched(self) -> list[str | None]:
        """The ranges of files that were asked for."""
        return [each for method, path, each in self.asked if method == "GET" and "resolve" in path]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = request.path.partition("?")[0]
        self.asked.append((request.command, path, request.headers.get("Range")))
        about = re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/revision/.*)?", path)
        file = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if about and about[1] in self.names:
            self._send(request, 200, json.dumps(self._about(about[1])).encode(), with_body)
        elif file and file[1] in self.names and unquote(file[2]) in self.files:
            self._send_file(request, unquote(file[2]), with_body)
        else:
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self._send(request, 404, b"{}", with_body, headers)

    def _about(self, name: str) -> dict[str, Any]:
        siblings = [
            {"rfilename": n, "size": len(d), "blobId": "0", "lfs": {
                "sha256": hashlib.sha256(d).hexdigest(), "size": len(d), "pointerSize": 1}}
            for n, d in self.files.items()
        ]  # fmt: skip
        card = {"license": self.licence} if self.licence else {}
        return {"id": name, "sha": self.commit, "siblings": siblings, "cardData": card,
                "private": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _send_file(self, request: BaseHTTPRequestHandler, name: str, with_body: bool) -> None:
        data = self.lies.get(name, self.files[name])
        etag = hashlib.sha256(self.files[name]).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        status, first = 200, 0
        if wanted and with_body:
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            last = min(last, len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            status, data = 206, data[first : last + 1]
        if with_body:
            self.gate.wait(60)
        cut = self.cut.pop(name, None) if with_body else None
        self._send(request, status, data, with_body, headers, cut)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        data: bytes,
        with_body: bool,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in (headers or {}).items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if with_body:
            request.wfile.write(data[:cut])
        if cut is not None:
            request.close_connection = True
