"""What the page lets nobody do, and what it never does itself."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount

from tests.apps.ui.conftest import OpenContext, OpenPage, Page, Server, ask, ready
from tests.apps.ui.tabs import (
    ask_four,
    compare,
    open_teach,
    travel,
)
from tinychat.server import API_ROUTES, Routes, create_app
from tinychat_ui.__main__ import main
from tinychat_ui.context import PageContext
from tinychat_ui.page import build_page, mount_page
from tinychat_ui.routes import CLOSED, OPEN

SHUT = [
    ("GET", "/config"), ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json"),
    ("GET", "/gradio_api/info"), ("GET", "/gradio_api/openapi.json"), ("GET", "/monitoring"),
    ("GET", "/monitoring/summary"), ("GET", "/gradio_api/file=/etc/passwd"),
    ("GET", "/gradio_api/file=../../etc/passwd"), ("GET", "/gradio_api/file=%2fetc%2fpasswd"),
    ("GET", "/gradio_api/file=http://127.0.0.1:1/x"), ("GET", "/gradio_api/file/etc/passwd"),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:1/x"), ("GET", "/gradio_api/runs"),
    ("GET", "/gradio_api/vibe-code"), ("GET", "/static/../../../../etc/passwd"),
    ("GET", "/assets/..%2f..%2f..%2fetc/passwd"), ("GET", "/gradio_api/deep_link"),
    ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/api/asked"),
    ("POST", "/gradio_api/run/asked"), ("POST", "/gradio_api/call/asked"),
    ("POST", "/gradio_api/reset"), ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/process_recording"), ("POST", "/gradio_api/vibe-edit"),
    ("POST", "/login"), ("GET", "/gradio_api/token"), ("GET", "/svelte/x"),
]  # fmt: skip
PAYLOADS = [
    "<img src=x onerror=window.hit=1>", "${window.hit=2}", "`{{value}}", "</p>",
    "</span><b>bold", "[x](javascript:window.hit=3)",
]  # fmt: skip


@pytest.fixture
def context(page_context: OpenContext, tmp_path: Path) -> PageContext:
    """A page over a folder without a run."""
    return page_context(tmp_path)


def routes_of(routes: Iterable[object]) -> Iterator[str]:
    """Every route there is, also in mounted apps and included routers."""
    for route in routes:
        if isinstance(route, Mount):
            yield from routes_of(route.routes)
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from routes_of(router.routes)
        else:
            for method in getattr(route, "methods", None) or [type(route).__name__]:
                yield f"{method} {getattr(route, 'path', '?').rstrip('/') or '/'}"


def test_every_route_of_gradio_is_one_that_somebody_has_judged(context: PageContext) -> None:
    app = mount_page(create_app(context.engine, context.shelf), build_page(context), "x", 1)
    there = set(routes_of(app.routes))
    assert len(there) > 40
    allowed = Routes((*OPEN, *API_ROUTES))
    news = [
        each
        for each in there
        if not allowed.has(*each.split(" ", 1)) and not each.startswith(CLOSED)
    ]
    assert not news, "decide in tinychat_ui/routes.py whether the page needs these"


def test_no_event_of_the_page_is_a_public_one(context: PageContext) -> None:
    page = build_page(context)
    assert {str(each.api_visibility) for each in page.fns.values()} == {"private"}
    assert page.get_api_info()["named_endpoints"] == {}


def test_only_stop_goes_past_the_queue(server: Server, context: PageContext) -> None:
    page = build_page(context)
    past = {each.name for each in page.fns.values() if each.fn and not each.queue}
    assert past == {"halted"}
    queued = next(number for number, each in page.fns.items() if each.queue)
    asked = {"fn_index": queued, "data": [], "session_hash": "x"}
    answer = httpx.post(f"{server.url}/gradio_api/run/predict", json=asked)
    assert answer.status_code in (404, 503)


@pytest.mark.parametrize(("method", "path"), SHUT)
def test_what_the_page_does_not_need_is_shut(server: Server, method: str, path: str) -> None:
    json = {"data": []} if method == "POST" else None
    answer = httpx.request(method, server.url + path, json=json)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text


def test_headers_bind_the_browser(server: Server) -> None:
    headers = httpx.get(server.url).headers
    policy = headers["content-security-policy"]
    for rule in ("default-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_other_hosts_and_other_pages_are_refused(server: Server) -> None:
    assert httpx.get(server.url, headers={"host": "evil.example"}).status_code == 421
    join = f"{server.url}/gradio_api/queue/join"
    for origin in ("http://evil.example", "null"):
        answer = httpx.post(join, json={}, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_the_api_answers_on_the_same_port(server: Server) -> None:
    names = [each["id"] for each in httpx.get(f"{server.url}/v1/models").json()["data"]]
    assert "demo@200" in names
    asked = {"model": "demo@200", "messages": [{"role": "user", "content": "Hello!"}],
             "temperature": 0}  # fmt: skip
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=60).json()
    assert answer["choices"][0]["message"]["content"] == "Hello! Nice to see you."


def test_the_page_asks_nobody_but_its_own_server(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.reload()
    ready(page)
    page.get_by_role("button", name="Exact").click()
    ask(page, "Hello! ![x](http://127.0.0.9/x.png) <img src=http://127.0.0.9/y.png>")
    for tab in ("Compare", "Time travel", "Teach", "API & about"):
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("tabpanel").first.wait_for()
    assert asked
    assert not [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert "Hello" not in kept


@pytest.mark.slow
def test_what_looks_like_code_stays_text_on_every_tab(page: Page) -> None:
    page.locator("#tc-rail details", has_text="More rules").locator("summary").click()
    page.get_by_label("Longest answer").fill("4")
    page.keyboard.press("Tab")
    for number, payload in enumerate(PAYLOADS):
        ask(page, payload)
        assert page.locator(".tc-user .tc-words").nth(number).inner_text() == payload
    assert page.locator(".tc-turn :is(img, b, a)").count() == 0
    together = " ".join(PAYLOADS)
    ask(page, together)
    page.locator(".talks-title", has_text=PAYLOADS[0]).first.wait_for()
    assert page.locator("#tc-rail :is(img, b)").count() == 0
    page.get_by_role("button", name="Look inside").last.click()
    page.get_by_role("button", name="Raw: the exact token ids").click()
    page.wait_for_selector("#inside-ids li")
    assert "&lt;" not in page.locator("#inside-ids").inner_text()
    assert page.locator("#tc-inside :is(img, b)").count() == 0
    compare(page, together)
    assert page.locator("#compare-panes :is(img, b)").count() == 0
    travel(page, together)
    assert page.locator(".travel-rows :is(img, b)").count() == 0
    open_teach(page)
    ask_four(page, together)
    assert page.locator("#teach-four :is(img, b)").count() == 0
    assert page.evaluate("window.hit") is None


def test_nobody_gets_in_without_the_token(models: Path) -> None:
    token = "a-token-that-is-long-enough"
    server = Server(models, ("demo", "--token", token)).start()
    try:
        for path in ("/", "/theme.css", "/v1/models", "/healthz", "/gradio_api/queue/data"):
            assert httpx.get(server.url + path).status_code == 401
        right = {"authorization": f"Bearer {token}"}
        assert httpx.get(server.url, headers=right).status_code == 200
    finally:
        server.stop()


def test_another_host_wants_a_token(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYCHAT_TOKEN", raising=False)
    monkeypatch.setattr("tinychat_ui.__main__.share_cores", lambda: None)  # for this process
    assert main(["--host", "0.0.0.0", "--checkpoints", str(tmp_path)]) == 2
    assert "token" in capsys.readouterr().err


def test_a_wrong_name_is_told_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinychat_ui.__main__.share_cores", lambda: None)  # for this process
    assert main(["nothing", "--checkpoints", str(tmp_path)]) == 2
    assert "No run or checkpoint named 'nothing'" in capsys.readouterr().err


def test_help_waits_for_neither_gradio_nor_torch() -> None:
    code = (
        "import sys\nfrom tinychat_ui.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('gradio', 'torch', 'numpy', 'fastapi') if name in sys.modules])"
    )
    apps = Path(__file__).parents[3] / "apps"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": f"{apps}:{apps.parent}", "PATH": ""},
    )  # fmt: skip
    assert "--checkpoints" in done.stdout
    assert done.stdout.strip().endswith("[]")
