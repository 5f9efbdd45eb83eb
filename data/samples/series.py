"""A series: the rows of one machine, site or patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.reading.read import Rows
from data.reading.times import Times, show_time
from data.samples.counts import Counts


@dataclass(frozen=True)
class Series:
    """One series in time order: numbers (rows, columns) with NaN where missing, labels None where missing.

    `inserted` marks the rows that the files do not have; None: none. `counts` has the counts of the rows read.
    """

    name: str
    numbers: npt.NDArray[Any]
    labels: dict[str, npt.NDArray[np.object_]]
    times: Times | None
    where: str = ""
    inserted: npt.NDArray[np.bool_] | None = None
    counts: Counts = field(default_factory=Counts)

    def __len__(self) -> int:
        return len(self.numbers)


def join_files(files: Sequence[Rows], name: str) -> Series:
    """Return the rows of some files, concatenated."""
    labels = {key: [label for rows in files for label in rows.labels[key]] for key in files[0].labels}
    return Series(
        name=name,
        numbers=files[0].numbers if len(files) == 1 else np.concatenate([rows.numbers for rows in files]),
        labels={key: np.asarray(values, dtype=object) for key, values in labels.items()},
        times=_join_times(files),
        where=files[0].file if len(files) == 1 else f"{files[0].file} and {len(files) - 1} more",
    )


def _join_times(files: Sequence[Rows]) -> Times | None:
    timed = [(rows.file, rows.times) for rows in files if rows.times is not None]
    if not timed:
        return None
    # Files without rows do not decide the kind.
    timed = [(file, times) for file, times in timed if len(times.value)] or timed[:1]
    check_kinds_of_time([kind_of_time(file, times) for file, times in timed])
    return replace(timed[0][1], value=np.concatenate([times.value for _, times in timed]))


def kind_of_time(file: str, times: Times) -> tuple[str, str]:
    """Return a file and the kind of its times: dates with a time zone, dates, or numbers."""
    return file, "zoned date" if times.zoned else times.kind


def check_kinds_of_time(kinds: Sequence[tuple[str, str]]) -> None:
    """Raise InputError unless all files (file, kind of its times) have the same kind of times."""
    for file, kind in kinds:
        first_file, first = kinds[0]
        if kind == first:
            continue
        if {kind, first} == {"date", "zoned date"}:
            zoned, plain = (file, first_file) if kind != "date" else (first_file, file)
            raise InputError(
                f"{plain}: its times have no time zone, those of {zoned} have one, so their distance is unknown: "
                'write time_zone = "Europe/Berlin", or what it is, for the times without one'
            )
        raise InputError(
            f"{file}: its times are {kind}s, those of {first_file} are {first}s: write the same kind in all files"
        )


def take_rows(series: Series, rows: slice | npt.NDArray[np.intp]) -> Series:
    """Return some rows of a series, in this order."""
    times = None if series.times is None else replace(series.times, value=series.times.value[rows])
    labels = {name: values[rows] for name, values in series.labels.items()}
    inserted = None if series.inserted is None else series.inserted[rows]
    return replace(series, numbers=series.numbers[rows], labels=labels, times=times, inserted=inserted)


def irregular_steps(series: Series) -> str | None:
    """Return a warning if the steps of time are not all equal, or None."""
    if series.times is None or len(series) < 3:
        return None
    steps = np.diff(series.times.value)
    usual = int(np.median(steps))
    odd = np.flatnonzero(steps != usual)
    if not len(odd):
        return None
    times = series.times
    first = show_time(int(times.value[odd[0] + 1]), times.kind, times.zone if times.zoned else None)
    return (
        f"series {series.name!r}: {len(odd)} of {len(steps)} steps of time differ from the usual one, first before "
        f"{first}; rows keep their order; write frequency to insert the absent ones"
    )
