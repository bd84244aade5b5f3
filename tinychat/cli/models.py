"""RUN as commands take it, and where its model computes; shared by those that ask a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from tinychat.cli.output import tell
from tinychat.words import inert

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import OpenedModel, Shelf

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "fp32", "bf16", "fp16"]

Run = Annotated[
    str,
    Parameter(
        help="A run, its folder, a checkpoint (demo@300, demo@latest), or a Hugging Face model "
        "folder."
    ),
]


@dataclass(frozen=True, kw_only=True)
class PlaceFlags:
    """Where models lie and where they compute."""

    device: Device = "auto"
    """Where to compute (auto: cuda, else mps, else cpu)."""
    dtype: Dtype = "auto"
    """Precision (auto: bf16 where the hardware computes in it, else fp32)."""
    int8: Annotated[bool, Parameter(negative="")] = False
    """Weights of eight bits for single answers: faster on a CPU, a little less exact."""
    checkpoints: Path | None = None
    """Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints)."""

    def shelf(self, *, exact: bool = False) -> "Shelf":
        """The models that can be opened; `exact` ones are there to be measured."""
        from tinychat.config import RuntimeSettings
        from tinychat.engine import Shelf
        from tinychat.runs import default_checkpoints

        settings = RuntimeSettings(device=self.device, dtype=self.dtype)
        folder = self.checkpoints or default_checkpoints()
        return Shelf(folder, settings, int8=self.int8, exact=exact)


Place = Annotated[PlaceFlags, Parameter(name="*")]
PLACE = PlaceFlags()


def open_model(shelf: "Shelf", name: str) -> "OpenedModel":
    """The model that RUN means; what a person should know about it is told on stderr."""
    model = shelf.open(name)
    for remark in model.remarks:
        tell(inert(remark))
    return model
