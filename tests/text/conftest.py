"""Small tokenizers, small corpora and ways to write files, for all tests of this room."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.text import Tokenizer, train_bpe, train_char

TEXTS = [
    "Once upon a time there was a little cat. It's name was Tom, and Tom's friend was a dog!\n",
    "Once there was a dog. The dog said: “Hello, little cat!” — and the cat laughed.\n\n",
    "def add(a, b):\n    return a + b  # 12 + 30 = 42\n",
]


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return train_bpe(TEXTS * 3, 330)


@pytest.fixture(scope="session")
def char() -> Tokenizer:
    return train_char(TEXTS)


@pytest.fixture(params=["bpe", "char"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Write records, one a line; a string is written as it stands."""

    def write(name: str, records: list[object]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    texts = (f"Once there was a cat called {i}. It had {i} friends." for i in range(40))
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def talks(write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl(
        "talks.jsonl",
        [
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": f"What is {i}? <|end|>"},
                    {"role": "assistant", "content": f"A number, {i}."},
                ]
            }
            for i in range(40)
        ],
    )
