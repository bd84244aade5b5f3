"""Losses and gradients of preference tuning are those of Hugging Face's TRL: its own trainers, on
our exported checkpoints as transformers loads them, on the same examples in one batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tinychat.config import TuneSettings
from tinychat.conversations import Example, Objective, Reply
from tinychat.model import Runtime, load_model
from tinychat.model.families import to_hf
from tinychat.runs import RunPaths
from tinychat.training.preferences.forward import (
    LossSettings,
    PreferenceExample,
    estimate_kl,
    preference_losses,
)
from tinychat.training.preferences.reference import reference_of
from tinychat.training.preferences.sequences import (
    EncodedExample,
    encode_example,
    with_mismatched,
)

from .tuning import asked

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")
transformers = pytest.importorskip("transformers")

BETA = 0.3
RUNTIME = Runtime("cpu", "fp32", 1)
PAIRS = [
    ("My name is Anna and I like cats.", "Hello Anna! I like cats too, 7 of them.", "the moon"),
    ("My name is Leo.", "Hello", "Hello Leo! I like apples too, 100 of them, and boats."),
    ("And who is Tom?", "I like Tom.", "boats"),
]
RATED = [("good", 0, True), ("what is that", 1, False), ("I like apples", 2, True)]


class Both:
    """The reference and the model that learns, here and in transformers, and their tokenizer."""

    def __init__(self, run: Path) -> None:
        folders = [RunPaths(run).checkpoint(step) for step in (10, 20)]
        self.reference, self.model = (load_model(folder) for folder in folders)
        load = transformers.AutoModelForCausalLM.from_pretrained
        self.their_reference, self.theirs = (load(f, dtype=torch.float32) for f in folders)
        self.their_tokenizer = transformers.AutoTokenizer.from_pretrained(folders[0])
        self.length = self.model.decoder.settings.context_length
        self.pad = self.model.tokenizer.format.pad

    def referenced(self, examples: list[Example]) -> list[PreferenceExample]:
        encoded: list[EncodedExample] = []
        for example in examples:
            found = encode_example(example, self.model.tokenizer, self.length)
            assert isinstance(found, EncodedExample)
            encoded.append(found)
        encoded = with_mismatched(encoded, self.length)
        found = reference_of(self.reference.decoder, encoded, self.pad, RUNTIME, 2)
        return [PreferenceExample(*each) for each in zip(encoded, found, strict=True)]

    def gradients(self) -> dict[str, torch.Tensor]:
        """Ours, by the names of transformers."""
        decoder = self.model.decoder
        ours = {n: torch.zeros_like(p) if p.grad is None else p.grad
                for n, p in decoder.named_parameters()}  # fmt: skip
        return to_hf(ours, decoder.settings)

    def compare(self, loss: torch.Tensor, trainer: Any) -> None:
        """That their trainer has this loss and these gradients for its whole data as one batch."""
        batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
        trainer.model.train()
        theirs = trainer.compute_loss(trainer.model, batch)
        theirs.backward()
        assert loss.item() == pytest.approx(theirs.item(), abs=1e-4)
        found = self.gradients()
        assert max(each.abs().max() for each in found.values()) > 1e-3, "there is something to see"
        named = dict(trainer.model.named_parameters())
        compared = 0
        for name, ours in found.items():
            assert torch.allclose(ours, named[name].grad, atol=1e-4), name
            compared += 1
        assert compared >= len({id(each) for each in named.values()})


@pytest.fixture
def both(trained_runs: Path) -> Both:
    return Both(trained_runs / "talk")


def settings_of(kind: Any, folder: Path, rows: int, **more: Any) -> Any:
    return kind(
        output_dir=str(folder), beta=BETA, use_cpu=True, bf16=False, report_to=[],
        gradient_checkpointing=False, per_device_train_batch_size=rows, **more,
    )  # fmt: skip


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def example_of(objective: Objective, prompt: str, good: str | None, bad: str | None) -> Example:
    return Example(
        objective=objective,
        prompt=tuple(asked(prompt)),
        chosen=None if good is None else Reply(good),
        rejected=None if bad is None else Reply(bad),
        source="here",
    )


@pytest.mark.parametrize(("pairs", "chosen_weight"), [(PAIRS, 0.0), (PAIRS[:1], 0.5)])
def test_dpo_is_that_of_trl(
    both: Both, tmp_path: Path, pairs: list[tuple[str, str, str]], chosen_weight: float
) -> None:
    examples = both.referenced([example_of("dpo", *pair) for pair in pairs])
    settings = LossSettings.of(TuneSettings(beta=BETA, chosen_weight=chosen_weight), examples)
    found = preference_losses(both.model.decoder, examples, settings, torch.zeros(()), both.pad)
    losses = found.losses.mean()
    losses.backward()
    assert found.margins.abs().max() > 1e-3, "the two models differ"
    rows = [{"prompt": asked(p), "chosen": said(c), "rejected": said(r)} for p, c, r in pairs]
    more: dict[str, Any] = {}  # TRL averages this term over tokens, not over pairs: so one pair
    if chosen_weight:
        more = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, chosen_weight]}
    trainer = trl.DPOTrainer(
        model=both.theirs,
        ref_model=both.their_reference,
        args=settings_of(trl.DPOConfig, tmp_path, len(rows), **more),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=both.their_tokenizer,
    )
    both.compare(losses, trainer)


@pytest.mark.parametrize("flipped", [False, True])
def test_kto_is_that_of_trl(both: Both, tmp_path: Path, flipped: bool) -> None:
    rated = [(p, PAIRS[i][1], good is not flipped) for p, i, good in RATED]
    examples = [
        example_of("kto", p, text if good else None, None if good else text)
        for p, text, good in rated
    ]
    given = both.referenced(examples)
    settings = LossSettings.of(TuneSettings(beta=BETA), given)
    weights = (settings.desirable_weight, settings.undesirable_weight)
    assert set(weights) == {1.0, 2.0}, "the fewer ones weigh more"
    decoder = both.model.decoder
    kl = estimate_kl(decoder, given, both.pad, RUNTIME, 2)
    found = preference_losses(decoder, given, settings, kl, both.pad)
    losses = found.losses.mean()
    losses.backward()
    rows = [
        {"prompt": asked(p), "completion": said(text), "label": good} for p, text, good in rated
    ]
    names = ("desirable_weight", "undesirable_weight")
    more = dict(zip(names, weights, strict=True))
    trainer = trl.KTOTrainer(
        model=both.theirs,
        ref_model=both.their_reference,
        args=settings_of(trl.KTOConfig, tmp_path, len(rows), **more),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=both.their_tokenizer,
    )
    both.compare(losses, trainer)
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx(kl.item(), abs=1e-4)


def test_the_odds_of_orpo_are_those_of_trl(both: Both) -> None:
    orpo = pytest.importorskip("trl.experimental.orpo")
    examples = both.referenced([example_of("orpo", *pair) for pair in PAIRS])
    settings = LossSettings.of(TuneSettings(beta=BETA), examples)
    likely = both.referenced([example_of("sft", p, good, None) for p, good, _ in PAIRS])
    other = both.referenced([example_of("sft", p, bad, None) for p, _, bad in PAIRS])

    def losses_of(given: list[PreferenceExample]) -> torch.Tensor:
        decoder, nothing = both.model.decoder, torch.zeros(())
        return preference_losses(decoder, given, settings, nothing, both.pad).losses

    alone, rejected = losses_of(likely), losses_of(other)

    class Trainer:
        beta = BETA
        accelerator = type("Accelerator", (), {"device": torch.device("cpu")})

    ratio, *_ = orpo.ORPOTrainer.odds_ratio_loss(Trainer, -alone, -rejected)
    assert torch.allclose(losses_of(examples), alone - ratio, atol=1e-5)
