"""What a model has learnt from, as its run tells it: the old data of a run that starts from it.

It is read as the parent read it and divided with the parent's seed: else what the parent had kept
for validation would be learnt now, and its val_loss would say nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinychat.config import DataSettings
from tinychat.config.load import Layer, json_to_layer, resolve
from tinychat.errors import RunError, SettingsError
from tinychat.runs import RunReader, folder_label, is_foreign
from tinychat.text.built_in import SMALL_TALK
from tinychat.text.corpus import form_of_path


@dataclass(frozen=True)
class OldData:
    """How the old data is read, and the seed that divided it."""

    data: DataSettings
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Its settings, as a run keeps them: what of them is not as usual, and no paths, which have
        a setting of their own."""
        usual = DataSettings()
        values = dataclasses.asdict(replace(self.data, paths=()))
        return {k: v for k, v in values.items() if v != getattr(usual, k)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], seed: int) -> "OldData":
        """Raises SettingsError for settings that this version does not know."""
        layer = Layer("the old data", {"data": json_to_layer(values), "seed": seed, "max_steps": 1})
        return cls(resolve(layer).settings.data, seed)


def learnt_by(folder: Path) -> OldData:
    """What the model of this checkpoint folder has learnt from: the data of its run, and what was
    mixed in there, unless that is of another form and no corpus can hold both.

    Raises SettingsError where its run does not lie around it or cannot be read.
    """
    unknown = (
        f"what {folder_label(folder)} learnt from is not told "
        "here{}; name it by --replay.paths, or go without by --replay.share 0"
    )
    if is_foreign(folder):
        raise SettingsError(unknown.format(", for it was trained elsewhere"))
    try:
        document = RunReader(folder.parent).settings["settings"]
        data, seed = dict(document["data"]), document["seed"]
        old = OldData.from_json({k: v for k, v in data.items() if k != "paths"}, seed)
        paths = list(map(str, data["paths"] or [SMALL_TALK]))
        older = list(map(str, document.get("replay", {}).get("paths", ())))
    except (RunError, SettingsError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(unknown.format(f" ({error})")) from None
    if older and form_of_path(older[0], old.data) == form_of_path(paths[0], old.data):
        paths += older
    return OldData(replace(old.data, paths=tuple(dict.fromkeys(paths))), old.seed)
