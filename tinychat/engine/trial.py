"""Old against new: the prompts that show what a training has changed.

First those that were held out of it, then others in the manner of its data that nobody has judged.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from tinychat.conversations import EXCERPT, Entry, Example, Feedback, Prompt, examples_from_bytes
from tinychat.runs import RunPaths, RunReader
from tinychat.text import Message, prompts_of_run
from tinychat.words import clip


@dataclass(frozen=True)
class Asked:
    """A prompt to ask both."""

    text: str
    system: str = ""
    before: tuple[Message, ...] = ()  # turns before it
    is_held_out: bool = False


def trial_prompts(run: Path, judged: Collection[str]) -> list[Asked]:
    """What to ask a tuned run and the one that it came from. `judged` are the beginnings of prompts
    that were. Raises RunError or ConversationError for a run that cannot be read, OSError.
    """
    learnt, held_out = _examples(run)
    known = {*judged, *(clip(each.text, EXCERPT) for each in _asked(learnt))}
    others = (Asked(text) for text in prompts_of_run(run) if clip(text, EXCERPT) not in known)
    return [*_asked(held_out, are_held_out=True), *others]


def rewrites_learnt(run: Path, feedback: Feedback) -> list[Entry]:
    """The rewrites that a tuned run was trained on, as they were written. Raises the same."""
    learnt = {each.source for each in _examples(run)[0]}
    return [each for each in feedback.entries() if each.kind == "rewrite" and each.id in learnt]


def asked_of(prompt: Prompt, *, is_held_out: bool = False) -> Asked | None:
    """A prompt as a person could have typed it; None for an answer that nobody asked for."""
    if isinstance(prompt, str):
        return Asked(prompt, is_held_out=is_held_out) if prompt.strip() else None
    if not prompt or prompt[-1]["role"] != "user":
        return None
    *before, last = (Message(turn["role"], turn["content"]) for turn in prompt)
    system = next((turn.content for turn in before if turn.role == "system"), "")
    turns = tuple(turn for turn in before if turn.role != "system")
    return Asked(last.content, system, turns, is_held_out)


def _asked(examples: Iterable[Example], *, are_held_out: bool = False) -> list[Asked]:
    """Their prompts, each once."""
    found = (asked_of(each.prompt, is_held_out=are_held_out) for each in examples)
    return list(filter(None, dict.fromkeys(found)))


def _examples(run: Path) -> tuple[list[Example], list[Example]]:
    """Those that the run was trained on, and those that were held out. A run that follows
    judgements holds out none: each is a step."""
    tune = RunReader(run).run.tune
    if tune is None or tune.follows:
        return [], []
    path = RunPaths(run).examples_jsonl
    examples = examples_from_bytes(path.read_bytes(), path.name)
    learnt = len(examples) - tune.held_out
    return examples[:learnt], examples[learnt:]
