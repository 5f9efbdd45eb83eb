"""Use a trained model: forecasts in the targets' own units, and errors on splits that were not evaluated yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from data.prepared.encoding import Batch, Encoding
from models.head import load_weights
from models.losses import forecast
from models.lstm import LSTM
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.forward import EVALUATED_BATCH, outputs_of, sequences_together
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.sampling import micro_batches
from workflows.relay.errors import errors_of
from workflows.relay.failures import RunFailedError
from workflows.relay.state import first_model, load_state
from workflows.results.trained import TrainedRun
from workflows.store.kept import Errors
from workflows.store.store import DamagedCheckpointError, State, Store

Int64 = npt.NDArray[np.int64]
CHUNK = 4096  # windows forecast at a time


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of some windows.

    `point` is (windows, steps, targets) in the targets' own units, one step if the horizon is 0; or class labels
    (windows,). `levels` is (windows, steps, targets, quantiles) for the quantile loss, `probabilities` (windows, classes)
    for classes, in the order of the encoding's classes; otherwise None.
    """

    point: npt.NDArray[Any]
    levels: npt.NDArray[np.float64] | None = None
    probabilities: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Forecaster:
    """The final model of a run, with the scaling of one dataset."""

    model: LSTM
    run: TrainedRun
    dataset: int
    device: torch.device

    def forecast(self, batch: Batch) -> Forecasts:
        """Return the forecasts of encoded windows; targets of the batch are ignored."""
        plan, encoding = self.run.plan, self.run.datasets[self.dataset].encoding
        with torch.inference_mode():
            shape = self.shape
            outputs = outputs_of(self.model, batch, plan.training, plan.head_of(self.dataset))  # as it was trained
            point = forecast(outputs, shape, plan.model).cpu().numpy()
            levels = chances = None
            if plan.model.predicts_quantiles:
                levels = outputs.float().view(len(batch.inputs), *shape, -1).cpu().numpy()
            if encoding.classes:
                chances = outputs.float().softmax(dim=1).cpu().numpy()
        if encoding.classes:
            return Forecasts(np.array(encoding.classes, object)[point], None, chances)
        levels_in_units = None if levels is None else in_units(levels.swapaxes(2, 3), encoding).swapaxes(2, 3)
        return Forecasts(in_units(point, encoding), levels_in_units)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (steps, targets) of one forecast."""
        prepared = self.run.datasets[self.dataset].prepared
        return max(prepared.horizon, 1), len(prepared.targets)

    def walk(self, lengths: npt.NDArray[np.int32], batch: Callable[[Int64], Batch]) -> Iterator[tuple[Int64, Forecasts]]:
        """Yield the forecasts of all windows, in order, CHUNK at a time; `batch` returns windows by number."""
        together = sequences_together(self.model, self.device, EVALUATED_BATCH)
        for start in range(0, len(lengths), CHUNK):
            samples = np.arange(start, min(start + CHUNK, len(lengths)))
            pieces = micro_batches(samples, lengths[samples], together)
            with one_thread():
                forecasts = [self.forecast(batch(piece)) for piece in pieces]
            order = np.argsort(np.concatenate(pieces))
            levels = [each.levels for each in forecasts if each.levels is not None]
            chances = [each.probabilities for each in forecasts if each.probabilities is not None]
            yield (
                samples,
                Forecasts(
                    np.concatenate([each.point for each in forecasts])[order],
                    np.concatenate(levels)[order] if levels else None,
                    np.concatenate(chances)[order] if chances else None,
                ),
            )


def in_units(scaled: npt.NDArray[np.float32], encoding: Encoding) -> npt.NDArray[np.float64]:
    """Return scaled targets (..., targets) in the targets' units."""
    num_targets = scaled.shape[-1]
    center, scale = (np.array(values[-num_targets:]) for values in (encoding.center, encoding.scale))
    return np.asarray(scaled * scale + center, np.float64)


def make_forecaster(store: Store, run: TrainedRun, dataset: int) -> Forecaster:
    """Return the model of a run's final state; raises RunFailedError if the store no longer has it."""
    model, device = first_model(run.plan), device_of(run)
    load_weights(model, _state(store, run).model)
    return Forecaster(model.to(device).eval(), run, dataset, device)


def measure(store: Store, run: TrainedRun, split: str, datasets: Sequence[int]) -> dict[int, Errors]:
    """Return the errors of the final state on some datasets, computed in this process as in a run."""
    plan = run.plan
    learner = Learner(first_model(plan), plan.model, plan.training, Group(), str(device_of(run)))
    load_state(learner, _state(store, run))
    try:
        with one_thread():
            return {
                number: errors_of(
                    learner.evaluate(run.datasets[number], split, plan.head_of(number)),
                    run.datasets[number],
                    plan.model,
                )
                for number in datasets
            }
    except NonFiniteLossError as error:
        raise RunFailedError(str(error)) from None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: with two, a small step took twice the processor time and the same wall time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(run: TrainedRun) -> torch.device:
    """Return a GPU if there is one and the recipe allows it."""
    return torch.device("cuda" if run.recipe.compute.use_gpu and torch.cuda.is_available() else "cpu")


def _state(store: Store, run: TrainedRun) -> State:
    try:
        return store.load(run.key)
    except DamagedCheckpointError as error:
        raise RunFailedError(f"run {run.name!r}: {error}; train it again") from None
