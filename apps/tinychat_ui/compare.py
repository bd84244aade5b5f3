"""Compare: one prompt, one seed, two answers side by side, and which of them people prefer.

Two checkpoints, or two settings of one. Blind hides which is which until the vote; votes are kept
on disk, and their tally is told.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import gradio as gr

from tinychat.conversations import Side, Verdict, blind_swap, tally_words
from tinychat.engine import Sampling
from tinychat.errors import SettingsError, TinychatError
from tinychat.text import Message
from tinychat_ui.asking import Asking, Growing, ask, follow, question_of
from tinychat_ui.chat_tab import QUIET
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls, build_sampling, sampling_of, system_of
from tinychat_ui.picker import Picker, model_choices
from tinychat_ui.theme import script

INTRO = (
    "Two models, or two settings of one, answer the same prompt with the same seed. Vote for the "
    "better answer; over many prompts the tally tells more than any single one."
)
SIDES = ("A", "B")


@dataclass(frozen=True)
class Contender:
    """One of the two that are compared."""

    model: str  # as the shelf opens it
    sampling: Sampling
    label: str  # by which votes are counted


@dataclass(frozen=True)
class Question:
    """What both are asked."""

    text: str
    system: str
    blind: bool


@dataclass(eq=False)
class Match:
    """The comparison of one browser tab, kept on the server and changed in place."""

    asking: Asking = field(default_factory=Asking)
    question: Question | None = None
    sides: tuple[Contender, ...] = ()  # in the order in which they are seen
    answers: list[Growing] = field(default_factory=list)
    vote: str | None = None  # its id
    verdict: Verdict | None = None
    result: str = ""  # what the vote has done to the tally of its pair
    notice: str = ""
    tallies: list[str] = field(default_factory=list)
    offered: list[tuple[str, str]] = field(default_factory=list)  # models that can be chosen

    @property
    def hidden(self) -> bool:
        """Whether the names are not to be seen yet."""
        return self.question is not None and self.question.blind and self.verdict is None

    @property
    def is_whole(self) -> bool:
        """Whether both answers are there."""
        whole = (each.is_over and not each.trouble for each in self.answers)
        return len(self.answers) == 2 and all(whole)

    @property
    def is_same(self) -> bool:
        """Whether both read the same, so that nobody can prefer one."""
        return self.is_whole and len({each.text.strip() for each in self.answers}) == 1

    @property
    def can_vote(self) -> bool:
        """Whether there are two answers to choose between that have not been judged."""
        is_new = not self.asking.busy and self.verdict is None
        return self.is_whole and not self.is_same and is_new


def build_compare(context: PageContext, picker: Picker, controls: SamplingControls) -> None:
    """The tab. Seed and system text are those of the rail."""
    match = gr.State(Match())
    gr.HTML(f'<p class="compare-intro">{INTRO}</p>', apply_default_css=False)
    with gr.Row(elem_classes="compare-choices"):
        models = [
            gr.Dropdown(
                model_choices(context),
                value=None,  # `offer` chooses
                min_width=240,
                label=f"{name} model",
                elem_id=f"compare-{name.lower()}",
            )
            for name in ("First", "Second")
        ]
    with gr.Accordion("Settings of each", open=False), gr.Row(elem_classes="compare-rules"):
        rules = []
        for name in ("First", "Second"):
            with gr.Column(min_width=260):
                gr.HTML(f"<h2>{name} model</h2>", apply_default_css=False)
                rules.append(build_sampling(compact=True, name=f"{name} model's settings"))
    prompt = gr.Textbox(
        label="Prompt for both", lines=2, max_lines=8, max_length=8000, elem_id="compare-prompt"
    )
    with gr.Row(elem_classes="compare-go"):
        go = gr.Button("Ask both", variant="primary", elem_id="compare-ask")
        stop = gr.Button("Stop", interactive=False, elem_id="compare-stop")
        blind = gr.Checkbox(
            label="Blind: hide which is which until I vote", elem_id="compare-blind"
        )
    panes = gr.HTML(
        value=view(Match()),  # type: ignore[arg-type]
        html_template="",
        js_on_load=script("compare"),
        elem_id="compare-panes",
    )

    def shown(match: Match) -> list[Any]:
        busy = match.asking.busy
        update = [gr.update(interactive=not busy), gr.update(interactive=busy)]
        return [view(match), *update]

    def asked(match: Match, *given: Any) -> Iterator[list[Any]]:
        first, second, one, two, text, blind, *rail = given
        chosen = [(first, [one]), (second, [two])]
        for _ in compare(context, match, chosen, text, rail, blind=blind is True):
            yield shown(match)

    def voted(match: Match, event: gr.EventData) -> dict[str, Any]:
        vote(context, match, (event._data or {}).get("verdict"))
        return view(match)

    def undone(match: Match) -> dict[str, Any]:
        undo(context, match)
        return view(match)

    def halted(match: Match) -> None:
        match.asking.stop()

    def counted(match: Match) -> dict[str, Any]:
        match.tallies = tallies(context)
        return view(match)

    def offered(match: Match, *now: Any) -> list[Any]:
        choices = model_choices(context)
        if choices == match.offered and all(now[:2]):
            return [gr.skip()] * 2  # what is being typed to find one stays
        match.offered = choices
        return offer(context, now[:2], now[2])

    inputs = [match, *models, *(each.component for each in rules), prompt, blind, *controls.inputs]
    gr.on(
        [go.click, prompt.submit], asked, inputs, [panes, go, stop], concurrency_limit=None, **QUIET
    )
    stop.click(halted, match, concurrency_limit=None, **QUIET)
    panes.vote(voted, match, panes, **QUIET)
    panes.undo(undone, match, panes, **QUIET)
    for trigger in (picker.current.change, *(model.focus for model in models)):
        trigger(offered, [match, *models, picker.current], models, **QUIET)
    picker.current.change(counted, match, panes, **QUIET)


def compare(
    context: PageContext,
    match: Match,
    chosen: Sequence[tuple[Any, Sequence[Any]]],
    text: Any,
    rail: Sequence[Any],
    *,
    blind: bool,
    before: Sequence[Message] = (),
    swap: Callable[[], bool] = blind_swap,
) -> Iterator[None]:
    """Ask both (a model's name and its controls' values each) and follow their answers. Yields
    whenever there is more to show; what went wrong is told in `match.notice`. `before` are turns
    before the question."""
    if not match.asking.begin():
        return
    try:
        match.question, match.sides, match.answers = None, (), []
        match.vote, match.verdict, match.notice = None, None, ""
        sides = contenders(context, chosen, sampling_of(rail).seed)
        match.question = Question(question_of(text, context), system_of(rail), blind)
        match.sides = sides[::-1] if blind and swap() else sides
        match.notice = "Loading the models …"
        yield
        news = threading.Event()
        opened = [context.shelf.open(side.model) for side in match.sides]
        match.notice = f"Seed {sides[0].sampling.seed}, the same for both."
        for model, side in zip(opened, match.sides, strict=True):
            if match.asking.stopped:
                break
            question = match.question
            answer = ask(
                context, model, question.text, side.sampling, question.system,
                before=before, news=news,
            )  # fmt: skip
            match.answers.append(match.asking.add(answer))
        yield from follow(match.answers, news)
        if match.is_same and not match.asking.stopped:
            match.notice = "Both say the same, so there is nothing to choose: ask something else."
    except TinychatError as error:
        match.notice = context.told(error)
    finally:
        match.asking.over()
    yield


def contenders(
    context: PageContext, chosen: Sequence[tuple[Any, Sequence[Any]]], seed: int
) -> tuple[Contender, ...]:
    """Both sides with one seed. Raises SettingsError if there is nothing to compare."""
    known = [name for _, name in model_choices(context)]
    for model, _ in chosen:
        if model not in known:
            raise SettingsError("Choose two models first.")
    most = context.limits.new_tokens
    rules = [sampling_of(values, seed=seed, most_new_tokens=most) for _, values in chosen]
    names = [str(model) for model, _ in chosen]
    if names[0] == names[1] and rules[0] == rules[1]:
        raise SettingsError(
            "Both sides are the same model with the same settings, so their answers are too: "
            "choose another model or change a setting."
        )
    differing = [key for key, value in asdict(rules[0]).items() if value != getattr(rules[1], key)]
    return tuple(
        Contender(name, one, " · ".join([name, *(_setting(key, one) for key in differing)]))
        for name, one in zip(names, rules, strict=True)
    )


def vote(context: PageContext, match: Match, verdict: Any) -> None:
    """Keep a vote on the answers that are there; anything else is passed over."""
    if not match.can_vote or match.question is None or verdict not in get_args(Verdict):
        return
    a, b = (
        Side(label=side.label, settings=asdict(side.sampling), text=answer.text)
        for side, answer in zip(match.sides, match.answers, strict=True)
    )
    seed, question = match.sides[0].sampling.seed, match.question
    try:
        match.vote = context.votes.add(
            verdict, prompt=question.text, seed=seed, a=a, b=b, blind=question.blind
        )
        match.verdict, match.notice = verdict, ""
        match.result = tally_words(a.label, b.label, context.votes.tally(a.label, b.label))
        match.tallies = tallies(context)
    except TinychatError as error:
        match.notice = context.told(error)


def undo(context: PageContext, match: Match) -> None:
    """Take the vote back. It can be given again, but not blind: the names have been seen."""
    if match.vote is None or match.question is None:
        return
    try:
        context.votes.undo(match.vote)
        match.question = replace(match.question, blind=False)
        match.vote, match.verdict, match.notice = None, None, "The vote is taken back."
        match.tallies = tallies(context)
    except TinychatError as error:
        match.notice = context.told(error)


def offer(context: PageContext, now: Sequence[Any], current: str | None) -> list[Any]:
    """The models that can be chosen. Where none is: the one that answers now, against the oldest
    of its run."""
    choices = model_choices(context)
    names = [name for _, name in choices]
    run = (current or "").rpartition("@")[0]
    oldest = next((name for name in reversed(names) if name.rpartition("@")[0] == run), None)
    wanted = [
        value if value in names else standard
        for value, standard in zip(now, (current, oldest), strict=True)
    ]
    return [gr.update(choices=choices, value=value if value in names else None) for value in wanted]


def view(match: Match) -> dict[str, Any]:
    """What the panes show. Names are left out while they are hidden, so no page can tell them."""
    panes = []
    for place, name in enumerate(SIDES):
        side = match.sides[place] if match.sides else None
        answer = match.answers[place] if place < len(match.answers) else None
        panes.append(
            {
                "name": name,
                "label": side.label if side and not match.hidden else "",
                "text": answer.text if answer else "",
                "facts": answer.facts if answer and not match.hidden else "",
                "trouble": answer.trouble if answer else "",
                "won": match.vote is not None and match.verdict == name.lower(),
            }
        )
    voted = match.vote is not None
    return {
        "panes": panes,
        "busy": match.asking.busy,
        "can_vote": match.can_vote,
        "voted": voted,
        "alike": match.is_same,
        "notice": match.notice,
        "result": match.result if voted else "",
        "tallies": match.tallies,
    }


def tallies(context: PageContext) -> list[str]:
    """The tally of every pair, the pair with most votes first."""
    try:
        found = context.votes.tallies()
    except TinychatError:
        return []
    ordered = sorted(found.items(), key=lambda each: -each[1].total)
    return [tally_words(a, b, tally) for (a, b), tally in ordered]


def _setting(key: str, sampling: Sampling) -> str:
    """temperature 0.8, top k off"""
    value = getattr(sampling, key)
    return f"{key.replace('_', ' ')} {'off' if value is None else value}"
