"""Stores in empty folders, and answers to put into them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.conversations import Answer, Conversations, Feedback, Votes


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def store(checkpoints: Path) -> Conversations:
    return Conversations(checkpoints)


@pytest.fixture
def feedback(checkpoints: Path) -> Feedback:
    return Feedback(checkpoints)


@pytest.fixture
def votes(checkpoints: Path) -> Votes:
    return Votes(checkpoints)


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """An answer of demo@300."""

    def make_answer(text: str = "Hello there.", **changes: Any) -> Answer:
        told: dict[str, Any] = {
            "prompt_ids": [0, 2, 104, 105, 3],
            "answer_ids": [72, 101, 65535, 70000],
            "run": "demo",
            "step": 300,
            "settings": {"temperature": 0.8, "top_k": 40, "top_p": None, "stop": []},
            "seed": 42,
            "finish_reason": "end",
            "stats": {"new_tokens": 4, "tokens_per_second": 171.4},
            "chat_format": "tinychat-1",
        }
        return Answer(text=text, **(told | changes))

    return make_answer


STRANGE_TEXTS = (
    "",
    "\n",
    "two\nlines\r\nand\rmore",
    "NUL \0 in the middle",
    "\x1b[31mred\x07",
    "\u2028 and \u2029 and \x85",
    "\u202ereversed",
    "😀 and \U0010ffff",
    '{"kind":"node","format":1}\n{"undo":"x"}',
    "\ufeff",
    "a" * 100_000,
)


@pytest.fixture
def strange_texts() -> tuple[str, ...]:
    """Texts that have broken line files elsewhere."""
    return STRANGE_TEXTS
