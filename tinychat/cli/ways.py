"""The ways to compute that autotune tried, as lines of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from tinychat.words import count, number, table


def lines_of_ways(trials: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]) -> list[str]:
    """A line for each trial as attempt.json holds them, the fastest first, the choice marked."""
    rows = [("", "dtype", "threads", "rows at once", "attention", "", "tokens/s")]
    for each in sorted(trials, key=lambda trial: -(trial["tokens_per_second"] or 0)):
        same = all(each[name] == chosen[name] for name in each if name not in _FOUND)
        rows.append(
            (
                "→" if same else "",
                each["dtype"],
                number(each["threads"]),
                number(each["micro_batch_size"]),
                each["attention"],
                _more(each),
                each["problem"] or number(round(each["tokens_per_second"])),
            )
        )
    return table(rows, right=(2, 3, 6))


_FOUND = ("tokens_per_second", "problem")


def _more(trial: Mapping[str, Any]) -> str:
    words = ["compiled"] * trial["compile"]
    words += ["gradient checkpointing"] * trial["gradient_checkpointing"]
    return ", ".join(words)


def in_words(way: Mapping[str, Any]) -> str:
    """A way to compute in a line, from its place in attempt.json or a plan."""
    words = [way["dtype"], count(way["threads"], "thread"), f"attention by {way['attention']}"]
    return ", ".join([*words, *filter(None, [_more(way)])])
