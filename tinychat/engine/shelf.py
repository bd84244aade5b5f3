"""From RUN to a model that can be asked: which checkpoint, what if it is damaged, which device."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from tinychat.config import RuntimeSettings
from tinychat.engine.self_check import problem_of
from tinychat.engine.text_model import TextModel
from tinychat.errors import CheckpointError, NoCheckpointError
from tinychat.model import (
    AnsweringDecoder,
    Decoder,
    LoadedModel,
    ModelCard,
    Runtime,
    answering_form,
    choose_runtime,
    for_answering,
    has_int8,
    load_foreign,
    load_model,
)
from tinychat.runs import RunPaths, RunReader, checkpoint_label, find_model, is_foreign

_Key = tuple[Path, int, int]  # a folder, and which file in it was there


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A checkpoint's model in memory, on the device where it will compute.

    `remarks` are sentences that a person should read: what was passed over, what was changed.
    """

    run: Path
    path: Path  # of the checkpoint
    step: int | None  # None for a model from elsewhere
    card: ModelCard
    text: TextModel
    parameters: int
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its run, or of the folder of a model from elsewhere."""
        return self.run.absolute().name

    @property
    def label(self) -> str:
        """`<run>@<step>`, or the folder of a model from elsewhere"""
        return checkpoint_label(self.name, self.step)

    @property
    def is_chat(self) -> bool:
        """Whether it answers conversations; else it continues texts."""
        return self.card.kind == "chat"


class Shelf:
    """Opens models by name and keeps the last `most` of them in memory. Any thread may ask.

    `int8` lets weights of eight bits answer single conversations, where the CPU has products for
    them. `exact` opens models as they were trained, in fp32 if nothing else is asked for, to be
    measured and not to answer fast.
    """

    def __init__(
        self,
        checkpoints: Path,
        settings: RuntimeSettings,
        *,
        most: int = 4,
        int8: bool = False,
        exact: bool = False,
    ) -> None:
        self.checkpoints = checkpoints
        self.settings = settings
        self.most = most
        self.int8 = int8
        self.exact = exact
        self._opened: OrderedDict[_Key, OpenedModel] = OrderedDict()
        self._look = threading.Lock()
        self._load = threading.Lock()  # one at a time; what is there already need not wait for it

    def open(self, name: str) -> OpenedModel:
        """The model that RUN means: a named checkpoint, else the best, else the newest good one; or
        the one in a folder from elsewhere. May take seconds.

        A damaged checkpoint that was not asked for by name is passed over, with a remark. Raises
        RunNotFoundError, NoCheckpointError, CheckpointError if none is good, and SettingsError for
        a device that is not here.
        """
        run, step = find_model(name, self.checkpoints)
        if step is None and is_foreign(run):
            return self._open(run, run, foreign=True)
        if step is not None:
            return self._open(run, RunPaths(run).checkpoint(step))
        problems: list[CheckpointError] = []
        for path in in_order(run):
            try:
                opened = self._open(run, path)
            except CheckpointError as error:
                problems.append(error)
                continue
            if not problems:
                return opened
            instead = f"Passed over; step {opened.step} answers instead."
            passed = [f"{problem} {instead}" for problem in problems]
            return replace(opened, remarks=(*passed, *opened.remarks))
        if not problems:
            raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
        raise CheckpointError(
            f"No checkpoint of the run {run.name} can be used, and nothing was deleted: "
            + " ".join(map(str, problems))
        )

    def _open(self, run: Path, path: Path, *, foreign: bool = False) -> OpenedModel:
        if (opened := self._known(path)) is not None:
            return opened
        with self._load:
            if (opened := self._known(path)) is not None:
                return opened
            runtime = choose_runtime(self.settings)
            load = load_foreign if foreign else load_model
            key = _key(path)
            loaded = load(path, runtime.torch_device)
            parameters = sum(each.numel() for each in loaded.decoder.parameters())
            runtime = for_answering(runtime, self.settings, parameters, exact=self.exact)
            text, remarks = self._checked(loaded, runtime)
            step = None if foreign else loaded.card.step
            opened = OpenedModel(run, path, step, loaded.card, text, parameters, remarks)
            with self._look:
                if key is not None:
                    self._opened[key] = opened
                while len(self._opened) > self.most:
                    self._opened.popitem(last=False)
            return opened

    def _checked(self, loaded: LoadedModel, runtime: Runtime) -> tuple[TextModel, tuple[str, ...]]:
        """The model in its fastest form on a runtime that computes it rightly, and what had to be
        changed for that."""
        remarks: list[str] = []
        plain = loaded.decoder
        # threads that wait for each other would only delay so short a work
        replace(runtime, threads=1).apply()
        decoder = plain if self.exact else self._quickest(plain, runtime, remarks)
        for device, dtype in ((runtime.device, "fp32"), ("cpu", "fp32")):
            problem = None if decoder is not plain else problem_of(plain, runtime)
            if problem is None:
                break
            if (runtime.device, runtime.dtype) == (device, dtype):
                continue
            remarks.append(
                f"{runtime.dtype} on {runtime.device} does not compute this model rightly "
                f"({problem}), so it computes in {dtype} on {device}."
            )
            runtime = replace(runtime, device=device, dtype=dtype)
            plain.to(runtime.torch_device)
        runtime.apply()
        return TextModel(decoder, loaded.tokenizer, runtime), tuple(remarks)

    def _quickest(
        self, plain: Decoder, runtime: Runtime, remarks: list[str]
    ) -> Decoder | AnsweringDecoder:
        """The quickest form that says what the plain one says; why it is no other is remarked."""
        int8 = self.int8 and runtime.device == "cpu" and has_int8()
        if self.int8 and not int8:
            remarks.append(f"{runtime.device} has no products of int8, so it goes without.")
        for in_int8, instead in ((True, "it goes without int8"), (False, "the plain one answers")):
            if in_int8 and not int8:
                continue
            form = answering_form(plain, runtime, one_row_int8=in_int8)
            if form is plain or not (problem := problem_of(form, runtime, plain)):
                return form
            remarks.append(f"{problem[0].upper()}{problem[1:]}, so {instead}.")
        return plain

    def _known(self, path: Path) -> OpenedModel | None:
        key = _key(path)
        with self._look:
            if key is None or key not in self._opened:
                return None
            self._opened.move_to_end(key)
            return self._opened[key]


def in_order(run: Path) -> list[Path]:
    """The checkpoints of a run, most wanted first: the best one, then from the newest on."""
    reader = RunReader(run)
    steps = reader.checkpoints()[::-1]
    if (best := reader.best) is not None:
        steps = [best.step, *(step for step in steps if step != best.step)]
    return [RunPaths(run).checkpoint(step) for step in steps]


def _key(path: Path) -> _Key | None:
    """Another one whenever another checkpoint lies under the same name."""
    for name in ("manifest.json", "config.json"):
        try:
            about = (path / name).stat()
        except OSError:
            continue
        return path.absolute(), about.st_ino, about.st_mtime_ns
    return None
