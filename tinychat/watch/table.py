"""The numbers of a log as arrays: a million rows in tens of megabytes, their extremes at once.

No numpy: whoever watches a run starts at once, and slices of arrays are fast enough.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, islice, pairwise, repeat
from operator import contains, itemgetter, le
from typing import Any, Literal, NamedTuple

Axis = Literal["step", "tokens", "time"]

BLOCK = 32  # values under one block's minimum and maximum; the same again for the level above
_AT_ONCE = 4096  # values
_REMEMBERED = 1024  # extremes of stretches, a column: those of its chart
_WHOLE = 1 - 1e-13  # beyond it the beginning of an average weighs nothing


class _Blocks(NamedTuple):
    """Least and greatest finite values of blocks of rows; NaN of a block that has none."""

    lows: "array[float]"
    highs: "array[float]"


class Column:
    """Numbers in the order of their rows, NaN where there is none.

    `nonfinite` holds the rows whose value was a number that is not finite, ascending.
    """

    def __init__(self) -> None:
        self.values: array[float] = array("d")
        self.nonfinite: array[int] = array("q")
        self._holes = False  # whether any value is NaN, so that min() may lie
        self._extremes: dict[tuple[int, int], tuple[float, float] | None] = {}
        # the values, whole blocks of them, whole blocks of those
        self._blocks = (
            _Blocks(self.values, self.values),
            _Blocks(array("d"), array("d")),
            _Blocks(array("d"), array("d")),
        )

    def __len__(self) -> int:
        return len(self.values)

    def extend(self, values: Sequence[Any]) -> None:
        """Append: what is not a number becomes a hole, never an error; true counts as 1."""
        first = len(self.values)
        new = to_numbers(values)
        if not math.isfinite(sum(new)):
            for index, value in enumerate(new):
                if not math.isfinite(value):
                    new[index] = math.nan
                    self._holes = True
                    if isinstance(values[index], int | float):
                        self.nonfinite.append(first + index)
        self.values.extend(new)

    def pad(self, rows: int) -> None:
        """Append that many holes."""
        self._holes = self._holes or rows > 0
        self.values.extend(array("d", [math.nan]) * rows)

    def truncate(self, rows: int) -> None:
        """Keep the first `rows`."""
        del self.values[rows:]
        del self.nonfinite[bisect_left(self.nonfinite, rows) :]
        self._extremes.clear()
        for below, above in pairwise(self._blocks):
            whole = len(below.lows) // BLOCK
            del above.lows[whole:]
            del above.highs[whole:]

    def extremes(self, first: int, end: int) -> tuple[float, float] | None:
        """The least and the greatest finite value of rows first to end - 1, None without any."""
        stretch = first, end = max(first, 0), min(end, len(self.values))
        if stretch not in self._extremes:  # a chart that grows asks for nearly the same ones again
            if len(self._extremes) >= _REMEMBERED:
                self._extremes.clear()
            self._extremes[stretch] = self._found_extremes(first, end)
        return self._extremes[stretch]

    def _found_extremes(self, first: int, end: int) -> tuple[float, float] | None:
        if len(self._blocks[1].lows) < len(self.values) // BLOCK:
            self._add_blocks()  # only now: most columns are never drawn
        pieces: list[tuple[_Blocks, int, int]] = []
        for blocks in self._blocks[:-1]:
            inner_first, inner_end = -(-first // BLOCK), end // BLOCK
            if inner_first >= inner_end:
                break
            pieces.append((blocks, first, inner_first * BLOCK))
            pieces.append((blocks, inner_end * BLOCK, end))
            first, end = inner_first, inner_end  # the whole blocks are left to the level above
        else:
            blocks = self._blocks[-1]
        pieces.append((blocks, first, end))
        lows: list[float] = []
        highs: list[float] = []
        for blocks, first, end in pieces:
            if first < end:
                low, high = self._known(blocks, first, end)
                if low:
                    lows.append(min(low))
                    highs.append(max(high))
        return (min(lows), max(highs)) if lows else None

    def finite_ends(self, first: int, end: int) -> tuple[int, int]:
        """The first and the last row from first to end - 1 with a finite value (there is one)."""
        last = end - 1
        while self.values[first] != self.values[first]:
            first += 1
        while self.values[last] != self.values[last]:
            last -= 1
        return first, last

    def _add_blocks(self) -> None:
        for below, above in pairwise(self._blocks):
            first, end = len(above.lows) * BLOCK, len(below.lows) // BLOCK * BLOCK
            above.lows.extend(map(min, self._pieces(below.lows, first, end)))
            above.highs.extend(map(max, self._pieces(below.highs, first, end)))

    def _pieces(self, values: "array[float]", first: int, end: int) -> list[list[float]]:
        known = values[first:end].tolist()
        pieces = [known[start : start + BLOCK] for start in range(0, end - first, BLOCK)]
        if self._holes:
            pieces = [[each for each in piece if each == each] or [math.nan] for piece in pieces]
        return pieces

    def _known(self, blocks: _Blocks, first: int, end: int) -> tuple[list[float], list[float]]:
        """Least and greatest values of the blocks first to end - 1, without the NaNs."""
        low = blocks.lows[first:end].tolist()
        high = low if blocks.highs is blocks.lows else blocks.highs[first:end].tolist()
        if self._holes:  # a comparison with NaN is always false, so min() would lie
            return [each for each in low if each == each], [each for each in high if each == each]
        return low, high


class Average:
    """The exponential moving average of a column, over all of its rows.

    It is corrected for its beginning: the first value is the first point, and what is constant
    stays constant. Holes are passed over.
    """

    def __init__(self, source: Column, weight: float) -> None:
        self.column = Column()
        self.weight = weight
        self._source = source
        self._now = 0.0
        self._share = 0.0  # of the weights of a whole past that the rows so far make up

    def catch_up(self) -> None:
        """Average what the column has got since."""
        for first in range(len(self.column), len(self._source), _AT_ONCE):
            new = self._source.values[first : first + _AT_ONCE].tolist()
            averages = self._far(new) if self._share == 1.0 else None
            self.column.extend(averages or self._near(new))

    def _near(self, new: list[float]) -> list[float]:
        now, share, part = self._now, self._share, 1 - self.weight
        averages: list[float] = []
        for value in new:
            if value == value:
                share += part * (1 - share)
                now += (value - now) * (part / share)
                if not math.isfinite(now):  # the difference of two huge numbers
                    now = value
            averages.append(now if value == value else math.nan)
        self._now, self._share = now, 1.0 if share > _WHOLE else share
        return averages

    def _far(self, new: list[float]) -> list[float] | None:
        """The same at twice the speed, where the beginning weighs nothing any more; None if one
        of the values needs a closer look."""
        now, part = self._now, 1 - self.weight
        averages = [now := now + (value - now) * part for value in new]
        if not math.isfinite(now):
            return None
        self._now = now
        return averages


class Table:
    """Rows of one kind: where each stands on the three axes, and a column for each number.

    `steps`, `tokens` and `times` (seconds since the run's first row) never go down. `columns` are
    of those names that any row has had: what a kind of run never writes takes neither memory nor
    time.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.steps: array[int] = array("q")
        self.tokens: array[float] = array("d")
        self.times: array[float] = array("d")
        self.columns: dict[str, Column] = {}
        self._unseen = list(names)
        self._averages: dict[str, Average] = {}  # the one of each column that was drawn last

    def __len__(self) -> int:
        return len(self.steps)

    def xs(self, axis: Axis) -> "array[int] | array[float]":
        """Where the rows stand on an axis."""
        return {"step": self.steps, "tokens": self.tokens, "time": self.times}[axis]

    def extend(
        self,
        rows: Sequence[Mapping[str, Any]],
        steps: Sequence[int],
        tokens: Sequence[Any],
        times: Sequence[Any],
        began_at: float = 0.0,
    ) -> None:
        """Append rows. `steps` must be integers that do not go down; the rest may be anything.

        `times` are Unix seconds, as the rows say them, and `began_at` is the one to count from.
        """
        seconds = array("d", [each - began_at for each in to_numbers(times)])
        self.tokens.extend(_never_down(to_numbers(tokens), self.tokens))
        self.times.extend(_never_down(seconds, self.times))
        for name in [each for each in self._unseen if any(map(contains, rows, repeat(each)))]:
            self._begin(name)
        by_column = _by_column(rows, list(self.columns))
        for column, values in zip(self.columns.values(), by_column, strict=True):
            column.extend(values)
        self.steps.extend(steps)
        for average in self._averages.values():
            average.catch_up()

    def truncate(self, rows: int) -> None:
        """Keep the first `rows`."""
        if rows >= len(self):
            return
        for each in (self.steps, self.tokens, self.times):
            del each[rows:]
        for column in self.columns.values():
            column.truncate(rows)
        for name, average in self._averages.items():
            self._averages[name] = self._average(name, average.weight)

    def ema(self, name: str, weight: float) -> Column:
        """The moving average of a column; the last weight asked for is kept up to date."""
        average = self._averages.get(name)
        if average is None or average.weight != weight:
            average = self._averages[name] = self._average(name, weight)
        return average.column

    def _average(self, name: str, weight: float) -> Average:
        average = Average(self.columns[name], weight)
        average.catch_up()
        return average

    def _begin(self, name: str) -> None:
        """A column that is written from now on."""
        self._unseen.remove(name)
        self.columns[name] = Column()
        self.columns[name].pad(len(self))


def to_numbers(values: Sequence[Any]) -> "array[float]":
    """`values` as floats: NaN for what is no number, infinity for an integer beyond floats."""
    if isinstance(values, array):
        return values
    try:
        return array("d", values)
    except (TypeError, OverflowError):
        return array("d", map(_number, values))


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _by_column(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Sequence[Sequence[Any]]:
    """The values of each of the keys, None where it is not there."""
    if any(map(contains, rows, repeat("nonfinite"))):
        return [[_named(row, name) for row in rows] for name in names]
    if len(names) > 1:
        try:  # all rows in one array: a fifth of the time
            numbers = array("d", list(chain.from_iterable(map(itemgetter(*names), rows))))
            return [numbers[first :: len(names)] for first in range(len(names))]
        except (KeyError, TypeError, OverflowError):
            pass
    return [[row.get(name) for row in rows] for name in names]


def _named(row: Mapping[str, Any], name: str) -> Any:
    """The value of a key; NaN where null stands for a number that was not finite."""
    value = row.get(name)
    if value is None:
        nonfinite = row.get("nonfinite")
        if isinstance(nonfinite, list) and name in nonfinite:
            return math.nan
    return value


def _never_down(numbers: "array[float]", before: "array[float]") -> "array[float]":
    """The same, but a hole or a number that goes down takes the one before it."""
    last = before[-1] if before else 0.0
    if not math.isfinite(sum(numbers)):
        numbers = array("d", [each if math.isfinite(each) else last for each in numbers])
    if numbers and numbers[0] >= last and all(map(le, numbers, islice(numbers, 1, None))):
        return numbers
    return array("d", islice(accumulate(numbers, max, initial=last), 1, None))
