"""Which evaluation is the best, and when too much was forgotten."""

from dataclasses import replace

import pytest

from tinychat.config import ReplaySettings, Settings, TuneSettings
from tinychat.training.best import forgotten, is_best, keep, keep_as_best
from tinychat.training.evaluate import Evaluation
from tinychat.training.progress import Progress

PLAIN = Settings(max_steps=100)
REPLAY = replace(PLAIN, init_from="parent", replay=ReplaySettings(share=0.5, max_val_loss_rise=0.1))
TUNE = replace(
    PLAIN,
    init_from="parent",
    tune=TuneSettings(feedback=("feedback.jsonl",)),
    replay=ReplaySettings(max_val_loss_rise=0.1),
)


def best_of(settings: Settings, *found: tuple[int, float, float | None, float | None]) -> Progress:
    """Where a run stands after these: (step, val_loss, replay_val_loss, preference_loss)."""
    progress = Progress()
    for step, val_loss, old, preference in found:
        progress.step = step
        evaluation = Evaluation(val_loss, None, 10, 10, old, preference)
        keep(evaluation, progress, settings)
        if is_best(evaluation, progress, settings):
            keep_as_best(evaluation, progress)
    return progress


def test_the_lowest_val_loss_is_the_best_and_one_that_is_not_finite_never() -> None:
    found = best_of(PLAIN, (0, 3.0, None, None), (1, 2.0, None, None), (2, 2.5, None, None))
    assert (found.best_step, found.best_val_loss) == (1, 2.0)
    assert (found.evaluated_step, found.val_loss) == (2, 2.5), "the newest is remembered too"
    found = best_of(PLAIN, (0, 3.0, None, None), (1, float("nan"), None, None))
    assert (found.best_step, found.evaluated_step, found.val_loss) == (0, 1, None)
    assert best_of(PLAIN, (0, 1.0, None, None), (1, 2.0, None, None)).best_step == 0


@pytest.mark.parametrize(
    ("settings", "rows", "best"),
    [
        (REPLAY, [(0, 3.0, 1.0, None), (1, 2.0, 1.05, None), (2, 1.0, 1.2, None)], 1),
        (REPLAY, [(0, 3.0, 1.0, None), (1, 2.0, 1.2, None)], 0),
        # the parent is only the best as long as there is nothing else within the limit
        (REPLAY, [(0, 2.0, 1.0, None), (1, 2.5, 1.0, None)], 1),
        (TUNE, [(0, 1.0, None, 0.7), (1, 1.05, None, 0.5), (2, 1.02, None, 0.6)], 1),
        (TUNE, [(0, 1.0, None, 0.7), (1, 1.05, None, 0.5), (2, 1.2, None, 0.1)], 1),
        (TUNE, [(0, 1.0, None, None), (1, 1.05, None, None), (2, 1.07, None, None)], 2),
    ],
)
def test_the_best_lies_within_the_limit(
    settings: Settings, rows: list[tuple[int, float, float | None, float | None]], best: int
) -> None:
    assert best_of(settings, *rows).best_step == best


def test_a_run_ends_where_the_old_data_was_forgotten_and_says_by_how_much() -> None:
    good = best_of(REPLAY, (0, 3.0, 1.0, None), (5, 2.0, 1.0625, None))
    assert forgotten(good, REPLAY) == ""
    bad = best_of(REPLAY, (0, 3.0, 1.0, None), (5, 2.0, 1.05, None), (9, 1.0, 1.125, None))
    told = forgotten(bad, REPLAY)
    assert "0.125 nats per token (from 1.000 to 1.125)" in told
    assert "step 5 is the best" in told
    longer = replace(REPLAY, replay=replace(REPLAY.replay, max_val_loss_rise=0.2))
    assert forgotten(bad, longer) == ""
    assert forgotten(bad, replace(REPLAY, replay=ReplaySettings(share=0.5))) == ""


def test_what_a_run_stands_at_reads_back_also_that_of_an_older_tinychat() -> None:
    progress = best_of(TUNE, (0, 1.0, None, 0.7), (4, 1.05, None, 0.5))
    document = progress.to_json()
    assert Progress.from_json(document) == progress
    for name in ("best_preference_loss", "old_val_loss_at_start", "old_val_loss", "val_loss"):
        del document[name]
    assert Progress.from_json(document).best_step == 4
    del document["tokens_seen"]
    with pytest.raises(KeyError, match="tokens_seen"):
        Progress.from_json(document)
