"""`generate`: streams, repeats itself for a seed, and never trips over a damaged checkpoint."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.cli.sampling import SamplingFlags
from tinychat.config import RuntimeSettings
from tinychat.engine import Engine, Sampling, Shelf
from tinychat.runs import RunPaths
from tinychat.text import Message
from tinychat.words import inert

from .conftest import Tinychat
from .terminal import Terminal

Copy = Callable[[str], Path]


def test_the_flags_are_the_rules_of_the_engine() -> None:
    assert SamplingFlags().rules(seed=5) == Sampling(seed=5)
    theirs = {field.name for field in dataclasses.fields(Sampling)}
    assert {field.name for field in dataclasses.fields(SamplingFlags)} == theirs


def test_the_same_seed_gives_the_same_text(tinychat: Tinychat, trained_runs: Path) -> None:
    def generate(*flags: object) -> str:
        found = tinychat(
            "generate", "story", "--prompt", "Anna saw", "--max-new-tokens", 12,
            "--checkpoints", trained_runs, *flags,
        )  # fmt: skip
        assert found.code == 0
        return found.out + found.err

    assert generate("--seed", 3) == generate("--seed", 3)
    assert generate("--temperature", 0, "--seed", 1) == generate("--temperature", 0, "--seed", 2)
    assert "seed " in generate(), "a drawn one is told"
    assert "seed" not in generate("--seed", 3)


def test_json_tells_what_was_done(tinychat: Tinychat, trained_runs: Path) -> None:
    words = ["--prompt", "My name is Tom.", "--max-new-tokens", "9", "--top-k", "none"]
    found = tinychat("generate", "talk", *words, "--checkpoints", trained_runs, "--json")
    assert found.err == ""
    first = found.json
    assert first["run"] == "talk"
    assert first["step"] == 20, "its best"
    assert first["kind"] == "chat"
    assert first["top_k"] is None
    assert first["completion_tokens"] <= 9  # none, if it ends at once
    assert first["finish_reason"] in ("end", "length")
    words += ["--seed", str(first["seed"]), "--checkpoints", str(trained_runs)]
    again = tinychat("generate", "talk", *words)
    assert again.out == inert(first["text"], keep="\n\t") + "\n"


def test_the_text_is_that_of_the_engine(tinychat: Tinychat, trained_runs: Path) -> None:
    model = Shelf(trained_runs, RuntimeSettings()).open("talk")
    rules = Sampling(seed=7, max_new_tokens=12, top_p=0.9, repetition_penalty=1.2)
    messages = [Message("user", "My name is Tom.")]
    with Engine() as engine:  # its other requests must not change it
        fitted = model.text.fit(messages, 12)
        others = [engine.ask(model.text, fitted, Sampling(seed=seed)) for seed in range(3)]
        answer = engine.ask(model.text, fitted, rules, serial=True)
        text = "".join(answer)
        for other in others:
            other.cancel()
    (direct,) = model.text.complete([messages], rules)
    words = ["--prompt", "My name is Tom.", "--seed", 7, "--max-new-tokens", 12, "--top-p", 0.9]
    words += ["--repetition-penalty", 1.2, "--checkpoints", trained_runs]
    found = tinychat("generate", "talk", *words, "--json")
    assert found.json["text"] == text == direct.text
    assert found.json["completion_tokens"] == len(direct.ids)


def test_an_answer_can_be_made_to_begin_with_a_text(tinychat: Tinychat, trained_runs: Path) -> None:
    words = ["--prompt", "Anna saw", "--begin", " 3 boats", "--seed", 1, "--max-new-tokens", 5]
    words += ["--checkpoints", trained_runs]
    for run in ("talk", "story"):
        document = tinychat("generate", run, *words, "--json").json
        assert document["begin"] == " 3 boats"
        found = tinychat("generate", run, *words)
        assert found.out == " 3 boats" + inert(document["text"], keep="\n\t") + "\n"
    whole = ["--prompt", "Anna saw 3 boats", *words[4:]]
    assert tinychat("generate", "story", *whole, "--json").json["text"] == document["text"]


def test_logprobs_tell_of_each_token(tinychat: Tinychat, trained_runs: Path) -> None:
    words = ["generate", "story", "--prompt", "Anna saw", "--max-new-tokens", 6, "--seed", 2]
    words += ["--checkpoints", trained_runs, "--top-k", 5]
    plain = tinychat(*words, "--json").json
    assert "tokens" not in plain
    document = tinychat(*words, "--json", "--logprobs", 3).json
    assert document["text"] == plain["text"]
    assert len(document["tokens"]) == document["completion_tokens"]
    for token in document["tokens"]:
        likeliest = token["candidates"][0]
        assert token["logprob"] <= math.log(likeliest["probability"]) + 1e-9
        assert token["rank"] <= 5
        assert 3 <= len(token["candidates"]) <= 4, "and the token itself, if it is none of them"
        (own,) = [each for each in token["candidates"] if each["id"] == token["id"]]
        assert own["text"] == token["text"]
        assert own["probability"] == pytest.approx(math.exp(token["logprob"]))
        assert own["removed_by"] is None
    for bad in (["--logprobs", 3], ["--logprobs", -1, "--json"]):
        found = tinychat(*words, *bad)
        assert (found.code, found.out) == (2, "")
        assert "--logprobs takes a number from 0 up" in found.err


def test_ctrl_c_keeps_what_there_is(trained_runs: Path) -> None:
    words = ["--prompt", "Anna saw", "--temperature", "0", "--max-new-tokens", "1000000"]
    words += ["--no-repetition-guard", "--checkpoints", str(trained_runs)]
    terminal = Terminal("generate", "story", *words)
    try:
        terminal.read_until(r"[a-z]{4}.{40}")  # it would go on for hours
        terminal.type("\x03")
        rest = terminal.rest()
        assert rest.endswith("\n")
        assert "interrupted" not in rest
        assert terminal.process.wait(timeout=60) == 130
    finally:
        terminal.close()


def test_any_checkpoint_can_be_asked(tinychat: Tinychat, trained_runs: Path) -> None:
    folder = RunPaths(trained_runs / "story").checkpoint(10)
    for name, step in ((folder, 10), ("story@10", 10), ("story@latest", 20), ("story@0", 0)):
        found = tinychat(
            "generate", name, "--prompt", "x", "--max-new-tokens", 2, "--json",
            "--checkpoints", trained_runs,
        )  # fmt: skip
        assert found.json["step"] == step
        assert found.json["kind"] == "base"


def test_a_prompt_that_is_too_long_loses_its_beginning(
    tinychat: Tinychat, trained_runs: Path
) -> None:
    found = tinychat(
        "generate", "talk", "--prompt", "word " * 200, "--max-new-tokens", 2, "--json",
        "--checkpoints", trained_runs,
    )  # fmt: skip
    assert found.json["dropped_tokens"] > 0
    assert "too long" in found.err


def test_a_damaged_checkpoint_is_passed_over(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    damage(run, 20)
    words = ("--prompt", "x", "--max-new-tokens", 2, "--json")
    found = tinychat("generate", run, *words)
    assert found.code == 0
    assert found.json["step"] == 10
    assert "step-00000020/model.safetensors is damaged" in found.err
    assert "step 10 answers instead" in found.err
    named = tinychat("generate", f"{run}@20", *words)
    assert (named.code, named.out) == (1, "")
    assert "is damaged" in named.err
    damage(run, 10)
    damage(run, 0)
    found = tinychat("generate", run, *words)
    assert (found.code, found.out) == (1, "")
    assert "nothing was deleted" in found.err


def damage(run: Path, step: int) -> None:
    """Flip one bit in the middle of the weights."""
    path = RunPaths(run).checkpoint(step) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
