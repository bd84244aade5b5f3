"""Nothing here needs a network, and nothing asks for one: watched from inside, and without one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import sync_playwright

from tests.apps.ui.conftest import (
    ARGUMENTS,
    CHROMIUM,
    OpenPage,
    Page,
    Server,
    ask,
    ready,
)
from tests.apps.ui.tabs import compare, open_tab, travel

ROOT = Path(__file__).parents[3]
SAID = "Hello! Nice to see you."
ASKED = {
    "model": "demo@200", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0,
}  # fmt: skip
# Other programs that a process starts would not be seen: that they are started is.
WATCH = """
import sys

NAMES = (
    "socket.getaddrinfo", "socket.gethostby", "socket.getnameinfo", "socket.connect",
    "socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system",
)
OWN = ("127.0.0.1", "localhost", "::1")

def host_of(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        return address[0] if isinstance(address, tuple) else None  # a socket in the file system
    if event == "socket.getnameinfo":
        return arguments[0][0]
    return arguments[0]

def watch(event, arguments):
    if event.startswith(NAMES) and (host := host_of(event, arguments)) not in (None, *OWN):
        with open(TOLD, "a") as file:
            print(event, host, file=file)
        if event.startswith("socket."):
            raise OSError("this test lets nothing out")

TOLD = sys.argv.pop(1)
sys.addaudithook(watch)
"""
PAGE = "from tinychat_ui.__main__ import main\nsys.exit(main())"
CALLS = {
    "socket.getaddrinfo": "import socket; socket.getaddrinfo('tinychat.invalid', 80)",
    "socket.gethostbyname": "import socket; socket.gethostbyname('tinychat.invalid')",
    "socket.connect": "import socket; socket.socket().connect(('192.0.2.1', 80))",
    "socket.sendto": "import socket; s = socket.socket(type=2); s.sendto(b'', ('192.0.2.1', 53))",
    "socket.getaddrinfo ": "import httpx; httpx.get('http://tinychat.invalid')",
    "socket.connect ": "import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 80))",
    "subprocess.Popen": "import subprocess; subprocess.run(['true'])",
}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where a watched process says what it has tried."""
    path = tmp_path / "told.txt"
    path.touch()
    return path


@pytest.fixture
def models(trained_models: Path, tmp_path: Path) -> Path:
    """A copy of its own for a server of its own."""
    return shutil.copytree(trained_models, tmp_path / "checkpoints")


@pytest.fixture
def watched(models: Path, told: Path) -> Iterator[Server]:
    """The page in a process that notes, and forbids, every way out of this machine."""
    command = (sys.executable, "-c", WATCH + PAGE, str(told))
    server = Server(models, ("demo",), command=command).start()
    yield server
    server.stop()


def visit(page: Page) -> str:
    """A whole visit of the page; returns what the model has said."""
    page.get_by_role("button", name="Exact").click()
    said = ask(page, "Hello!")
    compare(page, "Hello!")
    travel(page, "Hello!")
    for tab in ("Teach", "API & about"):
        open_tab(page, tab)
        page.get_by_role("tabpanel").first.wait_for()
    return said


def ask_api(server: Server) -> str:
    """What the API answers."""
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=ASKED, timeout=60).json()
    return answer["choices"][0]["message"]["content"]


def test_a_whole_visit_looks_up_and_calls_nobody(
    watched: Server, open_page: OpenPage, told: Path
) -> None:
    page = open_page(watched.url)
    assert visit(page) == SAID
    assert ask_api(watched) == SAID
    assert httpx.get(f"{watched.url}/v1/models").status_code == 200
    page.close()
    watched.stop()
    assert told.read_text() == ""


@pytest.mark.parametrize(("event", "call"), CALLS.items())
def test_the_watch_sees_every_way_out(told: Path, event: str, call: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"{WATCH}\n{call}", str(told)],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert told.read_text().startswith(event.strip())


# Without a network: in a namespace that has loopback alone.


@pytest.fixture(scope="session")
def alone() -> list[str]:
    """What begins a command in such a namespace."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("there is no unshare or no ip on this machine")
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    for way in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if (
            subprocess.run([*way, *inside, "true"], capture_output=True, check=False).returncode
            == 0
        ):
            return [*way, *inside]
    pytest.skip("this machine lets nobody make a network namespace (root may, elsewhere)")


def run_alone(alone: list[str], *words: str) -> str:
    """What Python prints there."""
    done = subprocess.run(
        [*alone, sys.executable, *words], capture_output=True, encoding="utf-8", cwd=ROOT,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def visit_alone(checkpoints: str) -> None:
    """The page and a browser, both in the namespace that this process is in."""
    server = Server(Path(checkpoints), ("demo",)).start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page()
            page.goto(server.url)
            ready(page)
            said = [visit(page), ask_api(server)]
            browser.close()
    finally:
        server.stop()
    print(json.dumps({"said": said, "networks": list(psutil.net_if_addrs())}))


@pytest.mark.slow  # the watched visit shows most of it in less time
def test_the_page_works_without_a_network(alone: list[str], models: Path, browser: object) -> None:
    code = f"from {__name__} import visit_alone; visit_alone({str(models)!r})"
    assert json.loads(run_alone(alone, "-c", code)) == {"said": [SAID, SAID], "networks": ["lo"]}


def test_the_terminal_works_without_a_network(alone: list[str], trained_models: Path) -> None:
    words = ["-m", "tinychat", "generate", "demo@200", "--checkpoints", str(trained_models)]
    said = run_alone(alone, *words, "--prompt", "Hello!", "--temperature", "0", "--device", "cpu")
    assert said.strip() == SAID
