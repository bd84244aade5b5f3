"""From RUN to a model that can be asked: which checkpoint, what if it is damaged, which device.

Shared by the commands that talk to a model. Imports torch, so only once a command runs.
"""

from dataclasses import dataclass
from pathlib import Path

from tinychat.cli.output import tell
from tinychat.config import RuntimeSettings
from tinychat.engine import Engine
from tinychat.errors import CheckpointError, NoCheckpointError
from tinychat.model import LoadedModel, ModelCard, Runtime, choose_runtime, load_foreign, load_model
from tinychat.runs import RunPaths, RunReader, find_model, is_foreign


@dataclass(frozen=True)
class OpenedModel:
    """A checkpoint's model in memory, on the device where it will compute."""

    run: Path
    path: Path  # of the checkpoint
    step: int | None  # None for a model from elsewhere
    loaded: LoadedModel
    runtime: Runtime

    @property
    def card(self) -> ModelCard:
        return self.loaded.card

    @property
    def label(self) -> str:
        """`<run>@<step>`, or the folder of a model from elsewhere"""
        name = self.run.absolute().name
        return name if self.step is None else f"{name}@{self.step}"

    def engine(self) -> Engine:
        return Engine(self.loaded.decoder, self.loaded.tokenizer, self.runtime)


def open_run(name: str, root: Path, settings: RuntimeSettings) -> OpenedModel:
    """The model that RUN means: a named checkpoint, else the best, else the newest good one; or the
    one in a folder from elsewhere.

    A damaged checkpoint that was not asked for by name is passed over, with a remark on stderr.
    Raises CheckpointError if none is good, NoCheckpointError if there is none.
    """
    run, step = find_model(name, root)
    runtime = choose_runtime(settings)
    runtime.apply()
    if step is None and is_foreign(run):
        return OpenedModel(run, run, None, load_foreign(run, runtime.torch_device), runtime)
    problems: list[CheckpointError] = []
    for path in [RunPaths(run).checkpoint(step)] if step is not None else in_order(run):
        try:
            loaded = load_model(path, runtime.torch_device)
        except CheckpointError as error:
            problems.append(error)
            continue
        for problem in problems:
            tell(f"{problem} Passed over; step {loaded.card.step} answers instead.")
        return OpenedModel(run, path, loaded.card.step, loaded, runtime)
    if step is not None:
        raise problems[0]
    if not problems:
        raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
    raise CheckpointError(
        f"No checkpoint of the run {run.name} can be used, and nothing was deleted: "
        + " ".join(map(str, problems))
    )


def in_order(run: Path) -> list[Path]:
    """The checkpoints of a run, most wanted first: the best one, then from the newest on."""
    reader = RunReader(run)
    steps = reader.checkpoints()[::-1]
    if (best := reader.best) is not None:
        steps = [best.step, *(step for step in steps if step != best.step)]
    return [RunPaths(run).checkpoint(step) for step in steps]
