"""How much one request, one visitor and all of them together may ask of this machine."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The caps of the API and of the gate before it. Docs: docs/api.md."""

    body_bytes: int = 256 * 1024
    read_seconds: float = 10.0  # for a whole request to arrive
    messages: int = 64
    message_characters: int = 8_000
    prompt_characters: int = 32_000
    max_tokens: int = 1_024  # of one answer; a request for more gets this many
    choices: int = 8  # answers to one request: n times its prompts
    answer_seconds: float = 120.0
    requests: int = 64  # at once, from everybody
    requests_each: int = 2  # at once, from one address that is not this machine
    requests_each_minute: int = 30  # from one address that is not this machine
