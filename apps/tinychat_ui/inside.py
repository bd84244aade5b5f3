"""Look inside: why an answer became what it is, token by token, and the way to another one.

A panel beside the conversation. What is drawn is the charge of `inside_html`; here it is found: the
stored answer, the details that came with it or are worked out again, and what a click means.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import gradio as gr

from tinychat.conversations import Answer as StoredAnswer
from tinychat.engine import OpenedModel, Prompt, Sampling, TokenDetail
from tinychat.errors import ConversationError, SettingsError, TinychatError
from tinychat.text import Tokenizer
from tinychat.words import count
from tinychat_ui import inside_html
from tinychat_ui.answers import CANDIDATES
from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext, stream
from tinychat_ui.session import Session
from tinychat_ui.theme import script

INTRO = (
    "Each piece below is one token, the unit a model reads and writes. The thicker the line under "
    "it, the less sure the model was. Choose one to see what else could have come, and go on from "
    "there."
)
NOTHING_YET = "No answer to look into yet: ask something first."
NO_DETAILS = (
    "How sure the model was is kept for the newest answers only. The same prompt, settings and "
    "seed give it again."
)


@dataclass(frozen=True)
class Look:
    """The answer that is looked into."""

    conversation: str
    node: str
    answer: StoredAnswer
    begun: tuple[int, ...] = ()  # what the answer was made to begin with
    details: tuple[TokenDetail, ...] = ()  # of the first so many ids of the answer
    chosen: int | None = None  # a place in begun + answer
    note: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        """All that is shown: what it began with and, as far as its details go, what came."""
        came = self.answer.answer_ids
        return (*self.begun, *(came[: len(self.details)] if self.details else came))

    @property
    def model(self) -> str:
        """The name that the shelf opens: demo@300"""
        return self.answer.label


def build_inside(context: PageContext, chat: ChatTab) -> None:
    """The panel, drawn where this is called. Once asked for, it follows the newest answer."""
    look = gr.State(None)
    is_wanted = gr.State(False)
    gr.HTML(f'<h2>Look inside</h2><p class="inside-soft">{INTRO}</p>', apply_default_css=False)
    view = gr.HTML(elem_id="inside-view", js_on_load=script("inside"), apply_default_css=False)
    again = gr.Button("Work it out again", visible=False, elem_id="inside-again")
    with gr.Accordion("Raw: the exact token ids", open=False, elem_id="inside-raw"):
        ids = gr.HTML(elem_id="inside-ids", apply_default_css=False)

    def asked_for(session: Session, event: gr.EventData) -> list[Any]:
        data = event._data or {}
        if data.get("do") != "inside":
            return [gr.skip()] * 5
        found = find(context, (session.conversation, data.get("id")))
        return [True, found, *drawn(context, found)]

    def follow(selected: Any, wanted: bool, now: Look | None) -> list[Any]:
        shown = (now.conversation, now.node) if now else None
        if not wanted or shown == (selected and tuple(selected)):
            return [gr.skip()] * 4
        found = find(context, selected)
        return [found, *drawn(context, found)]

    def choose(now: Look | None, event: gr.EventData) -> list[Any]:
        chosen = chosen_at(now, (event._data or {}).get("index"))
        return [chosen, drawn(context, chosen)[0]]

    def recompute(now: Look | None) -> Iterator[list[Any]]:
        for new in worked_out(context, now):
            yield [new, *drawn(context, new)]

    def fork(now: Look | None, session: Session, event: gr.EventData) -> list[Any]:
        try:
            token = (event._data or {}).get("id")
            return [fork_request(now, session.model, token), gr.skip(), gr.skip()]
        except SettingsError as error:
            noted = None if now is None else replace(now, note=str(error))
            return [gr.skip(), noted, drawn(context, noted)[0]]

    shown = [look, view, again, ids]
    chat.component.act(asked_for, chat.session, [is_wanted, *shown], **QUIET)
    chat.selected.change(follow, [chat.selected, is_wanted, look], shown, **QUIET)
    view.choose(choose, look, [look, view], **QUIET)
    view.fork(fork, [look, chat.session], [chat.request, look, view], **QUIET)
    again.click(recompute, look, shown, concurrency_limit=None, **QUIET)


def find(context: PageContext, selected: Any) -> Look | None:
    """The selected answer with the details that came with it; None if no answer is selected."""
    if not selected:
        return None
    conversation, node = map(str, selected)
    try:
        answer = context.conversations.open(conversation).node(node).answer
    except ConversationError:
        return None
    if answer is None:
        return None
    look = Look(conversation, node, answer)
    try:
        model = context.shelf.open(look.model)
    except TinychatError as error:
        return replace(look, note=f"The model of this answer is gone: {context.told(error)}")
    begun = begun_with(model.text.tokenizer, answer)
    kept = tuple(context.details.of(node))[: len(answer.answer_ids)]
    return replace(look, begun=begun, details=kept, note="" if kept else NO_DETAILS)


def begun_with(tokenizer: Tokenizer, answer: StoredAnswer) -> tuple[int, ...]:
    """The ids that the answer was made to begin with: the last of its prompt."""
    known = max(answer.prompt_ids, default=0) < tokenizer.vocab_size
    if not answer.begin or not known:  # another run may have taken that name
        return ()
    ids = tuple(answer.prompt_ids)
    lengths = (n for n in range(1, len(ids) + 1) if tokenizer.decode(ids[-n:]) == answer.begin)
    return ids[-n:] if (n := next(lengths, 0)) else ()


def drawn(context: PageContext, look: Look | None) -> list[Any]:
    """What of the panel is shown: the map, the button to work it out again, the raw ids."""
    if look is None:
        return [_soft(NOTHING_YET), gr.update(visible=False), ""]
    try:
        model = context.shelf.open(look.model)
    except TinychatError:
        return [_soft(look.note), gr.update(visible=False), ""]
    tokenizer = model.text.tokenizer
    pieces = inside_html.spell(tokenizer, look.ids)
    # a run may meanwhile be another one of that name: then its answers are no longer its own
    prompt = inside_html.spell(tokenizer, look.answer.prompt_ids)
    whole = inside_html.spell(tokenizer, look.answer.answer_ids)
    html = _soft(look.note) if look.note else ""
    if look.details:
        html += inside_html.summary(look.details) + inside_html.legend()
        html += inside_html.heat_map(pieces, look.details, look.chosen)
        html += _place(tokenizer, look, pieces)
    return [html, gr.update(visible=not look.details), inside_html.raw(prompt, whole)]


def chosen_at(look: Look | None, index: Any) -> Look | None:
    """The look with another token chosen; as it was if there is no such token."""
    if look is None or type(index) is not int:
        return look
    first = len(look.begun)
    return replace(look, chosen=index) if first <= index < first + len(look.details) else look


def fork_request(look: Look | None, current: str | None, token: Any) -> dict[str, Any]:
    """What the chat is asked for: the answer again, up to the chosen token and with another one in
    its place. Raises SettingsError where the model that answers now cannot do that."""
    if look is None or look.chosen is None:
        raise SettingsError("Choose a token first.")
    place = look.details[look.chosen - len(look.begun)]
    if token not in [candidate.id for candidate in place.candidates]:
        raise SettingsError("That token is none of those that are shown.")
    run = (current or "").rpartition("@")[0]
    if look.answer.step is not None and run != look.answer.run:
        raise SettingsError(
            f"This answer came from {look.model}, but {Path(current or 'no model').name} answers "
            "now: choose "
            f"the run {look.answer.run} to fork here."
        )
    begin = [*look.ids[: look.chosen], token]
    asked = {"do": "fork", "conversation": look.conversation, "node": look.node, "begin": begin}
    return {**asked, "n": time.time_ns()}


def worked_out(context: PageContext, look: Look | None) -> Iterator[Look | None]:
    """The same prompt, settings and seed once more, for the details: how far it is, then the look
    with them. Where the model now answers otherwise, the map ends there and says so."""
    if look is None:
        yield None
        return
    try:
        model = context.shelf.open(look.model)
        yield replace(look, note="Working it out again …")
        came = _ask_again(context, model, look)
    except TinychatError as error:
        yield replace(look, note=context.told(error))
        return
    ids, details = came
    stored = tuple(look.answer.answer_ids)
    same = next((i for i, id in enumerate(ids) if stored[i : i + 1] != (id,)), len(ids))
    note = ""
    if same < len(stored):
        note = (
            f"The model did not give the stored answer again: it agrees for {count(same, 'token')} "
            "only, and the map ends there. Answers given side by side may differ in rounding."
        )
    yield replace(look, details=details[:same], chosen=None, note=note)


def _ask_again(
    context: PageContext, model: OpenedModel, look: Look
) -> tuple[tuple[int, ...], tuple[TokenDetail, ...]]:
    answer = look.answer
    prompt = Prompt(
        tuple(answer.prompt_ids), "slide" if answer.mode == "text" else "stop", begin=look.begun
    )
    # a seed gives each token on its own account, so no more are needed than came
    sampling = replace(sampling_of(answer), max_new_tokens=max(1, len(answer.answer_ids)))
    asked = context.engine.ask(
        model.text,
        prompt,
        sampling,
        serial=True,
        details=CANDIDATES,
        deadline_seconds=context.limits.deadline_seconds,
    )
    for _ in stream(asked):
        pass
    done = asked.completion
    return (done.ids, done.details) if done is not None else ((), ())


def sampling_of(answer: StoredAnswer) -> Sampling:
    """The sampling rules that an answer was stored with. Raises SettingsError."""
    known = {field.name for field in fields(Sampling)}
    settings = {name: value for name, value in answer.settings.items() if name in known}
    try:
        settings["stop"] = tuple(settings.get("stop", ()))
        return Sampling(**{**settings, "seed": answer.seed})
    except TypeError as error:
        raise SettingsError(f"The settings of this answer cannot be read: {error}.") from None


def _place(tokenizer: Tokenizer, look: Look, pieces: Sequence[inside_html.Piece]) -> str:
    """The candidates at the chosen token."""
    if look.chosen is None:
        return ""
    place = look.details[look.chosen - len(look.begun)]
    spelt = [inside_html.spell(tokenizer, [one.id])[0] for one in place.candidates]
    end = tokenizer.format.end
    return inside_html.candidates(pieces, look.details, look.chosen, spelt, end=end)


def _soft(text: str) -> str:
    return f'<p class="inside-soft" role="status">{inside_html.words(text)}</p>'
