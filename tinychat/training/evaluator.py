"""What a run is evaluated on: all that it does not learn from."""

from collections.abc import Callable
from dataclasses import replace

from tinychat.training.batches import Rows, SomeRows, make_rows
from tinychat.training.evaluate import Evaluation, evaluate
from tinychat.training.parts import Parts
from tinychat.training.preferences import PreferenceDataset, with_preferences

FOLLOWED_ROWS = 128  # of the validation split, that are evaluated after each judgement


class Evaluator:
    """Evaluates a run's weights as they are: on its validation split, on that of the old data, and
    on the preferences that were held out."""

    def __init__(self, parts: Parts) -> None:
        self._parts, length = parts, parts.settings.model.context_length
        self._rows: Rows = make_rows(parts.prepared.valid, parts.prepared.form, length)
        if parts.settings.tune.follow:  # somebody waits for each evaluation
            self._rows = SomeRows(self._rows, FOLLOWED_ROWS)
        old = parts.old_data
        self._old_rows = make_rows(old.valid, old.form, length) if old else None
        self._token_bytes = parts.tokenizer.token_bytes()

    @property
    def remark(self) -> str:
        """Where it looks at a part only, in a sentence; else empty."""
        few = self._rows
        if not isinstance(few, SomeRows) or few.count == few.of:
            return ""
        return f"val_loss is of {few.count:,} of {few.of:,} validation rows, always the same"

    def __call__(self, beat: Callable[[], None], rows_at_once: int) -> Evaluation:
        """`beat` is called after each batch."""
        parts, decoder, runtime = self._parts, self._parts.decoder, self._parts.facts.runtime

        def of(rows: Rows) -> Evaluation:
            return evaluate(decoder, rows, self._token_bytes, runtime, rows_at_once, beat)

        found = of(self._rows)
        if self._old_rows is not None:
            found = replace(found, replay_val_loss=of(self._old_rows).val_loss)
        preferences = parts.preferences
        if not isinstance(preferences, PreferenceDataset):
            return found
        pad = parts.tokenizer.format.pad
        return with_preferences(
            found, decoder, preferences, parts.settings, pad, runtime, rows_at_once, beat
        )
