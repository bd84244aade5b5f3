"""Stop before the first word: while a long prompt is read, and while a request waits its turn."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.apps.ui.conftest import (
    Page,
    Server,
    answers,
    choose_run,
    idle,
    say,
    wait_for,
)
from tests.conftest import until
from tinychat.model import Decoder, load_model, model_files
from tinychat.runs import publish_checkpoint

ROWS = 8  # answers that the engine makes at once
READERS = 3  # of them, which read a long text; the others talk meanwhile
CONTEXT = 8192
LONG = "字" * 8000  # three tokens each: more than the context holds

Stop = Callable[[Page], None]


def press_stop(page: Page) -> None:
    page.get_by_role("button", name="Stop", exact=True).locator("visible=true").click()


def press_escape(page: Page) -> None:
    page.keyboard.press("Escape")


both_ways = pytest.mark.parametrize("stop", [press_stop, press_escape])


@pytest.fixture(scope="module", autouse=True)
def long_run(models: Path) -> Iterator[None]:
    """Beside the others the run `long`: untrained, and seconds at work on a full context."""
    run, step = models / "long", 60
    shutil.copytree(models / "tale", run, ignore=shutil.ignore_patterns("step-*"))
    small = load_model(models / "tale" / f"step-{step:08d}")
    shape = replace(
        small.card.model, n_layer=10, n_head=8, n_kv_head=2, n_embd=256, context_length=CONTEXT
    )
    torch.manual_seed(1)
    card = replace(small.card, model=shape)
    files = model_files(Decoder(shape, card.vocab_size), small.tokenizer, card)
    publish_checkpoint(run, step, files)
    yield
    shutil.rmtree(run)


def stream(server: Server, model: str, prompt: str) -> socket.socket:
    """A stream of the API as its bytes come; closing the socket ends it."""
    asked = {"model": model, "prompt": prompt, "stream": True, "max_tokens": 1024}
    body = json.dumps(asked).encode()
    head = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    plain.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
    return plain


def goes_on(plain: socket.socket) -> bool:
    """Whether text comes that was not there before."""
    plain.setblocking(False)
    try:
        while plain.recv(65536):
            pass
    except BlockingIOError:
        pass
    plain.settimeout(60)
    new = b""
    while b'"text"' not in new and (piece := plain.recv(65536)):
        new += piece
    return b'"text"' in new and b"[DONE]" not in new


@pytest.fixture
def streams(server: Server) -> Iterator[list[socket.socket]]:
    """As many streams of the API as the engine makes answers at once; all but `READERS` talk."""
    asked = [("tale", "Tom saw")] * (ROWS - READERS) + [("long", LONG)] * READERS
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(stream(server, *each))) for each in asked]
        until(lambda: server.health()["running"] == ROWS)
        yield opened[:-READERS]
    until(server.is_idle)


def is_unanswered(page: Page, models: Path) -> bool:
    """Whether the page shows no answer, and the disk holds none."""
    until(lambda: "#c=" in page.evaluate("location.hash"))  # it comes with the question
    conversation = page.evaluate("location.hash").rpartition("=")[2]
    path = models / ".chats" / "conversations" / f"{conversation}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    roles = [row["role"] for row in rows if "role" in row]
    return roles == ["user"] and page.locator(".tc-assistant").count() == 0


@both_ways
def test_stop_while_the_prompt_is_read(
    page: Page, server: Server, models: Path, stop: Stop
) -> None:
    choose_run(page, "long")
    say(page, LONG)
    page.locator(".tc-live .tc-waiting", has_text="reading ").wait_for()
    until(lambda: server.health()["running"] == 1)
    stop(page)
    idle(page)
    until(server.is_idle)
    assert is_unanswered(page, models)
    choose_run(page, "demo")
    page.get_by_role("button", name="Exact").click()
    say(page, "Hello!")
    wait_for(page, "document.querySelectorAll('.tc-assistant .tc-tools').length === 1")
    assert answers(page) == 1


@pytest.mark.slow
@both_ways
def test_stop_while_it_waits_for_its_turn(
    page: Page, server: Server, models: Path, streams: list[socket.socket], stop: Stop
) -> None:
    say(page, "Hello!")
    until(lambda: server.health()["waiting"] == 1)
    stop(page)
    idle(page)
    until(lambda: server.health()["waiting"] == 0)
    assert server.health()["running"] == ROWS
    assert is_unanswered(page, models)
    assert all(goes_on(each) for each in streams)
