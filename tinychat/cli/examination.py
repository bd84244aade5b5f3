"""The held-out questions of the built-in corpora, put to a model: how many answers are right."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinychat.engine import Sampling
from tinychat.text.smalltalk import (
    KINDS_APART,
    PERSONA_KINDS,
    Question,
    held_out_questions,
    persona_questions,
)

if TYPE_CHECKING:
    from tinychat.cli.output import Waiting
    from tinychat.engine import OpenedModel
    from tinychat.text import Tokenizer

AT_ONCE = 128  # questions between two signs of life
NAMES_APART = {"unseen_sum": "unseen_sums", "unseen_counting": "unseen_counting"}


def examine(
    model: "OpenedModel", waiting: "Waiting", questions: Sequence[Question] | None = None
) -> dict[str, Any]:
    """Ask every question, always the likeliest token; right is what equals an answer to the letter.

    `share`, `right` and `asked` leave out the kinds a small model cannot be expected to know
    (sums and numbers it never met together); those stand apart, under names of their own.
    """
    questions = held_out_questions() if questions is None else questions
    return scores(questions, _answered_right(model, waiting, questions))


def examine_persona(model: "OpenedModel", waiting: "Waiting") -> dict[str, Any]:
    """Ask the built-in persona's questions about its name and manner, in the same way."""
    asked = persona_questions()
    right = _answered_right(model, waiting, asked)
    return {
        **_score(PERSONA_KINDS, asked, right),
        "kinds": {kind: _score([kind], asked, right) for kind in PERSONA_KINDS},
    }


def _answered_right(
    model: "OpenedModel", waiting: "Waiting", asked: Sequence[Question]
) -> list[Question]:
    right: list[Question] = []
    done = 0
    for chunk, room in chunks(asked, model.text.tokenizer):
        waiting("asking", done, len(asked))
        done += len(chunk)
        greedy = Sampling(temperature=0.0, top_k=None, max_new_tokens=room)
        completions = model.text.complete([q.messages for q in chunk], greedy)
        right += [
            question
            for question, completion in zip(chunk, completions, strict=True)
            if is_right(completion.text, question)
        ]
    return right


def chunks(
    questions: Iterable[Question], tokenizer: "Tokenizer"
) -> Iterator[tuple[list[Question], int]]:
    """Some questions at a time, and how many tokens their answers may take: no more than a right
    one needs, or the first turns of a long talk would have to be dropped."""
    rooms = [(1 + max(map(len, tokenizer.encode_batch(q.answers))), q) for q in questions]
    rooms.sort(key=lambda each: each[0])
    for start in range(0, len(rooms), AT_ONCE):
        some = rooms[start : start + AT_ONCE]
        yield [question for _, question in some], some[-1][0]


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
    kinds: Sequence[str], asked: Sequence[Question], right: Sequence[Question]
) -> dict[str, Any]:
    n_asked = sum(question.kind in kinds for question in asked)
    n_right = sum(question.kind in kinds for question in right)
    return {"share": n_right / n_asked if n_asked else 0.0, "right": n_right, "asked": n_asked}
