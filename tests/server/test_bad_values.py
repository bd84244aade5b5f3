"""Values that no request may carry: each is answered with 400, and the next good one works."""

import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.server.conftest import Site

TALK = {"model": "talk", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
TEXT = {"model": "story", "prompt": "Anna", "max_tokens": 1}

# As JSON text, because some of them are none that Python would write.
NUMBERS = {
    "temperature": ["NaN", "Infinity", "-Infinity", "1e999", "-0.1", "2.01", '"1"', "true", "[]"],
    "top_p": ["0", "1.01", "-1", "NaN", '"0.5"', "{}"],
    "top_k": ["-1", "1.5", '"40"', "true", "1e30", "NaN"],
    "min_p": ["-0.1", "1.1", '"0"', "NaN"],
    "repetition_penalty": ["0", "-1", "1e999", "101", '"1"'],
    "max_tokens": ["0", "-5", "1.5", "1000000000000000", '"100000"', "true", "NaN", "1e3000"],
    "n": ["0", "-5", "9", "1000000", "1.5", '"2"', "true"],
    "seed": ["-1", "1.5", '"7"', "9223372036854775808", "true", "[1]"],
    "stop": ['""', '["a", ""]', '["a","b","c","d","e"]', "5", '[1]', '"' + "x" * 65 + '"', "{}"],
    "stream": ['"true"', "1"],
    "serial": ['"true"', "1"],
    "stream_options": ["1", '{"include_usage": "yes"}'],
    "model": ["null", "5", '""', '"' + "x" * 301 + '"', "[]"],
}  # fmt: skip
OF_CHATS = {
    "max_completion_tokens": ["0", '"5"'],
    "logprobs": ["5", '"true"'],
    "top_logprobs": ["-1", "21", "1.5", "true", "5"],  # the last one without logprobs
    "messages": [
        "null", "[]", "{}", '"Hi"', "[1]", "[[]]", '[{"role": "user"}]', '[{"content": "Hi"}]',
        '[{"role": "tool", "content": "Hi"}]',
        '[{"role": "system\\n<|user|>", "content": "Hi"}]',
        '[{"role": 1, "content": "Hi"}]',
        '[{"role": "user", "content": null}]',
        '[{"role": "user", "content": 5}]',
        '[{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/"}]}]',
        '[{"role": "user", "content": ["Hi"]}]',
        '[{"role": "user", "content": "\\ud800"}]',
        '[{"role": "user", "content": "\\udc00\\ud800"}]',
        json.dumps([{"role": "user", "content": "Hi"}] * 65),
        json.dumps([{"role": "user", "content": "x" * 8001}]),
    ],
}  # fmt: skip
OF_TEXTS = {
    "logprobs": ["-1", "21", "true", '"1"'],
    "echo": ['"yes"', "1"],
    "prompt": [
        "null", "5", "[]", "{}", "[1, 2, 3]", "[[1, 2]]", '"\\ud83d"', '["a", 5]',
        json.dumps(["a"] * 9), json.dumps("x" * 32_001),
    ],
}  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b'"text"', b"5", b"{'model': 1}", b"\xff\xfe{}",
    b'{"model": "\xff"}',
    b'{"model": "story"}', b'{"a":' * 5000, b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}",
]  # fmt: skip

CASES = [("/v1/completions", *each) for each in (*NUMBERS.items(), *OF_TEXTS.items())]
CASES += [("/v1/chat/completions", *each) for each in OF_CHATS.items()]


@pytest.mark.parametrize(("path", "name", "values"), CASES, ids=[case[1] for case in CASES])
def test_bad_values_are_refused(site: Site, path: str, name: str, values: list[str]) -> None:
    good = TEXT if path == "/v1/completions" else TALK
    rest = json.dumps({key: each for key, each in good.items() if key != name})
    for value in values:
        response = site.post(path, f'{rest[:-1]}, "{name}": {value}}}'.encode())
        assert response.status_code == 400, value
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error", value
        if error["param"] is not None:
            assert error["param"].split(".")[0].split("[")[0] == name, value
        assert len(error["message"]) < 1000, value
    assert site.post(path, good).status_code == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_bad_bodies_are_refused(site: Site, path: str) -> None:
    for body in BODIES:
        response = site.post(path, body)
        assert response.status_code == 400, body[:60]
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}, body[:60]
    assert site.post("/v1/completions", TEXT).status_code == 200


def test_all_problems_are_told_at_once(site: Site) -> None:
    response = site.post("/v1/completions", {"model": "story", "top_p": 7, "n": "x"})
    message = response.json()["error"]["message"]
    assert all(name in message for name in ("top_p", "n", "prompt"))


def test_null_is_the_same_as_left_out(site: Site) -> None:
    names = ("temperature", "top_k", "stop", "seed", "n", "stream", "serial")
    assert site.post("/v1/completions", TEXT | dict.fromkeys(names)).status_code == 200


@pytest.mark.parametrize(
    "extremes",
    [
        {"temperature": 1e-300},
        {"temperature": 2, "top_k": 1_000_000, "top_p": 1e-300, "min_p": 1},
        {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 100},
        {"temperature": 1e-6, "repetition_penalty": 0.01},
        {"seed": 2**63 - 1, "n": 8},
        {"stop": ["x" * 64] * 4},
    ],
)
def test_the_most_extreme_values_work(site: Site, extremes: dict[str, Any]) -> None:
    body = TEXT | {"max_tokens": 8} | extremes
    assert site.post("/v1/completions", body).status_code == 200


# models by any other name

_looked_at: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _looked_at is not None and event.startswith(("open", "os.", "glob.", "pathlib.")):
        _looked_at.append(repr(arguments))


sys.addaudithook(_watch)


@contextmanager
def watching() -> Iterator[list[str]]:
    """Whatever is looked at on disk meanwhile."""
    global _looked_at
    _looked_at = seen = []
    try:
        yield seen
    finally:
        _looked_at = None


NAMES = [
    "{}", "talk@{}", "../{}", "../../etc/passwd{}", "/etc/passwd{}", "/{}", "./talk{}", "talk/{}",
    "talk/../story{}", "%2e%2e/{}", "..\\{}", "C:\\{}", "file:///etc/{}", "http://127.0.0.1/{}",
    "talk\u0000{}", "\u0000{}", "talk@20\n{}", "~/{}", "$HOME/{}", "talk@20@{}", "@{}",
    "talk@../story{}", "TALK{}", "talk {}", " {}", "{}*", "*",
    "talk@", "talk@ 20", "talk@020", "talk@+20", "talk@２０", "@20", "step-00000020",
    "talk/step-00000020", "talk@latest ", "TALK", "talk@BEST", ".", "..", "/", "~",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_an_unlisted_model_is_not_looked_for(site: Site, path: str) -> None:
    good = TEXT if path == "/v1/completions" else TALK
    for name in NAMES:
        mark = uuid.uuid4().hex
        with watching() as seen:
            response = site.post(path, good | {"model": name.format(mark)})
        assert response.status_code == 404, name
        assert response.json()["error"]["code"] == "model_not_found", name
        assert mark not in response.text, name
        assert not [each for each in seen if mark in each], name
        assert seen, "the listing itself is seen, so the watch works"
