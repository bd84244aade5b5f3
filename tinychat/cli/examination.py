"""The held-out questions of the built-in small talk, put to a model: how many answers are right."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tinychat.engine import Sampling
from tinychat.text.smalltalk import KINDS_APART, Question, held_out_questions

if TYPE_CHECKING:
    from tinychat.cli.output import Waiting
    from tinychat.engine import OpenedModel

AT_ONCE = 128  # questions between two signs of life
NAMES_APART = {"unseen_sum": "unseen_sums", "unseen_counting": "unseen_counting"}


def examine(
    model: "OpenedModel", waiting: "Waiting", questions: Sequence[Question] | None = None
) -> dict[str, Any]:
    """Ask every question, always the likeliest token; right is what equals an answer to the letter.

    `share`, `right` and `asked` leave out the kinds a small model cannot be expected to know
    (sums and numbers it never met together); those stand apart, under names of their own.
    """
    asked = held_out_questions() if questions is None else questions
    questions = sorted(asked, key=lambda q: len(str(q.messages)))
    longest = max(len(ids) for ids in model.text.tokenizer.encode_batch(_answers(questions)))
    greedy = Sampling(temperature=0.0, top_k=None, max_new_tokens=longest + 1)
    right: list[Question] = []
    for start in range(0, len(questions), AT_ONCE):
        chunk = questions[start : start + AT_ONCE]
        waiting("asking", start, len(questions))
        completions = model.text.complete([q.messages for q in chunk], greedy)
        right += [
            question
            for question, completion in zip(chunk, completions, strict=True)
            if is_right(completion.text, question)
        ]
    return scores(questions, right)


def is_right(text: str, question: Question) -> bool:
    """Exactly one of the answers; only blanks around it are forgiven."""
    return text.strip() in (answer.strip() for answer in question.answers)


def scores(asked: Sequence[Question], right: Sequence[Question]) -> dict[str, Any]:
    """The document `answers_right`."""
    kinds = list(dict.fromkeys(question.kind for question in held_out_questions()))
    together = [kind for kind in kinds if kind not in KINDS_APART]
    return {
        **_score(together, asked, right),
        **{NAMES_APART[kind]: _score([kind], asked, right) for kind in KINDS_APART},
        "kinds": {kind: _score([kind], asked, right) for kind in together},
    }


def _score(
    kinds: list[str], asked: Sequence[Question], right: Sequence[Question]
) -> dict[str, Any]:
    n_asked = sum(question.kind in kinds for question in asked)
    n_right = sum(question.kind in kinds for question in right)
    return {"share": n_right / n_asked if n_asked else 0.0, "right": n_right, "asked": n_asked}


def _answers(questions: Iterable[Question]) -> list[str]:
    return [answer for question in questions for answer in question.answers]
