"""`tinychat serve` as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tests.cli.conftest import Tinychat, spawn

TOKEN = "a-token-of-the-tests"
LEFT = "left this machine:"
WATCHED = f"""
import sys
OWN = ("'127.0.0.1'", "'0.0.0.0'")
LEAVING = ("socket.getaddrinfo", "socket.gethostby", "socket.connect", "socket.sendto")
def watch(event, arguments):
    if event.startswith(LEAVING) and not any(own in repr(arguments) for own in OWN):
        print({LEFT!r}, event, arguments, flush=True)
sys.addaudithook(watch)
from tinychat.cli.app import main
main(sys.argv[1:])
"""


@contextmanager
def served(*words: object, token: str | None = None) -> Iterator["Served"]:
    """The command, from its first line until it is interrupted. It looks up and calls nobody."""
    environment = os.environ | {"COLUMNS": "200"}
    environment.pop("TINYCHAT_TOKEN", None)
    if token is not None:
        environment["TINYCHAT_TOKEN"] = token
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, "serve", "--port", "0", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=environment,
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        process.kill()
        rest, _ = process.communicate()
    assert LEFT not in (rest or "")


class Served:
    """A server's process and what it printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.lines: list[str] = []
        while not self.lines or not self.lines[-1].startswith("try it:"):
            line = process.stdout.readline()
            assert line, f"it ended: {self.lines}"
            self.lines.append(line.rstrip("\n"))
        self.api = self.lines[0].split()[0]

    @property
    def port(self) -> int:
        return int(self.api.rsplit(":", 1)[1].split("/")[0])

    def client(self, token: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.api, api_key=token, max_retries=0)

    def interrupt(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


@pytest.fixture(scope="module")
def server(trained_runs: Path) -> Iterator[Served]:
    with served("--checkpoints", trained_runs, "--device", "cpu") as running:
        yield running


def test_it_says_where_and_how(server: Served) -> None:
    assert server.api.startswith("http://127.0.0.1:")
    assert "2 models: story, talk" in server.lines
    curl = server.lines[-1].removeprefix("try it: ").replace('"story"', '"talk"')
    done = subprocess.run(["bash", "-c", f"{curl} -s"], capture_output=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant"


def test_it_listens_for_this_machine_only(server: Served) -> None:
    process = psutil.Process(server.process.pid)
    places = [c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(place.ip, place.port) for place in places] == [("127.0.0.1", server.port)]


def test_api_and_generate_say_the_same(
    server: Served, trained_runs: Path, tinychat: Tinychat
) -> None:
    rules = ["--seed", 5, "--max-new-tokens", 20, "--json", "--checkpoints", trained_runs]
    story = tinychat("generate", "story@20", "--prompt", "Anna saw", *rules).json["text"]
    talk = tinychat("generate", "talk@20", "--prompt", "Hello!", *rules).json["text"]
    client, serial = server.client(), {"serial": True}
    text = client.completions.create(
        model="story@20", prompt="Anna saw", seed=5, max_tokens=20, extra_body=serial
    )
    chat = client.chat.completions.create(
        model="talk@20", messages=[{"role": "user", "content": "Hello!"}], seed=5,
        max_tokens=20, extra_body=serial,
    )  # fmt: skip
    assert text.choices[0].text == story
    assert chat.choices[0].message.content == talk


@pytest.mark.parametrize("chunked", [False, True])
def test_two_hundred_megabytes_are_refused_before_they_are_read(
    server: Served, chunked: bool
) -> None:
    told = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 200000000"
    piece = b" " * 1_000_000
    if chunked:
        piece = b"f4240\r\n" + piece + b"\r\n"
    assert httpx.get(f"{server.api}/models").status_code == 200  # it has grown to its size
    memory = psutil.Process(server.process.pid).memory_info
    before = most = memory().rss
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain:
        plain.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\n" + told + b"\r\n\r\n"
        )
        try:
            for _ in range(200):
                plain.sendall(piece)
                most = max(most, memory().rss)
        except OSError:
            pass  # it does not listen to the end
        assert plain.recv(12) == b"HTTP/1.1 413"
    assert most - before < 20_000_000


def test_ctrl_c_does_not_wait_for_an_answer(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    with served("--checkpoints", tmp_path / "checkpoints") as server:
        assert any("`tinychat demo` makes one" in line for line in server.lines)
        assert list(server.client().models.list()) == []
        copy_of("story")
        stream = server.client().completions.create(
            model="story", prompt="Anna", stream=True, temperature=2, extra_body={"top_k": 0}
        )
        assert next(iter(stream)).choices
        assert server.interrupt() == (0, "")


def test_a_token_is_wanted_once_there_is_one(trained_runs: Path) -> None:
    words = ["talk", "--checkpoints", trained_runs, "--host", "0.0.0.0"]
    with served(*words, token=TOKEN) as server:
        assert server.api.startswith("http://127.0.0.1:")
        assert TOKEN not in "\n".join(server.lines)
        assert "$TINYCHAT_TOKEN" in server.lines[-1]
        with pytest.raises(openai.AuthenticationError):
            server.client().models.list()
        assert all(model.id.startswith("talk") for model in server.client(TOKEN).models.list())
        with httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
            for host, status in ((socket.gethostname(), 200), ("evil.example", 421)):
                reply = client.get(f"{server.api}/models", headers={"host": host})
                assert reply.status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "box.lan"])
def test_another_host_needs_a_token(
    tinychat: Tinychat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("TINYCHAT_TOKEN", raising=False)
    refused = tinychat("serve", "--checkpoints", tmp_path, "--host", host)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "TINYCHAT_TOKEN" in refused.err


def test_what_cannot_be_is_one_sentence(tinychat: Tinychat, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = tinychat("serve", "--checkpoints", tmp_path, "--port", port)
        assert (result.code, result.err.count("\n")) == (1, 1)
        assert f"Port {port} of 127.0.0.1 is in use" in result.err
    for words, told in (
        (["--token", "short"], "16 to 256 characters"),
        (["--host", "192.0.2.1", "--token", TOKEN], "is no address of this machine"),
        (["nosuchrun"], "No run or checkpoint named 'nosuchrun'"),
        (["--port", "70000"], "70000"),
    ):
        result = tinychat("serve", "--checkpoints", tmp_path, *words)
        assert (result.code, result.out) == (2, "")
        assert told in result.err
        assert "Traceback" not in result.err


def test_help_knows_no_server() -> None:
    code = (
        "import sys; from tinychat.cli.app import run; run(['serve', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'fastapi', 'uvicorn', 'gradio')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert "serve" in spawn("--help").out


def test_the_server_knows_no_page() -> None:
    code = (
        "import sys, tinychat.server; "
        "sys.exit(any(name in sys.modules for name in ('gradio', 'jinja2', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
