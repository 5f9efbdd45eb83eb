"""Forecasts without a model, by sample and step: the last value, and the value one season before."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
SAMPLES_AT_A_TIME = 16_384
VALUES_AT_A_TIME = 4_000_000  # of the windows searched for their last observed value


@dataclass(frozen=True)
class TargetColumns:
    """The column indices of each target in a row.

    `known` has the columns that a forecast may repeat: the feature of the same name, with gaps filled, or the target.
    """

    known: tuple[int, ...]
    own: tuple[int, ...]


@dataclass(frozen=True)
class TargetRows:
    """The rows of a part (rows, columns), the columns of the targets, and the season in rows; None: no season."""

    values: npt.NDArray[np.floating]
    columns: TargetColumns
    season: int | None


@dataclass(frozen=True)
class Windows:
    """Windows of samples: the last input row, the number of input rows, and the first row of the series; all (samples,)."""

    ends: Int64
    lengths: Int64
    firsts: Int64


@dataclass
class BaselineSums:
    """Sums over samples of the errors of both forecasts in the targets' own units: all (steps, targets).

    If the value one season before is unknown, the seasonal forecast repeats the last value, so that both are measured on
    the same samples.
    """

    count: Float64
    last_squared: Float64
    last_absolute: Float64
    seasonal_squared: Float64
    seasonal_absolute: Float64

    @staticmethod
    def zero(horizon: int, num_targets: int) -> BaselineSums:
        """Return the sums of no samples."""
        return BaselineSums(*(np.zeros((horizon, num_targets)) for _ in range(5)))

    def arrays(self) -> list[Float64]:
        """Return all sums, in the order of the fields."""
        return [getattr(self, each.name) for each in fields(self)]

    def add(self, rows: TargetRows, windows: Windows) -> None:
        """Add the samples of windows; their targets follow in `rows`."""
        for start in range(0, len(windows.ends), SAMPLES_AT_A_TIME):
            some = slice(start, start + SAMPLES_AT_A_TIME)
            self._add(rows, Windows(windows.ends[some], windows.lengths[some], windows.firsts[some]))

    def _add(self, rows: TargetRows, windows: Windows) -> None:
        values, columns, season = rows.values, rows.columns, rows.season
        ends, firsts = windows.ends, windows.firsts
        last = last_values(values, columns.known, ends, windows.lengths)
        for step in range(len(self.count)):
            truth = rows_at(values, ends + step + 1, columns.own)
            seasonal = last
            if season is not None:
                before = ends + step + 1 - season * (step // season + 1)
                inside = before >= firsts
                seasonal = rows_at(values, np.where(inside, before, ends), columns.known)
                seasonal = np.where(inside[:, None] & ~np.isnan(seasonal), seasonal, last)
            gap, seasonal_gap = truth - last, truth - seasonal
            known = ~np.isnan(gap)
            gap, seasonal_gap = np.where(known, gap, 0.0), np.where(known, seasonal_gap, 0.0)
            self.count[step] += known.sum(axis=0)
            self.last_squared[step] += (gap**2).sum(axis=0)
            self.last_absolute[step] += abs(gap).sum(axis=0)
            self.seasonal_squared[step] += (seasonal_gap**2).sum(axis=0)
            self.seasonal_absolute[step] += abs(seasonal_gap).sum(axis=0)


def rows_at(values: npt.NDArray[np.floating], rows: Int64, columns: tuple[int, ...]) -> Float64:
    """Return some columns of rows, (rows, columns) in float64; all columns are read, because they are contiguous."""
    return values.take(rows, axis=0)[:, list(columns)].astype(np.float64)


def last_values(values: npt.NDArray[np.floating], columns: tuple[int, ...], ends: Int64, lengths: Int64) -> Float64:
    """Return the last observed value of each column in each window: (samples, columns), NaN if it has none."""
    last = rows_at(values, ends, columns)
    for index, column in enumerate(columns):
        absent = np.flatnonzero(np.isnan(last[:, index]))
        if not len(absent):
            continue
        at_a_time = max(VALUES_AT_A_TIME // int(lengths[absent].max()), 1)
        for start in range(0, len(absent), at_a_time):
            some = absent[start : start + at_a_time]
            back = np.arange(int(lengths[some].max()))
            window = values[:, column][ends[some, None] - np.minimum(back, lengths[some, None] - 1)]
            last[some, index] = window[np.arange(len(some)), (~np.isnan(window)).argmax(axis=1)]
    return last


def seasonal_differences(rows: npt.NDArray[np.floating], season: int) -> tuple[Float64, Float64]:
    """Return the sum of the absolute differences of rows (rows, targets) a season apart, and how many are known."""
    gaps = abs(rows[season:].astype(np.float64) - rows[:-season]) if len(rows) > season else np.empty((0, rows.shape[1]))
    known = ~np.isnan(gaps)
    return np.where(known, gaps, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64)
