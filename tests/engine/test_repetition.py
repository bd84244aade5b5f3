"""When a passage counts as said over and over."""

import pytest

from tinychat.engine import Sampling, TextModel
from tinychat.engine.repetition import LEAST, TIMES, RepetitionGuard


def ends_at(ids: list[int]) -> int | None:
    """After how many tokens the guard has had enough."""
    guard = RepetitionGuard()
    return next((n for n, token in enumerate(ids, 1) if guard.push(token)), None)


@pytest.mark.parametrize("period", [1, 2, 3, 7, 8, 9, 16, 40, 64])
def test_a_passage_four_times_in_a_row_is_enough(period: int) -> None:
    before = [1000, 1001, 1002]
    ids = before + list(range(period)) * 60
    end = ends_at(ids)
    assert end is not None
    assert end == len(before) + max(TIMES * period, LEAST)


def test_what_comes_back_with_other_things_between_is_no_loop() -> None:
    speaker = list(range(12))
    play = [token for n in range(50) for token in (*speaker, 100 + n, 200 + n)]
    assert ends_at(play) is None
    assert ends_at([7] * (LEAST - 1)) is None
    assert ends_at(list(range(65)) * 60) is None


def test_an_answer_that_loops_is_ended(model: TextModel) -> None:
    for name, weight in model.decoder.named_parameters():
        if name.endswith("attention.output.weight"):
            weight.data.zero_()  # no memory: each token has but one successor
    model.never_sampled = [*model.never_sampled, model.tokenizer.format.end]
    loop = Sampling(temperature=0.0, max_new_tokens=2000)
    [ended] = model.complete(["The cat"], loop)
    assert ended.finish_reason == "repetition"
    free = Sampling(temperature=0.0, max_new_tokens=2000, repetition_guard=False)
    [whole] = model.complete(["The cat"], free)
    assert whole.finish_reason == "length"
    assert whole.ids[: len(ended.ids)] == ended.ids
