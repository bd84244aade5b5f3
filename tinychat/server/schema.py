"""What may stand in a request, and the rules of sampling that follow from it.

Strict: a number is a number, never a text or a bool, and finite. A field that is not known is
ignored and named in a warning, so that clients made for larger services work.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tinychat.config.sampling import MOST_TEMPERATURE, SEEDS
from tinychat.engine import Sampling
from tinychat.errors import SettingsError
from tinychat.server.errors import ApiError
from tinychat.server.limits import Limits
from tinychat.text import Message

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOST_TOKENS = 1_000_000
DEFAULT = Sampling()


def _one_or_many(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("must be a text or a list of texts")
    return [value] if isinstance(value, str) else value


def _text_of(value: Any) -> Any:
    """A message's content may also come as parts; ours are all text."""
    if not isinstance(value, list):
        return value
    texts = [
        part["text"]
        for part in value
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    ]
    if len(texts) != len(value):
        raise ValueError("must be a text or a list of text parts")
    return "".join(texts)


StopText = Annotated[str, Field(min_length=1, max_length=64)]
Stops = Annotated[list[StopText], Field(max_length=4), BeforeValidator(_one_or_many)]
_MOST_PARTS = 1024  # so that a wrong list ends in one sentence and not in a hundred thousand
Prompts = Annotated[
    list[str], Field(min_length=1, max_length=_MOST_PARTS), BeforeValidator(_one_or_many)
]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]


class Fields(BaseModel):
    """Unknown fields are collected, to be named."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class StreamOptions(Fields):
    include_usage: bool | None = None


class ChatMessage(Fields):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text_of)]


class AnyRequest(Fields):
    """The fields that both kinds of request have. Null is the same as left out."""

    model: Annotated[str, Field(min_length=1, max_length=300)]
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=MOST_TEMPERATURE)] | None = None
    top_k: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    stop: Stops | None = None
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    serial: bool | None = None

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def candidates(self) -> int | None:
        """How many likely tokens to name at each place; None for no probabilities at all."""
        raise NotImplementedError

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def prompts(self, limits: Limits) -> list[str | list[Message]]:
        """What is to be continued or answered. Raises ApiError beyond the limits."""
        raise NotImplementedError

    def unknown(self) -> Iterator[str]:
        """The names of fields that mean nothing here."""
        yield from self.model_extra or ()
        if self.stream_options is not None:
            yield from (f"stream_options.{name}" for name in self.stream_options.model_extra or ())


class ChatRequest(AnyRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=_MOST_PARTS)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def candidates(self) -> int | None:
        if not self.logprobs:
            if self.top_logprobs:
                raise ApiError(400, "top_logprobs needs logprobs: true.", param="top_logprobs")
            return None
        return self.top_logprobs or 0

    def prompts(self, limits: Limits) -> list[str | list[Message]]:
        if len(self.messages) > limits.messages:
            raise ApiError(
                400,
                f"messages has {len(self.messages)} messages; at most {limits.messages} are taken.",
                param="messages",
            )
        for place, message in enumerate(self.messages):
            most = limits.message_characters
            _refuse_longer(message.content, most, f"messages[{place}].content")
        roles = {"developer": "system"}
        return [[Message(roles.get(m.role, m.role), m.content) for m in self.messages]]

    def unknown(self) -> Iterator[str]:
        yield from super().unknown()
        for place, message in enumerate(self.messages):
            yield from (f"messages[{place}].{name}" for name in message.model_extra or ())


class CompletionRequest(AnyRequest):
    """The body of POST /v1/completions."""

    prompt: Prompts
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def candidates(self) -> int | None:
        return self.logprobs

    def prompts(self, limits: Limits) -> list[str | list[Message]]:
        for text in self.prompt:
            _refuse_longer(text, limits.prompt_characters, "prompt")
        return list(self.prompt)


Request = TypeVar("Request", bound=AnyRequest)


def parse(kind: type[Request], body: bytes) -> Request:
    """A request out of JSON. Raises ApiError (400) with every problem that was found."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        told = "; ".join(_problem(problem) for problem in problems[:5])
        where = _path(problems[0]["loc"]) or None
        raise ApiError(400, f"{told}.", param=where, code="invalid_value") from None


def sampling_of(request: AnyRequest, limits: Limits, seed: int) -> Sampling:
    """The rules that a request asks for; what it leaves out is as in `tinychat generate`."""
    wanted = request.wanted_tokens or DEFAULT.max_new_tokens
    try:
        return Sampling(
            temperature=_or(request.temperature, DEFAULT.temperature),
            top_k=_or(request.top_k, DEFAULT.top_k) or None,
            top_p=None if request.top_p == 1 else request.top_p,
            min_p=request.min_p or None,
            repetition_penalty=_or(request.repetition_penalty, DEFAULT.repetition_penalty),
            max_new_tokens=min(wanted, limits.max_tokens),
            stop=tuple(request.stop or ()),
            seed=seed,
        )
    except SettingsError as error:
        raise ApiError(400, str(error), code="invalid_value") from None


def warnings_of(request: AnyRequest, limits: Limits) -> list[str]:
    """What was done otherwise than asked, one sentence each, in ASCII."""
    told = []
    names = [name for name in request.unknown() if _is_plain(name)][:8]
    if names:
        told.append(f"ignored unknown fields: {', '.join(names)}")
    elif any(True for _ in request.unknown()):
        told.append("ignored unknown fields")
    if (request.wanted_tokens or 0) > limits.max_tokens:
        told.append(f"at most {limits.max_tokens} tokens are made")
    return told


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _is_plain(name: str) -> bool:
    """Fit to stand in a header."""
    return len(name) <= 64 and name.isascii() and name.isprintable()


def _refuse_longer(text: str, most: int, where: str) -> None:
    if len(text) > most:
        raise ApiError(
            400,
            f"{where} has {len(text):,} characters; at most {most:,} are taken.",
            param=where,
            code="string_above_max_length",
        )


def _path(loc: tuple[int | str, ...]) -> str:
    """`("messages", 0, "role")` as `messages[0].role`"""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# What pydantic found, by its own names, in plain words; its sentences are made for programmers.
_PROBLEMS = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt:,}",
    "less_than_equal": "must be {le:,.12g} or less",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "model_type": "must be an object",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must not be empty",
    "value_error": "{error}",
}


def _problem(problem: "ErrorDetails") -> str:
    """One of pydantic's findings as the end of a sentence that its field begins."""
    kind, where = problem["type"], _path(problem["loc"])
    if kind == "json_invalid":
        return f"The body is not valid JSON: {problem.get('ctx', {}).get('error', '')}"
    told = _PROBLEMS.get(kind, "cannot be used").format(**problem.get("ctx", {}))
    return f"{where or 'The body'} {told}"
