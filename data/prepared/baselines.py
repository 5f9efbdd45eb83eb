"""Compute baselines for the errors of a forecast: naive forecasts of each sample, and the scale of MASE."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from data.prepared.prepared import PreparedDataset
from data.samples.baselines import BaselineSums, Float64, Int64, TargetColumns, TargetRows, Windows, seasonal_differences


class Baselines:
    """The naive forecasts for the samples of one dataset, in its targets' own units.

    They depend only on the prepared rows. Sums are cached; the scales of a part are computed when one of its samples is
    needed. `season` is in rows; None: no season, so the scale is unknown.
    """

    def __init__(self, prepared: PreparedDataset, season: int | None):
        self.prepared = prepared
        self.season = season
        names = [column.name for column in prepared.columns]
        features = {column.name: index for index, column in enumerate(prepared.columns) if column.kind == "number"}
        target_columns = tuple(range(len(names) - len(prepared.targets), len(names)))
        known = tuple(features.get(name, index) for name, index in zip(prepared.targets, target_columns, strict=True))
        self.columns = TargetColumns(known, target_columns)
        self._sums: dict[tuple[str, int, int], BaselineSums] = {}
        self._scales: dict[int, Float64] = {}

    def sums(self, split: str, start: int, stop: int) -> BaselineSums:
        """Return the summed errors of both naive forecasts over the samples `start` to `stop` of a split."""
        if (split, start, stop) not in self._sums:
            sums = BaselineSums.zero(self.prepared.horizon, len(self.prepared.targets))
            samples = np.arange(start, stop)
            for number, where in self.prepared.groups(split, samples) if len(samples) else []:
                starts, lengths = self.prepared.locate(split, number, samples[where])
                firsts = self._series_starts(number, starts)
                values = self.prepared.parts[number].values
                windows = Windows(starts + lengths - 1, lengths.astype(np.int64), firsts)
                sums.add(TargetRows(values, self.columns, self.season), windows)
            self._sums[split, start, stop] = sums
        return self._sums[split, start, stop]

    def scales(self, split: str, samples: Int64) -> Float64:
        """Return the mean absolute difference of train rows a season apart in each sample's series: (samples, targets).

        That is the denominator of MASE (Hyndman and Koehler 2006). NaN if it is 0 or unknown. If the series of a sample has
        no train rows, or is cut into several parts, the scale is over all train rows of the dataset.
        """
        scales = np.full((len(samples), len(self.prepared.targets)), np.nan)
        if self.season is None:
            return scales
        for number, where in self.prepared.groups(split, samples):
            if not self._has_whole_series(number):
                scales[where] = self._pooled_scale
                continue
            starts, _ = self.prepared.locate(split, number, samples[where])
            scales[where] = self._scales_of(number)[self._series(number, starts)]
        return scales

    def _has_whole_series(self, number: int) -> bool:
        """Return whether each span of train rows of a part belongs to one whole series, and each of its series has one."""
        part = self.prepared.manifest.parts[number]
        return part.overlap == 0 and len(part.train_spans) == part.num_series > 0

    def _series(self, number: int, rows: Int64) -> npt.NDArray[np.intp]:
        spans = self.prepared.manifest.parts[number].train_spans
        return np.searchsorted([start for start, _ in spans], rows, side="right") - 1

    def _series_starts(self, number: int, rows: Int64) -> Int64:
        """Return the first row of each sample's series in its part; if that is unknown, the first row of the sample."""
        if self._has_whole_series(number):
            starts = np.array([start for start, _ in self.prepared.manifest.parts[number].train_spans])
            return starts[self._series(number, rows)]
        return np.zeros_like(rows) if self.prepared.manifest.num_series == 1 else rows

    def _scales_of(self, number: int) -> Float64:
        """Return the scale of each series of a part: (series, targets)."""
        if number not in self._scales:
            differences = self._differences(number)
            self._scales[number] = np.array([_mean(total, count) for total, count in differences])
        return self._scales[number]

    @cached_property
    def _pooled_scale(self) -> Float64:
        """Return the scale over all train rows of the dataset: (targets,)."""
        total, count = np.zeros(len(self.prepared.targets)), np.zeros(len(self.prepared.targets))
        for number in range(len(self.prepared.parts)):
            for own_total, own_count in self._differences(number):
                total += own_total
                count += own_count
        return _mean(total, count)

    def _differences(self, number: int) -> list[tuple[Float64, Float64]]:
        assert self.season is not None
        values, width = self.prepared.parts[number].values, len(self.prepared.targets)
        spans = self.prepared.manifest.parts[number].train_spans
        return [seasonal_differences(values[start:stop, -width:], self.season) for start, stop in spans]


def _mean(total: Float64, count: Float64) -> Float64:
    mean = total / np.maximum(count, 1)
    return np.where((count > 0) & (mean > 0), mean, np.nan)
