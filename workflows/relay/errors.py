"""Compute the errors of a split from the workers' sums over its samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import EncodedDataset
from data.samples.baselines import BaselineSums
from models.forecast_sums import ForecastSums, intervals_of
from models.losses import ErrorSums
from models.metrics import ABSOLUTE, METRICS, SQUARED
from models.settings import ModelSettings
from workflows.store.kept import Errors
from workflows.store.measures import ByStep, ForecastMeasures, Interval, Row

Array = npt.NDArray[np.float64]


def errors_of(sums: ErrorSums, dataset: EncodedDataset, model: ModelSettings) -> Errors:
    """Return the errors of a split from the sums over its samples (see Errors)."""
    count, scale = sums.samples, dataset.target_scale
    mean_loss = sums.loss / sums.known if sums.known else None
    mean_loss = mean_loss if mean_loss is not None and math.isfinite(mean_loss) else None
    if model.classifies:
        return _with_weights(Errors(float(sums.wrong / count), int(count), mean_loss), sums)
    mse, mae = float(sums.of(SQUARED).mean()) / count, float(sums.of(ABSOLUTE).mean()) / count
    errors = Errors(
        error=sums.loss / count if model.predicts_quantiles else model.loss_function.error.of_point(mae, mse),
        samples=int(count),
        loss=mean_loss,
        mse=mse,
        mae=mae,
        by_target={
            name: tuple(metric.finish(sums.of(name).numpy() / count, scale).tolist()) for name, metric in METRICS.items()
        },
        forecasts=None if sums.forecasts is None else _measures(sums.forecasts, int(count), dataset, model),
    )
    return _with_weights(errors, sums)


def _with_weights(errors: Errors, sums: ErrorSums) -> Errors:
    """Return the errors with weighted means added, if samples have weights."""
    every, known, loss, wrong = sums.weighted.tolist()
    if not every:
        return errors
    mean = loss / known if known else math.nan
    return replace(errors, weighted_error=wrong / every, weighted_loss=mean if math.isfinite(mean) else None)


def _measures(sums: ForecastSums, count: int, dataset: EncodedDataset, model: ModelSettings) -> ForecastMeasures:
    """Return the measures of `count` forecasts of a dataset."""
    season = None if dataset.baselines is None else dataset.baselines.season
    naive = BaselineSums(*sums.baselines.numpy())
    with np.errstate(invalid="ignore", divide="ignore"):  # without samples the result is None below
        relative = sums.relative.numpy() / sums.scaled.numpy()
        seasonal = _error(naive.seasonal_absolute, naive.seasonal_squared, naive.count, dataset, model)
        last = _error(naive.last_absolute, naive.last_squared, naive.count, dataset, model)
        by_target = [each.sum(axis=0) for each in (naive.seasonal_absolute, naive.seasonal_squared, naive.count)]
    judged = model.loss_function.error.of_point(sums.absolute, sums.squared)
    model_error = (sums.pinball if model.predicts_quantiles else judged).numpy().mean(axis=1)
    values = count * sums.absolute.numel()
    has_season = season is not None and bool(by_target[2].all())
    return ForecastMeasures(
        season=season,
        mase=_row(relative.mean(axis=0)) if season is not None else None,
        seasonal_naive_error=_pooled_error(by_target, dataset, model) if has_season else None,
        seasonal_naive_mae_units=tuple((by_target[0] / by_target[2]).tolist()) if has_season else None,
        seasonal_naive_rmse_units=tuple(np.sqrt(by_target[1] / by_target[2]).tolist()) if has_season else None,
        pinball=tuple((sums.pinball.numpy().mean(axis=0) / count).tolist()),
        intervals=tuple(
            Interval(model.quantiles[low], model.quantiles[high], float(inside) / values, values)
            for (low, high), inside in zip(intervals_of(model.quantiles), sums.inside.tolist(), strict=False)
        ),
        by_step=None
        if dataset.baselines is None
        else ByStep(
            error=_row(model_error / count),
            naive_error=_row(last),
            seasonal_naive_error=_row(seasonal if season is not None else np.full(len(seasonal), np.nan)),
            mase=_row(relative.mean(axis=1)),
        ),
    )


def _error(absolute: Array, squared: Array, count: Array, dataset: EncodedDataset, model: ModelSettings) -> Array:
    """Return the error of a point forecast as the model is judged, by step and averaged over targets (last axis)."""
    scale = dataset.target_scale
    error: Array = model.loss_function.error.of_point(
        (absolute / count / scale).mean(axis=-1), (squared / count / scale**2).mean(axis=-1)
    )
    return error


def _pooled_error(sums: list[Array], dataset: EncodedDataset, model: ModelSettings) -> float:
    absolute, squared, count = sums
    return float(_error(absolute, squared, count, dataset, model))


def _row(values: Array) -> Row:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
