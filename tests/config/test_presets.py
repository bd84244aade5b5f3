"""Every preset loads strictly and is as large as its name and its source say."""

import re

import pytest

from tinychat.config import Settings
from tinychat.config.load import preset_names, read_preset, resolve
from tinychat.model import count_parameters, family_of
from tinychat.planning.claims import CHECKS, claims_of

# What the shapes in the sources come to, counted from their own code; and what we have less of it.
SOURCES = {
    "tinygpt-char-6m": (5_760_398, 5_006),  # no bias on the head
    "tinygpt-23m": (23_244_800, 4_096),
    "tinygpt-30m": (29_680_640, 4_096),
    "vidya-10m": (10_003_968, 256),  # no norm after the embedding
    "vidya-33m": (33_477_888, 384),
    "m2-59m": (59_294_720, 0),
    "dolly-7m": (7_027_968, 0),
    "dolly-11m": (11_429_184, 0),
    "dolly-17m": (16_815_104, 0),
}
OURS = {"demo", "5m", "15m", "30m", "60m"}


def settings_of(name: str) -> Settings:
    return resolve(read_preset(name)).settings


def test_all_are_there() -> None:
    assert set(preset_names()) == set(SOURCES) | OURS


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_as_large_as_its_name_says(name: str) -> None:
    settings = settings_of(name)
    total = count_parameters(settings.model, settings.tokenizer.vocab_size)["total"]
    assert family_of(settings.model)
    if name in SOURCES:
        source, fewer = SOURCES[name]
        assert total == source - fewer
    if size := re.search(r"(\d+)m$", name):
        assert total == pytest.approx(int(size[1]) * 1e6, rel=0.05)


# What each source says, and the figure that the plan puts beside it.
TRUE = {
    "tinygpt-30m": ["29,676,544", "3.33 h", "491,520 tokens/s", "118.7 MB", "16.8 MB"],
    "tinygpt-char-6m": ["2 min 45 s an epoch, 3.7 h"],
    "vidya-33m": ["33,477,504", "268 MB weights, 536 MB Adam, 268 MB gradients"],
    "m2-59m": [
        "15.0 days at 26 s a step, 12.6",
        "712 MB",
        "4.27 GB",
        "237 MB",
        "1.07 GB",
        "6.6 GB",
    ],
    "dolly-17m": ["16,815,104", "918.75 steps an epoch", "32,156", "perplexity of 33", "3.91"],
}


@pytest.mark.parametrize("name", TRUE)
def test_the_true_figure_stands_beside_each_claim(name: str) -> None:
    assert set(TRUE) == set(CHECKS)
    told = " ".join(true for _, true in claims_of(name))
    for figure in TRUE[name]:
        assert figure in told
