"""What a checkpoint's model card tells of a run: its data, its recipe, its latest results.

`Latest` listens to the run for what no other part keeps: the last evaluation and the last samples.
"""

from pathlib import Path

from tinychat.config import Settings
from tinychat.model import History, code
from tinychat.runs import RunReader
from tinychat.text import Prepared, data_names, is_built_in
from tinychat.training.events import Evaluated, Event, Sampled
from tinychat.training.lineage import Facts
from tinychat.training.progress import Progress
from tinychat.words import size

SAMPLES_SHOWN = 5
FILES_SHOWN = 10
BUILT_IN_LICENCE = "MIT, as tinychat itself, which made it"
NO_LICENCE = "not told (data.licence)"


class Latest:
    """The last evaluation of this attempt, and the last round of samples of the run."""

    def __init__(self) -> None:
        self.evaluated: Evaluated | None = None
        self.sampled_at: int | None = None
        self.samples: list[tuple[str, str]] = []  # (prompt, text)

    @classmethod
    def of(cls, run: Path, step: int) -> "Latest":
        """What a run that goes on from `step` said last."""
        latest = cls()
        for row in RunReader(run).rows("samples") if step else ():
            if row["step"] <= step:
                latest._keep(row["step"], row["prompt"], row["text"])
        return latest

    def __call__(self, event: Event) -> None:
        match event:
            case Evaluated():
                self.evaluated = event
            case Sampled():
                self._keep(event.step, event.prompt, event.text)

    def _keep(self, step: int, prompt: str, text: str) -> None:
        if step != self.sampled_at:
            self.sampled_at, self.samples = step, []
        if len(self.samples) < SAMPLES_SHOWN:
            self.samples.append((prompt, text))


def history(
    settings: Settings,
    max_steps: int,
    prepared: Prepared,
    facts: Facts,
    at: Progress,
    latest: Latest,
) -> History:
    """The tables of the card."""
    return History(
        results=_results(at, latest),
        data=_data(settings, prepared),
        recipe=_recipe(settings, max_steps, facts, at, prepared),
        samples=[(code(prompt), code(text)) for prompt, text in latest.samples],
        sampled_at=latest.sampled_at,
    )


def _results(at: Progress, latest: Latest) -> list[tuple[str, str]]:
    rows, found = [], latest.evaluated
    if at.evaluated_step == at.step and at.val_loss is not None:
        rows.append(("validation loss", f"{at.val_loss:.4f} nats per token"))
        if found is not None and found.step == at.step and found.bits_per_byte is not None:
            rows.append(("bits per byte", f"{found.bits_per_byte:.4f}"))
    if at.best_val_loss is not None and at.best_step != at.step:
        best = f"{at.best_val_loss:.4f} nats per token, at step {at.best_step:,}"
        rows.append(("best of the run so far", best))
    return rows


def _data(settings: Settings, prepared: Prepared) -> list[tuple[str, str]]:
    summary = prepared.summary
    one = "conversations" if prepared.form == "chat" else "documents"
    files = [code(Path(each.name).name) for each in summary.files]
    names = ", ".join(files[:FILES_SHOWN])
    if len(files) > FILES_SHOWN:
        names += f" and {len(files) - FILES_SHOWN} more"
    licence = code(settings.data.licence) if settings.data.licence else NO_LICENCE
    if all(map(is_built_in, settings.data.paths)):
        names, licence = " and ".join(data_names(settings.data.paths)), BUILT_IN_LICENCE
    train, valid = summary.train, summary.valid
    return [
        ("data", names),
        ("licence of the data", licence),
        (one, f"{train.documents:,} for training, {valid.documents:,} for validation"),
        ("size", size(summary.n_bytes)),
        ("tokens", f"{train.tokens:,} for training, {summary.bytes_per_token:.2f} bytes each"),
        ("fingerprint", code(prepared.fingerprint)),
    ]


def _recipe(
    settings: Settings, max_steps: int, facts: Facts, at: Progress, prepared: Prepared
) -> list[tuple[str, str]]:
    optim = settings.optim
    seen = f"{at.tokens_seen:,}"
    if settings.tune.feedback:
        seen += ", of what people said"
        seen += " and of the old data" if settings.examples_a_step < settings.batch_size else ""
    else:
        own = at.tokens_seen * settings.own_rows_a_step / settings.batch_size
        seen += f", {own / max(prepared.summary.train.tokens, 1):,.2f} passes over the data"
        seen += " beside the old data" if settings.own_rows_a_step < settings.batch_size else ""
    rule = "Muon and AdamW" if optim.optimizer == "muon" else "AdamW"
    begins = [("began with", code(settings.init_from))] if settings.init_from else []
    return [
        *begins,
        ("steps", f"{at.step:,} of {max_steps:,}, {settings.batch_size} rows each"),
        ("tokens seen", seen),
        ("optimizer", f"{rule}, peak learning rate {optim.learning_rate:g}, {optim.schedule}"),
        ("dropout", f"{settings.model.dropout:g}"),
        ("computed on", f"{facts.runtime.device} in {facts.runtime.dtype}"),
        ("seed", f"{settings.seed}"),
    ]
