"""A really trained model, the real server in a process of its own, and a real browser before it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright import sync_api as playwright
from playwright.sync_api import Browser, Page

from tinychat.cli.app import run as tinychat
from tinychat.config import RuntimeSettings
from tinychat.conversations import Conversations, Feedback, Teaching, Votes
from tinychat.engine import Engine, Shelf
from tinychat_ui.coach import Coach
from tinychat_ui.context import PageContext, Runs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHAPE = [
    "--model.n-layer=2", "--model.n-head=2", "--model.n-embd=48", "--model.context-length=128",
    "--tokenizer.vocab-size=320", "--batch-size=8", "--optim.learning-rate=6e-3",
    "--checkpoint.every-minutes=none", "--runtime.threads=1", "--runtime.dtype=fp32",
    "--runtime.autotune=false",
]  # fmt: skip
NAMES = ["Anna", "Tom", "Mia", "Leo", "Ida", "Max", "Eva", "Ben"]
THINGS = ["boats", "cats", "apples", "stars", "trains"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever of this folder asks for a browser is marked so."""
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here) and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


def write_talks(path: Path) -> Path:
    """Conversations that a tiny model learns by heart, as JSON lines."""
    turns = [("Hello!", "Hello! Nice to see you."), ("How are you?", "I am well, thank you.")]
    turns += [(f"My name is {name}.", f"Nice to meet you, {name}!") for name in NAMES]
    turns += [(f"Do you like {thing}?", f"Yes, I like {thing} a lot.") for thing in THINGS]
    turns += [(f"What is {a} + {b}?", f"{a} + {b} = {a + b}") for a in range(4) for b in range(4)]
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for _ in range(6)
        for asked, said in turns
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def write_endless(path: Path) -> Path:
    """One text without an end, so that a model that has learnt it goes on for ever."""
    lines = [f"{name} saw {count} {thing} and went home.\n" for count in range(3, 40)
             for name in NAMES for thing in THINGS]  # fmt: skip
    path.write_text("".join(lines), encoding="utf-8")
    return path


def train(runs: Path, name: str, data: Path, *flags: str) -> None:
    """A real run, in this process."""
    words = ["train", "--name", name, "--data", str(data), "--checkpoints", str(runs)]
    assert tinychat([*words, *SHAPE, *flags]) == 0


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with `demo`, which talks, and `tale`, which goes on with texts for ever.
    Only to be read."""
    folder = tmp_path_factory.mktemp("ui")
    runs = folder / "checkpoints"
    quiet = ["--sample.every-steps=50", "--eval.every-steps=50", "--checkpoint.every-steps=50"]
    talks = write_talks(folder / "talks.jsonl")
    train(runs, "tale", write_endless(folder / "tale.txt"), "--max-steps=60", *quiet)
    train(runs, "demo", talks, "--max-steps=200", *quiet)
    return runs


@pytest.fixture(scope="session")
def models(trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained runs to chat with; a test that adds a run or hurts one mends that."""
    folder = tmp_path_factory.mktemp("models") / "checkpoints"
    shutil.copytree(trained_models, folder)
    return folder


OpenContext = Callable[[Path], PageContext]


@pytest.fixture
def page_context(tmp_path: Path) -> Iterator[OpenContext]:
    """What the tabs work with, over a folder of runs; what is said goes to `tmp_path`."""
    with Engine() as engine:

        def open_(checkpoints: Path) -> PageContext:
            shelf = Shelf(checkpoints, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
            return PageContext(
                engine=engine,
                shelf=shelf,
                conversations=Conversations(tmp_path),
                feedback=Feedback(tmp_path),
                votes=Votes(tmp_path),
                teaching=Teaching(tmp_path),
                runs=Runs(checkpoints),
                coach=Coach(checkpoints),
            )

        yield open_


@dataclass
class Server:
    """The real `tinychat-ui` as a process, which can be ended and begun again on its port."""

    checkpoints: Path
    words: tuple[str, ...] = ()
    port: int = 0
    command: tuple[str, ...] = (sys.executable, "-m", "tinychat_ui")
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        """Begin, and wait until it listens."""
        words = [*self.command, *self.words, "--port", str(self.port)]
        words += ["--checkpoints", str(self.checkpoints), "--device", "cpu", "--dtype", "fp32"]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "apps")}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if "the API: http" in line:
                self.port = int(line.split("/v1")[0].rsplit(":", 1)[1])
                return self
        raise AssertionError(f"the server has ended: {''.join(self.lines)}")

    def stop(self) -> None:
        """End it, as Ctrl+C would."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=30)
            self.process = None

    def health(self) -> dict[str, object]:
        """What /healthz says: the engine's answers on their way, and how many wait."""
        return httpx.get(f"{self.url}/healthz").json()

    def is_idle(self) -> bool:
        """Whether the engine does nothing."""
        return (self.health()["running"], self.health()["waiting"]) == (0, 0)


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """The page over the trained models, begun with `demo`; all tests are its visitors."""
    server = Server(models, ("demo",)).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


OpenPage = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """Open a page in a browser profile of its own: `open_page(url, width=390, dark=True)`.

    What the page complains of fails the test.
    """
    contexts, complaints = [], []

    def heard(said: playwright.ConsoleMessage) -> None:
        if said.type == "error":
            complaints.append(told(said))

    def open_(
        url: str, *, width: int = 1280, height: int = 800, dark: bool = False, wait: bool = True
    ) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=width < 500,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", heard)
        page.on("framenavigated", lambda frame: complaints.clear())  # a stream that is cut off
        page.goto(url)
        if wait:
            ready(page)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def told(said: "playwright.ConsoleMessage") -> str:
    """A line of the browser's console, and what it is about."""
    return f"{said.text} {said.location.get('url', '')}"


@pytest.fixture
def page(server: Server, open_page: OpenPage) -> "Page":
    """A new conversation with `demo` on a desktop."""
    return open_page(server.url)


def ready(page: "Page") -> None:
    """Until a model can be asked."""
    page.wait_for_selector(".tc-send:enabled", timeout=60_000)


def answers(page: "Page") -> int:
    """How many finished answers are shown."""
    return page.locator(".tc-assistant .tc-tools").count()


def say(page: "Page", text: str) -> None:
    """Type a message and send it."""
    page.get_by_role("textbox", name="Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def ask(page: "Page", text: str) -> str:
    """The model's whole answer to a message."""
    before = answers(page)
    say(page, text)
    wait_for(page, f"document.querySelectorAll('.tc-assistant .tc-tools').length > {before}")
    idle(page)
    return last(page)


def last(page: "Page") -> str:
    """The text of the last answer."""
    return page.locator(".tc-assistant .tc-body").last.inner_text()


def idle(page: "Page") -> None:
    """Until nothing is being answered."""
    page.get_by_role("button", name="Send", exact=True).wait_for(state="visible", timeout=60_000)


def wait_for(page: "Page", condition: str) -> None:
    """Until a JavaScript expression is true."""
    page.wait_for_function(condition, timeout=60_000)


def choose_run(page: "Page", name: str) -> None:
    """Take another run, and wait until it answers."""
    page.get_by_label("Run", exact=True).select_option(name)
    wait_for(page, f"document.querySelector('.tc-passport strong').innerText.startsWith('{name}@')")
