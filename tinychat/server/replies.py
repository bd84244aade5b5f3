"""What an answer looks like on the wire: at once or as a stream, as a chat or as a text."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson

from tinychat.engine import OpenedModel
from tinychat.errors import EngineError
from tinychat.server.answers import Answers, finish_of
from tinychat.server.errors import error_document
from tinychat.server.probabilities import Probabilities, Told, chat_form, legacy_form
from tinychat.server.schema import AnyRequest, CompletionRequest


class Reply:
    """The choices of one request. Subclasses say how a choice looks."""

    object = ""
    chunk_object = ""
    prefix = ""

    def __init__(
        self, request: AnyRequest, opened: OpenedModel, answers: Answers, seed: int
    ) -> None:
        self.opened = opened
        self.tokenizer = opened.text.tokenizer
        self.answers = answers
        self.candidates = request.candidates
        self._wants_usage = request.wants_usage
        self._n = request.n or 1
        self._head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": opened.label,
            "seed": seed,
        }
        self._probabilities = [Probabilities(self.tokenizer) for _ in answers.answers]
        self._released = [0] * len(answers.answers)

    async def document(self) -> dict[str, Any]:
        """The whole reply, once every answer is over. Raises EngineError if one failed."""
        await self.answers.over()
        choices = []
        for index, answer in enumerate(self.answers.answers):
            assert answer.completion is not None
            text = answer.completion.text
            choice = self.choice(index, text, self._ending(index, text))
            choices.append({"index": index, **choice, **finish_of(answer)})
        return {**self._head, "object": self.object, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """The reply as server-sent events."""
        for index in range(len(self.answers.answers)):
            if (opening := self.opening(index)) is not None:
                yield self._event(index, opening)
        try:
            async for index, text in self.answers.pieces():
                if text:
                    yield self._event(index, self.delta(index, text, self._next(index, text)))
                else:
                    ending = self.delta(index, "", self._ending(index, ""))
                    yield self._event(index, ending, finish_of(self.answers.answers[index]))
        except EngineError as error:
            yield _event(error_document(500, str(error), code="engine_error"))
            return
        if self._wants_usage:
            yield _event(self._chunk([], self._usage()))
        yield b"data: [DONE]\n\n"

    def opening(self, index: int) -> dict[str, Any] | None:
        """What a stream's choice begins with, if with anything."""
        raise NotImplementedError

    def choice(self, index: int, text: str, told: Told) -> dict[str, Any]:
        """A choice that is finished."""
        raise NotImplementedError

    def delta(self, index: int, text: str, told: Told) -> dict[str, Any]:
        """The next piece of a choice."""
        raise NotImplementedError

    def _next(self, index: int, text: str) -> Told:
        """The tokens that came with the next text of an answer."""
        self._released[index] += len(text)
        if self.candidates is None:
            return []
        details = self.answers.answers[index].details()
        return self._probabilities[index].until(details, self._released[index])

    def _ending(self, index: int, text: str) -> Told:
        """The tokens that came with the last text of an answer."""
        self._released[index] += len(text)
        completion = self.answers.answers[index].completion
        if self.candidates is None or completion is None:
            return []
        return self._probabilities[index].until(
            completion.details,
            self._released[index],
            last=completion.finish_reason != "stop",
        )

    def _usage(self) -> dict[str, Any]:
        return self.answers.usage(len(self.answers.answers) // self._n)

    def _event(
        self, index: int, choice: dict[str, Any], finish: dict[str, str] | None = None
    ) -> bytes:
        return _event(
            self._chunk([{"index": index, **choice, **(finish or {"finish_reason": None})}])
        )

    def _chunk(
        self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        chunk = {**self._head, "object": self.chunk_object, "choices": choices}
        return chunk | {"usage": usage} if self._wants_usage else chunk


class ChatReply(Reply):
    """To POST /v1/chat/completions."""

    object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    prefix = "chatcmpl"

    def opening(self, index: int) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def choice(self, index: int, text: str, told: Told) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"message": message, "logprobs": self._logprobs(told)}

    def delta(self, index: int, text: str, told: Told) -> dict[str, Any]:
        return {
            "delta": {"content": text} if text else {},
            "logprobs": self._logprobs(told) if told else None,
        }

    def _logprobs(self, told: Told) -> dict[str, Any] | None:
        if self.candidates is None:
            return None
        return chat_form(self.tokenizer, told, self.candidates)


class TextReply(Reply):
    """To POST /v1/completions."""

    object = "text_completion"
    chunk_object = "text_completion"
    prefix = "cmpl"

    def __init__(
        self, request: CompletionRequest, opened: OpenedModel, answers: Answers, seed: int
    ) -> None:
        super().__init__(request, opened, answers, seed)
        self._echo = bool(request.echo)
        self._prompts = [text for text in request.prompt for _ in range(request.n or 1)]

    def opening(self, index: int) -> dict[str, Any] | None:
        if not self._echo:
            return None
        return {"text": self._prompts[index], "logprobs": self._logprobs(index, [], echo=True)}

    def choice(self, index: int, text: str, told: Told) -> dict[str, Any]:
        before = self._prompts[index] if self._echo else ""
        return {
            "text": before + text,
            "logprobs": self._logprobs(index, told, echo=self._echo),
        }

    def delta(self, index: int, text: str, told: Told) -> dict[str, Any]:
        logprobs = self._logprobs(index, told, echo=False) if told else None
        return {"text": text, "logprobs": logprobs}

    def _logprobs(self, index: int, told: Told, *, echo: bool) -> dict[str, Any] | None:
        if self.candidates is None:
            return None
        structure = self.tokenizer.format.control_ids
        ids = self.answers.answers[index].prompt.ids if echo else ()
        return legacy_form(
            self.tokenizer,
            told,
            [token for token in ids if token not in structure],
            len(self._prompts[index]) if self._echo else 0,
        )


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"
