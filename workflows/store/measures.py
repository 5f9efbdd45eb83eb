"""Measures of forecasts in an evaluation: by step, by interval, relative to the seasonal and the naive forecast."""

from __future__ import annotations

from dataclasses import dataclass

Row = tuple[float | None, ...]


@dataclass(frozen=True)
class Interval:
    """A prediction interval between two quantile levels.

    `coverage` is the share of `values` (samples times steps times targets) inside it, including the bounds; it is
    `upper - lower` for a calibrated model.
    """

    lower: float
    upper: float
    coverage: float
    values: int


@dataclass(frozen=True)
class ByStep:
    """One number for each step of the horizon, averaged over targets; None where unknown.

    The errors are in the units of Errors.error; `mase` is relative to the seasonal naive forecast on train rows.
    """

    error: Row
    naive_error: Row
    seasonal_naive_error: Row
    mase: Row

    @property
    def scaled_error(self) -> Row:
        """Return the error relative to the naive forecast that repeats the last value (naive = 1)."""
        pairs = zip(self.error, self.naive_error, strict=True)
        return tuple(None if error is None or not naive else error / naive for error, naive in pairs)


@dataclass(frozen=True)
class ForecastMeasures:
    """Measures of the forecasts of one split, as utilsforecast defines them.

    `season` is in rows, None if unknown; then MASE and the seasonal naive forecast are None, too. `mase` has a number
    for each target: the mean over windows of the absolute error, relative to the mean absolute difference of the train
    rows one season apart in the same series (Hyndman and Koehler 2006). `seasonal_naive_error` is the error of repeating
    the value one season before, in the units of Errors.error; `seasonal_naive_mae_units` and `seasonal_naive_rmse_units`
    have a number for each target in its own unit. `pinball` is the pinball loss of each quantile level, in scaled units;
    `intervals` begins with the widest. Both are empty without quantiles. `by_step` is None without a horizon.
    """

    season: int | None = None
    mase: Row | None = None
    seasonal_naive_error: float | None = None
    seasonal_naive_mae_units: tuple[float, ...] | None = None
    seasonal_naive_rmse_units: tuple[float, ...] | None = None
    pinball: tuple[float, ...] = ()
    intervals: tuple[Interval, ...] = ()
    by_step: ByStep | None = None

    @property
    def mean_mase(self) -> float | None:
        """Return the mean MASE over the targets that have one."""
        known = [value for value in self.mase or () if value is not None]
        return sum(known) / len(known) if known else None
