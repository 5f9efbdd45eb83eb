"""Plan which rows of which series become which part, by data and settings alone, never by the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.reading.columns import columns_of
from data.reading.settings import DatasetSource
from data.sharding.index import SeriesIndex

PART_BYTES = 1 << 27  # of the rows of a part; to prepare one takes about seven times as much memory
FEWEST_ROWS = 1 << 15


@dataclass(frozen=True)
class Segment:
    """Rows `first` to `stop` of a series, by its index among all series; the whole series if `stop` is None."""

    series: int
    first: int = 0
    stop: int | None = None


def rows_of_part(source: DatasetSource) -> int:
    """Return the largest number of rows of a part: the power of two that fits into PART_BYTES."""
    fit: int = max(PART_BYTES // (4 * len(columns_of(source))), 1)
    return max(1 << (fit.bit_length() - 1), FEWEST_ROWS)


def plan_parts(series: Sequence[SeriesIndex], most_rows: int) -> list[list[Segment]]:
    """Return the segments of each part, in the order of the series.

    A series longer than a part is cut at multiples of `most_rows`, and each stretch is a part; consecutive shorter series
    share a part. A series without `bounds` is not cut.
    """
    parts: list[list[Segment]] = []
    group: list[Segment] = []
    rows = 0
    for index, each in enumerate(series):
        if group and rows + each.length > most_rows:
            parts.append(group)
            group, rows = [], 0
        if each.length <= most_rows or each.bounds is None:
            group.append(Segment(index, 0, each.length if each.bounds is not None else None))
            rows += each.length
            continue
        firsts = range(0, each.length, most_rows)
        parts += [[Segment(index, first, min(first + most_rows, each.length))] for first in firsts]
    return [*parts, group] if group or not parts else parts
