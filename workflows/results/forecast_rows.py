"""Forecasts of new rows as a table: a row for each series, window and step, in the targets' own units."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.errors import InputError
from data.prepared.new_data import NewData, NoWindowError, read_new
from data.samples.new_part import NewPart, NewShard
from workflows.results.new_rows import Share
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

if TYPE_CHECKING:  # input errors are reported before torch is imported
    from workflows.results.prediction import Forecaster, Forecasts

DATASET = "dataset"
COLUMNS = ("series", "cutoff", "step", "time")
Read = Callable[[list[list[NewShard]], Sequence[str]], list[list[NewPart]]]


@dataclass(frozen=True)
class Wanted:
    """What to forecast: `every` window or the last of each series, class `probabilities`, a column `dataset`."""

    every: bool = False
    probabilities: bool = False
    dataset: bool = False


@dataclass(frozen=True)
class NewForecasts:
    """Forecasts to be computed: `batches` computes them; everything else is known before."""

    run: TrainedRun
    store: Store
    parts: list[tuple[Share, NewData]]
    wanted: Wanted
    schema: pa.Schema
    warnings: list[str]

    @property
    def horizon(self) -> int:
        """Return the steps of a forecast; 0 if the label of the last row is predicted."""
        return self.run.datasets[0].prepared.horizon

    @property
    def windows(self) -> int:
        """Return the number of forecasts."""
        return sum(len(new) for _, new in self.parts)

    @property
    def series(self) -> int:
        """Return the number of series with a forecast."""
        every = [part for _, new in self.parts for part in new.parts]
        without = sum(len(p.short) + len(p.touched) + len(p.unobserved) + len(p.unforeseen) for p in every)
        return sum(len(part.names) for part in every) - without

    @property
    def texts(self) -> list[str]:
        """Return all texts of the table, including its header."""
        names = [name for _, new in self.parts for part in new.parts for name in part.names]
        return [*names, *self.run.datasets[0].encoding.classes, *self.schema.names, *(s.source.name for s, _ in self.parts)]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, a few thousand windows at a time, sorted by dataset, series and time."""
        from workflows.results.prediction import make_forecaster

        forecaster = make_forecaster(self.store, self.run, self.parts[0][0].index)
        for share, new in self.parts:
            dataset_forecaster: Forecaster = dataclasses.replace(forecaster, dataset=share.index)
            for samples, forecasts in dataset_forecaster.walk(new.lengths, new.batch):
                yield self._rows(share, new, samples, forecasts)

    def _rows(self, share: Share, new: NewData, samples: Any, forecasts: Forecasts) -> pa.RecordBatch:
        windows = new.positions(samples)
        steps = np.arange(1, self.horizon + 1) if self.horizon else np.zeros(1, np.int64)
        each = np.repeat(np.arange(len(samples)), len(steps))
        columns: list[Any] = [np.full(len(each), share.source.name, object)] if self.wanted.dataset else []
        columns += [windows.series[each], windows.cutoff.take(pa.array(each)), np.tile(steps, len(samples)), windows.times]
        if forecasts.point.ndim == 1:
            columns.append(forecasts.point)
        else:
            columns += list(forecasts.point.reshape(len(each), -1).T)
        if forecasts.levels is not None:
            columns += list(forecasts.levels.reshape(len(each), -1).T)
        if self.wanted.probabilities and forecasts.probabilities is not None:
            columns += list(forecasts.probabilities.T)
        arrays = [pa.array(values).cast(field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.record_batch(arrays, schema=self.schema)


@contextlib.contextmanager
def forecasts_of(
    store: Store, run: TrainedRun, shares: Sequence[Share], wanted: Wanted, read: Read
) -> Iterator[NewForecasts]:
    """Read and check the new rows of all shares before anything is forecast; `read` runs the tasks.

    Raises InputError with all problems. With several datasets, one without a window is a warning.
    """
    if wanted.probabilities and not run.plan.model.classifies:
        raise InputError(
            f'probabilities: run {run.name!r} forecasts numbers (loss = "{run.plan.model.loss}"): only classes have '
            'probabilities; for intervals train with loss = "quantile"'
        )
    parts, problems, empty = [], [], []
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        for number, share in enumerate(shares):
            files, trained = share.source.files, run.datasets[share.index]
            folder = Path(scratch) / str(number)
            folder.mkdir()
            try:
                new = read_new(
                    files,
                    trained.prepared,
                    share.source,
                    trained.encoding,
                    folder,
                    wanted.every,
                    lambda tasks, files=files: read(tasks, files),  # type: ignore[misc]
                )
                parts.append((share, new))
            except NoWindowError as error:
                empty += [f"dataset {share.source.name!r}: {message}" for message in error.messages]
            except InputError as error:
                problems += error.messages
        if problems or not parts:
            raise InputError(dict.fromkeys([*problems, *empty]))
        several = len(shares) > 1
        warnings = [
            f"dataset {share.source.name!r}: {warning}" if several else warning
            for share, new in parts
            for warning in new.warnings()
        ]
        yield NewForecasts(run, store, parts, wanted, _schema(run, parts, wanted), [*empty, *warnings])


def _schema(run: TrainedRun, parts: Sequence[tuple[Share, NewData]], wanted: Wanted) -> pa.Schema:
    """Return the columns of the table; a target with the name of another column gets the suffix `_forecast`."""
    prepared, encoding, model = run.datasets[0].prepared, run.datasets[0].encoding, run.plan.model
    kinds = [new.time_type for _, new in parts]
    time = max(kinds, key=lambda kind: str(kind) if pa.types.is_timestamp(kind) else "")  # us is after s
    first = next((new for _, new in parts if pa.types.is_timestamp(new.time_type) != pa.types.is_timestamp(time)), None)
    if first is not None:
        raise InputError(
            f"dataset {first.prepared.name!r}: its times are numbers, those of others are dates: predict one at a time"
        )
    target_names = [f"{name}_forecast" if name in (DATASET, *COLUMNS) else name for name in prepared.targets]
    # 64 bits if 32 cannot distinguish neighbouring values of the rows.
    wide = any(part.bits == 64 for share, _ in parts for part in run.datasets[share.index].prepared.manifest.parts)
    number = pa.float64() if wide else pa.float32()
    kind = pa.string() if encoding.classes else number
    fields = [(DATASET, pa.string())] if wanted.dataset else []
    fields += list(zip(COLUMNS, (pa.string(), time, pa.int64(), time), strict=True))
    fields += [(name, kind) for name in target_names]
    if model.predicts_quantiles:
        fields += [(f"{name}_q{level:g}", number) for name in prepared.targets for level in model.quantiles]
    if wanted.probabilities:
        fields += [(f"{prepared.targets[0]}_p_{label}", pa.float32()) for label in encoding.classes]
    return pa.schema(fields)
