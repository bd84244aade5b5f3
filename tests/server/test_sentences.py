"""A value that cannot be is told in a sentence that names its field, and in no library's words."""

from typing import Any

import pytest

from tests.server.conftest import Site

TEXT = {"model": "story", "prompt": "Anna", "max_tokens": 1}
TALK = {"model": "talk", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}

TOLD = [
    ("model", None, "model must be a text."),
    ("model", "", "model must not be empty."),
    ("temperature", "1", "temperature must be a number."),
    ("temperature", True, "temperature must be a number."),
    ("temperature", 2.5, "temperature must be 2 or less."),
    ("temperature", -0.5, "temperature must be 0 or more."),
    ("top_k", 1.5, "top_k must be a whole number."),
    ("top_k", 2_000_000, "top_k must be 1,000,000 or less."),
    ("top_p", 0, "top_p must be above 0."),
    ("repetition_penalty", 0.001, "repetition_penalty must be 0.01 or more."),
    ("max_tokens", "5", "max_tokens must be a whole number."),
    ("seed", 2**63, "seed must be below 9,223,372,036,854,775,808."),
    ("stream", "true", "stream must be true or false."),
    ("stream_options", 1, "stream_options must be an object."),
    ("stop", 5, "stop must be a text or a list of texts."),
    ("stop", [1], "stop[0] must be a text."),
    ("stop", ["a"] * 5, "stop must have at most 4 entries."),
    ("stop", ["x" * 65], "stop[0] must have at most 64 characters."),
    ("prompt", {}, "prompt must be a text or a list of texts."),
    ("prompt", [], "prompt must not be empty."),
]
OF_TALKS = [
    ("messages", None, "messages must be a list."),
    ("messages", [1], "messages[0] must be an object."),
    ("messages", [{"content": "Hi"}], "messages[0].role is missing."),
    (
        "messages",
        [{"role": "tool", "content": "Hi"}],
        "messages[0].role must be 'system', 'developer', 'user' or 'assistant'.",
    ),
    (
        "messages",
        [{"role": "user", "content": [{"type": "image_url"}]}],
        "messages[0].content must be a text or a list of text parts.",
    ),
]


@pytest.mark.parametrize(("name", "value", "told"), TOLD)
def test_of_a_text(site: Site, name: str, value: Any, told: str) -> None:
    error = site.post("/v1/completions", TEXT | {name: value}).json()["error"]
    assert error["message"] == told


@pytest.mark.parametrize(("name", "value", "told"), OF_TALKS)
def test_of_a_conversation(site: Site, name: str, value: Any, told: str) -> None:
    error = site.post("/v1/chat/completions", TALK | {name: value}).json()["error"]
    assert error["message"] == told


def test_of_numbers_that_json_does_not_know(site: Site) -> None:
    for text, told in ((b"NaN", "finite number"), (b"1e999", "finite number"), (b"{", "JSON")):
        body = b'{"model": "story", "prompt": "Anna", "temperature": ' + text + b"}"
        assert told in site.post("/v1/completions", body).json()["error"]["message"]


def test_of_two_fields_at_once(site: Site) -> None:
    error = site.post("/v1/completions", {"model": "story", "top_p": 7}).json()["error"]
    assert error["message"] == "top_p must be 1 or less; prompt is missing."


def test_of_bodies_that_are_none(site: Site) -> None:
    for body, told in ((b"[]", "The body must be an object."), (b"", "The body is not valid JSON")):
        assert site.post("/v1/completions", body).json()["error"]["message"].startswith(told)
