"""`generate`: streams, repeats itself for a seed, and never trips over a damaged checkpoint."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tinychat.cli.sampling import SamplingFlags
from tinychat.engine import Sampling
from tinychat.runs import RunPaths
from tinychat.words import inert

from .conftest import Tinychat

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
