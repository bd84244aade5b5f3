"""docs/api.md says what the API is."""

import re
from pathlib import Path

from tinychat.server import API_ROUTES, Limits
from tinychat.server.answers import FINISH
from tinychat.server.schema import DEFAULT, ChatRequest, CompletionRequest

PAGE = Path(__file__).parents[2].joinpath("docs", "api.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading, by its first column."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `(.+?)` \| (.*) \|$", part, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in lines}


def test_every_field_stands_there_and_no_other() -> None:
    fields = ChatRequest.model_fields | CompletionRequest.model_fields
    assert set(rows("Fields of a request")) == set(fields)


def test_every_route_stands_there_and_no_other() -> None:
    assert set(rows("Routes")) == set(API_ROUTES)


def test_what_is_left_out_is_as_it_says() -> None:
    left_out = {name: cells[-1] for name, cells in rows("Fields of a request").items()}
    assert left_out["temperature"] == str(DEFAULT.temperature)
    assert left_out["top_k"] == str(DEFAULT.top_k)
    assert left_out["max_tokens"] == str(DEFAULT.max_new_tokens)
    assert (DEFAULT.top_p, DEFAULT.min_p, DEFAULT.repetition_penalty) == (None, None, 1)


def test_every_ending_stands_there() -> None:
    told = rows("What a reply has besides")["choices[].finish_detail"][0]
    for reason in FINISH.keys() - {"cancelled"}:
        assert f"`{reason}`" in told


def test_the_limits_are_the_ones_told() -> None:
    limits = Limits()
    for told in (
        f"1 to {limits.messages} messages",
        f"at most {limits.message_characters:,} characters",
        f"at most {limits.prompt_characters:,} characters",
        f"at most {limits.max_tokens:,} are made",
        f"at most {limits.choices} in all",
        f"within {limits.read_seconds:.0f} seconds",
        f"larger than {limits.body_bytes // 1024} KiB",
        f"{limits.requests} requests are held",
        f"after {limits.answer_seconds:.0f} seconds",
        f"{limits.requests_each} requests running",
        f"{limits.requests_each_minute} times a minute",
    ):
        assert told in PAGE
