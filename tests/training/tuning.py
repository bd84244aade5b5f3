"""Judgements for the tests of preference tuning, and runs that learn from them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tinychat.cli.app import run as tinychat
from tinychat.conversations import Answer, Feedback
from tinychat.model import LoadedModel
from tinychat.text import Message, encode_prompt

Tune = Callable[..., Path]


def answer(text: str) -> Answer:
    return Answer(
        text=text, prompt_ids=[0, 2, 3], answer_ids=[4, 5], run="talk", step=20, settings={},
        seed=1, finish_reason="end",
    )  # fmt: skip


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def likelihoods(model: LoadedModel, prompt: str, replies: Sequence[str]) -> list[float]:
    """The log-probability of each reply as the answer to a prompt, without what training uses."""
    tokenizer, found = model.tokenizer, []
    begin = encode_prompt(tokenizer, [Message("user", prompt)])
    for reply in replies:
        ids = [*begin, *tokenizer.encode(reply), tokenizer.format.end]
        with torch.no_grad():
            nats = torch.log_softmax(model.decoder(torch.tensor([ids[:-1]])).float(), -1)[0]
        found.append(sum(nats[i - 1, ids[i]].item() for i in range(len(begin), len(ids))))
    return found


def judge(checkpoints: Path, picks: int = 20, thumbs: int = 4, rewrites: int = 2) -> Path:
    """Feedback of every kind, as the chat keeps it; returns its file."""
    feedback = Feedback(checkpoints)
    for i in range(picks):
        said = [f"I like {i} cats", f"Hello {i} boats, what do you think?", "the moon"]
        feedback.pick(asked(f"Hello number {i}"), [answer(each) for each in said], i % 3)
    for i in range(thumbs):
        feedback.thumb("down" if i % 2 else "up", asked(f"thumb {i}"), answer(f"so {i} it is"))
    for i in range(rewrites):
        feedback.rewrite(asked(f"rewrite {i}"), answer("moon moon"), f"hi {i}, nice to see you")
    return checkpoints / ".chats" / "feedback.jsonl"


def tune(checkpoints: Path, parent: str, *flags: str, exit_code: int = 0) -> int:
    words = ["tune", parent, "--checkpoints", str(checkpoints), "--runtime.threads=1"]
    code = tinychat([*words, *flags])
    assert code == exit_code
    return code


def digest_of(folder: Path, leave_out: Sequence[str] = ("lock",)) -> dict[str, str]:
    """Every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in leave_out
    }
