"""The HTTP API: what OpenAI's clients ask, answered by the engine.

Nothing slow happens on the event loop: models are loaded and prompts are cut into tokens in
threads, and the engine has its own. The gate that must stand before it is `gate`'s charge.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tinychat.config.sampling import SEEDS
from tinychat.engine import Answer, Engine, OpenedModel, Prompt, Sampling, Shelf
from tinychat.errors import (
    DataError,
    EngineBusyError,
    NoCheckpointError,
    RunNotFoundError,
    SettingsError,
    TinychatError,
)
from tinychat.server.admission import Admission
from tinychat.server.answers import Answers
from tinychat.server.catalog import Catalog, Listed
from tinychat.server.errors import JSON, ApiError, error_document, too_many
from tinychat.server.limits import Limits
from tinychat.server.replies import ChatReply, Reply, TextReply
from tinychat.server.schema import (
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    parse,
    sampling_of,
    warnings_of,
)
from tinychat.text import Message
from tinychat.words import inert

WARNING = "x-tinychat-warning"
_GONE = 499  # nobody reads it
_log = logging.getLogger("tinychat.server")


def create_app(
    engine: Engine, shelf: Shelf, limits: Limits | None = None, *, catalog: Catalog | None = None
) -> FastAPI:
    """The API over an engine, for the models of a catalog (else of the shelf's whole folder).

    It must be put behind a `Gate`, which bounds bodies and refuses foreign pages.
    """
    api = Api(engine, shelf, limits or Limits(), catalog or Catalog(shelf.checkpoints))
    app = FastAPI(
        title="tinychat",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for route, answer in API_ROUTES.items():
        method, path = route.split(" ")
        path = path.replace("*", "{name:path}")
        app.add_api_route(path, partial(answer, api), methods=[method], response_model=None)
    return app


class Api:
    """The routes. One for each app."""

    def __init__(self, engine: Engine, shelf: Shelf, limits: Limits, catalog: Catalog) -> None:
        self._engine = engine
        self._shelf = shelf
        self._limits = limits
        self._catalog = catalog
        self._admission = Admission(limits)
        self._told: set[str] = set()  # remarks that stand in the log

    async def health(self, request: Request) -> Response:
        """Alive, and how busy."""
        engine = self._engine
        return _json({"status": "ok", "running": engine.running, "waiting": engine.waiting})

    async def models(self, request: Request) -> Response:
        """Every name that `model` may be."""
        found = await anyio.to_thread.run_sync(self._catalog.all)
        return _json({"object": "list", "data": [_described(each) for each in found]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        listed = await anyio.to_thread.run_sync(self._catalog.find, name)
        if listed is None:
            error = _no_model()
            return _json(error.document(), error.status)
        return _json(_described(listed))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._answer(request, ChatRequest, ChatReply)

    async def complete(self, request: Request) -> Response:
        """Continue a text."""
        return await self._answer(request, CompletionRequest, TextReply)

    async def _answer(
        self, http: Request, kind: type[AnyRequest], form: Callable[..., Reply]
    ) -> Response:
        with ExitStack() as held:
            try:
                address = http.client.host if http.client else ""
                held.enter_context(self._admission.enter(address))
                request = parse(kind, await http.body())

                async def work() -> Response:
                    reply, headers = await self._ask(request, form)
                    held.callback(reply.answers.cancel)
                    if request.stream:
                        return EventStream(reply, headers, held.pop_all())
                    return _json(await reply.document(), headers=headers)

                return await unless_gone(http, work)
            except ApiError as error:
                return _json(error.document(), error.status, error.headers)
            except TinychatError as error:
                return _json(error_document(500, str(error), code="engine_error"), 500)

    async def _ask(
        self, request: AnyRequest, form: Callable[..., Reply]
    ) -> tuple[Reply, dict[str, str]]:
        """Put a request's prompts to the engine. Nothing is awaited once it has been asked."""
        limits = self._limits
        seed = secrets.randbelow(1_000_000) if request.seed is None else request.seed
        prompts = request.prompts(limits)
        n = request.n or 1
        if n * len(prompts) > limits.choices:
            raise ApiError(
                400,
                f"n times the prompts is at most {limits.choices}.",
                param="n" if n > 1 else "prompt",
            )
        rules = [sampling_of(request, limits, (seed + place) % SEEDS) for place in range(n)]
        candidates = request.candidates
        opened, fitted = await anyio.to_thread.run_sync(
            self._prepare, request.model, prompts, rules[0].max_new_tokens, abandon_on_cancel=True
        )
        wanted = [(prompt, rule) for prompt in fitted for rule in rules]

        def ask(ring: Callable[[], None]) -> list[Answer]:
            return self._ask_all(opened, wanted, bool(request.serial), candidates, ring)

        reply = form(request, opened, Answers(ask), seed)
        told = warnings_of(request, limits)
        return reply, {WARNING: "; ".join(told)} if told else {}

    def _ask_all(
        self,
        opened: OpenedModel,
        wanted: list[tuple[Prompt, Sampling]],
        serial: bool,
        candidates: int | None,
        ring: Callable[[], None],
    ) -> list[Answer]:
        """All or none. Raises ApiError (429) when the engine's queue is full."""
        answers: list[Answer] = []
        try:
            for prompt, rule in wanted:
                answers.append(
                    self._engine.ask(
                        opened.text,
                        prompt,
                        rule,
                        serial=serial,
                        details=candidates,
                        deadline_seconds=self._limits.answer_seconds,
                        on_change=ring,
                    )
                )
        except EngineBusyError as error:
            for answer in answers:
                answer.cancel()
            raise too_many(str(error)) from None
        return answers

    def _prepare(
        self, wanted: str, prompts: list[str | list[Message]], max_new_tokens: int
    ) -> tuple[OpenedModel, list[Prompt]]:
        """The model of that name, and the prompts as its tokens. Slow: for a thread."""
        listed = self._catalog.find(wanted)
        if listed is None:
            raise _no_model()
        opened = self._open(listed)
        if not opened.is_chat and any(not isinstance(prompt, str) for prompt in prompts):
            raise ApiError(
                400,
                f"{listed.id} has learnt texts, not conversations; use /v1/completions.",
                param="model",
                code="not_a_chat_model",
            )
        try:
            return opened, [opened.text.fit(prompt, max_new_tokens) for prompt in prompts]
        except (DataError, SettingsError) as error:
            raise ApiError(400, str(error), param="prompt") from None

    def _open(self, listed: Listed) -> OpenedModel:
        try:
            opened = self._shelf.open(listed.opens)
        except (RunNotFoundError, NoCheckpointError):  # pruned since it was listed
            raise _no_model() from None
        except TinychatError as error:
            _log.error("%s", inert(f"{listed.id} cannot be opened: {error}"))
            message = f"{listed.id} cannot be opened; the server's log says why."
            raise ApiError(500, message, code="model_damaged") from None
        for remark in set(opened.remarks) - self._told:
            self._told.add(remark)
            _log.warning("%s", inert(f"{opened.label}: {remark}"))
        return opened


API_ROUTES: Mapping[str, Callable[[Api, Request], Awaitable[Response]]] = {
    "POST /v1/chat/completions": Api.chat,
    "POST /v1/completions": Api.complete,
    "GET /v1/models": Api.models,
    "GET /v1/models/*": Api.model,
    "GET /healthz": Api.health,
}
"""Every route of the API, as the gate's list names them, and what answers it."""


class EventStream(StreamingResponse):
    """A reply as server-sent events. However it ends, the answers end with it."""

    def __init__(self, reply: Reply, headers: dict[str, str], held: ExitStack) -> None:
        super().__init__(reply.events(), headers=headers, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def unless_gone(http: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """The work's response. It is cancelled when the client leaves before."""
    task = asyncio.ensure_future(work())
    watch = asyncio.ensure_future(_until_gone(http))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=_GONE)
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.wait((task, watch))


async def _until_gone(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _described(listed: Listed) -> dict[str, Any]:
    """A model as OpenAI's API tells of it."""
    return {
        "id": listed.id, "object": "model", "created": listed.created, "owned_by": "tinychat",
    }  # fmt: skip


def _no_model() -> ApiError:
    return ApiError(
        404,
        "There is no model of that name; GET /v1/models lists them.",
        param="model",
        code="model_not_found",
    )


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, JSON)
