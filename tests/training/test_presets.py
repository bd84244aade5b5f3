"""Every preset, for real: twenty steps at a reduced batch, saved, resumed, evaluated, talked to.

With the folder of real data sets in TINYCHAT_DATA (dolly-15k.jsonl, dailydialog/,
tinyshakespeare.txt, tinystories-train.txt) each learns from its kind; without, from texts of the
same form made here.
"""

import json
import os
import random
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.config.load import preset_names
from tinychat.runs import RunReader, list_checkpoints

REAL = {
    "char": "tinyshakespeare.txt",
    "text": "tinystories-train.txt",
    "turns": "dailydialog/dialogues_train.txt",
    "questions": "dolly-15k.jsonl",
}
KINDS = {
    "tinygpt-char-6m": "char",
    "tinygpt-23m": "text",
    "tinygpt-30m": "text",
    "vidya-10m": "turns",
    "vidya-33m": "turns",
    "m2-59m": "text",
    "dolly-7m": "questions",
    "dolly-11m": "questions",
    "dolly-17m": "questions",
    "demo": "questions",
    "5m": "text",
    "15m": "text",
    "30m": "turns",
    "60m": "text",
}


def data_of(kind: str, folder: Path) -> Path:
    """A data set of this kind: the real one, or one made of the same form."""
    real = Path(os.environ.get("TINYCHAT_DATA", "")) / REAL[kind]
    if os.environ.get("TINYCHAT_DATA") and real.exists():
        return real
    rng = random.Random(kind)
    names, things = ["Anna", "Tom", "Mia", "Leo", "Ben"], ["cats", "boats", "the moon", "apples"]

    def line() -> str:
        return f"{rng.choice(names)} saw {rng.randint(2, 99)} {rng.choice(things)} and went home."

    path = folder / f"{kind}.jsonl" if kind == "questions" else folder / f"{kind}.txt"
    if kind == "questions":
        rows = [{"instruction": f"What did {n} do?", "context": "", "response": line()}
                for n in names for _ in range(300)]  # fmt: skip
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "turns":
        talks = [" __eou__ ".join([line() for _ in range(4)]) + " __eou__" for _ in range(1500)]
        path.write_text("\n".join(talks), encoding="utf-8")
    else:
        texts = [" ".join(line() for _ in range(12)) for _ in range(1500)]
        path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return path


def test_each_preset_has_a_kind_of_data() -> None:
    assert set(KINDS) == set(preset_names())


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_preset_trains_is_saved_resumed_evaluated_and_talks(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--checkpoints", str(tmp_path)]
    data = ["--data", str(data_of(KINDS[name], tmp_path))]
    small = [
        "--batch-size", "2", "--micro-batch-size", "1", "--sample.every-steps", "none",
        "--eval.every-steps", "none", "--checkpoint.every-steps", "15", "--tokenizer", "trained",
        "--log.every-steps", "1",
        "--data.validation-share", "0.02",
    ]  # fmt: skip
    if KINDS[name] != "char":
        small += ["--data.max-documents", "1500"]
    words = ["train", "--preset", name, "--name", "run", *folder, *data, *small]
    assert tinychat([*words, "--max-steps", "15"]) == 0
    assert tinychat(["resume", "run", *folder, "--max-steps", "20"]) == 0
    run = tmp_path / "run"
    rows = [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all(row["train_loss"] > 0 for row in rows), "every step had a finite loss"
    assert list_checkpoints(run)[-1] == 20
    capsys.readouterr()
    assert tinychat(["eval", "run", *folder, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["val_loss"] < rows[0]["train_loss"], "it has learnt something"
    prompt = ["--prompt", "What did Tom do?", "--max-new-tokens", "8", "--seed", "1"]
    assert tinychat(["generate", "run", *folder, *prompt]) == 0
    assert capsys.readouterr().out.strip()
