"""A tiny model of many short conversations, to be taught."""

import json
from pathlib import Path

from tests.apps.ui.conftest import train
from tinychat.conversations import Answer, Feedback

NAMES = ["Anna", "Tom", "Mia", "Leo", "Ida", "Max", "Eva", "Ben", "Ada", "Kai"]
NAMES += ["Zoe", "Jan", "Lea", "Tim", "Uma", "Sam", "Ina", "Rob", "Amy", "Noa"]
THINGS = ["boats", "cats", "apples", "stars", "trains", "dogs", "songs", "books", "trees"]


def write_lessons(path: Path) -> Path:
    """About two hundred different conversations, two answers to most prompts."""
    pairs = [(f"My name is {name}.", f"Nice to meet you, {name}!") for name in NAMES]
    pairs += [(f"My name is {name}.", f"Hello {name}, how are you?") for name in NAMES]
    for thing in THINGS:
        pairs += [
            (f"Do you like {thing}?", f"Yes, I like {thing} a lot."),
            (f"Do you like {thing}?", f"I do. Do you like {thing} too?"),
            (f"What are {thing}?", f"I think {thing} are nice things."),
            (f"What are {thing}?", f"Have you never seen {thing}?"),
            (f"I have two {thing}.", f"Two {thing}! I have none."),
            (f"I have two {thing}.", f"Why do you have two {thing}?"),
        ]
    pairs += [(f"What is {a} + {b}?", f"{a} + {b} = {a + b}") for a in range(8) for b in range(8)]
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in pairs
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def train_pupil(folder: Path, steps: int = 250) -> Path:
    """The run `pupil` in `folder/checkpoints`."""
    runs, data = folder / "checkpoints", write_lessons(folder / "lessons.jsonl")
    every = [f"--{kind}.every-steps={steps // 2}" for kind in ("sample", "eval", "checkpoint")]
    train(runs, "pupil", data, f"--max-steps={steps}", *every)
    return runs / "pupil"


def pick_questions(runs: Path, prompts: int) -> None:
    """Judgements of a teacher who likes answers that ask: a pick for so many prompts."""
    feedback = Feedback(runs)
    for number in range(prompts):
        name, thing = NAMES[number % len(NAMES)], THINGS[number // len(NAMES) % len(THINGS)]
        asked = [{"role": "user", "content": f"I am {name} and have two {thing}."}]
        said = [f"Two {thing}! I have none.", f"Why do you have two {thing}?", f"I like {thing}."]
        feedback.pick(asked, [_answer(text) for text in said], 1)


def _answer(text: str) -> Answer:
    return Answer(
        text=text, prompt_ids=[], answer_ids=[], run="pupil", step=250, seed=1, settings={},
        finish_reason="end",
    )  # fmt: skip
