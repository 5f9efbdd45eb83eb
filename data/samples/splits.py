"""Split rows into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from data.errors import InputError
from data.reading.settings import DatasetSource, SplitDates
from data.reading.times import parse_time
from data.samples.series import Series

Bounds = tuple[int, int, int, int]


def split_in_time(series: Series, source: DatasetSource) -> Bounds:
    """Return rows (0, validation, test, end) where the splits of one series begin, by fractions or by dates."""
    split, rows = source.settings.split, len(series)
    if not isinstance(split, SplitDates):
        return fraction_bounds(split, rows)
    assert series.times is not None
    if series.times.kind != "date":
        raise InputError(
            f"{series.where}, dataset {source.name!r}: split has dates, but its times are numbers such as "
            f"{series.times.show(0)}: write split as fractions"
        )

    def row_of(date: str | None) -> int:
        return rows if date is None else int(np.searchsorted(series.times.value, parse_time(date, series.times.zone)))  # type: ignore[union-attr]

    end = row_of(split.end)
    return 0, min(row_of(split.validation), end), min(row_of(split.test), end), end


def fraction_bounds(split: Sequence[float], rows: int) -> Bounds:
    """Return rows (0, validation, test, end) of a series with so many rows, by fractions."""
    return 0, int(np.floor(rows * split[0] + 1e-9)), int(np.floor(rows * (split[0] + split[1]) + 1e-9)), rows


def split_by_series(names: Sequence[str], fractions: Sequence[float]) -> dict[str, str]:
    """Assign whole series to splits by the rank of a hash of their names, so that no order in the names matters."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    validation = round(len(ranked) * fractions[0])
    test = round(len(ranked) * (fractions[0] + fractions[1]))
    parts = ["train"] * validation + ["validation"] * (test - validation) + ["test"] * (len(ranked) - test)
    return dict(zip(ranked, parts, strict=True))


def whole_series(part: str, rows: int) -> Bounds:
    """Return the bounds of a series that belongs to one split as a whole."""
    return {"train": (0, rows, rows, rows), "validation": (0, 0, rows, rows), "test": (0, 0, 0, rows)}[part]
