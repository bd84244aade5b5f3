"""The recipe of `tinychat tune`, for real: a scripted teacher gets the manner that he asks for."""

from pathlib import Path

import pytest
import teaching

from tinychat.cli.app import run as tinychat
from tinychat.conversations import examples_from_bytes
from tinychat.text.smalltalk import training_conversations

from .tuning import digest_of


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("teacher", teaching.TEACHERS, ids=lambda each: each.name)
def test_sixty_judgements_teach_a_manner_and_cost_little(
    trained_demo: Path, tmp_path: Path, teacher: teaching.Teacher
) -> None:
    before = digest_of(trained_demo.parent)
    found = teaching.learn(trained_demo, teacher, tmp_path)
    assert found.picks + found.rewrites == 60
    assert found.before < 0.4
    assert found.after >= 0.8
    assert found.sound_after >= found.sound_before - 0.1, "and does not stammer"
    assert found.rise < 0.15
    assert digest_of(trained_demo.parent) == before, "the parent is as it was"
    data = (tmp_path / teacher.name / "examples.jsonl").read_bytes()
    prompts = [each.prompt for each in examples_from_bytes(data)]
    learnt = {turn["content"] for turns in prompts if not isinstance(turns, str) for turn in turns}
    asked = teaching.prompts(0)
    assert learnt <= set(asked.judged)
    met = {turn.content for talk in training_conversations() for turn in talk.messages}
    assert not (learnt | met) & {*asked.unseen, *asked.strange}, "what it is asked is new to it"
    words = ["verify", teacher.name, "--steps", "10:20", "--checkpoints", str(tmp_path)]
    assert tinychat(words) == 0
