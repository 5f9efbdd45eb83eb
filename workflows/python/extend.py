"""Extend a result by new data, from a notebook or a script."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.connect import connected, disconnect, set_environment
from data.errors import InputError
from data.prepared.arrays import check_arrays, write_arrays
from data.prepared.cache import Shelf
from data.prepared.labels import labels_given
from data.prepared.prepared import PreparedDataset
from data.reading.settings import DatasetSource
from workflows.loggers.notebook_line import OneLine
from workflows.python.frame_datasets import rows_of, write_frames
from workflows.python.frames import is_frame, table_of
from workflows.recipe.recipe import Recipe
from workflows.report.attached import with_page
from workflows.results.events import Watch
from workflows.results.trained import open_run
from workflows.store.store import Store
from workflows.training.extend import Addition, extend, extend_run

if TYPE_CHECKING:
    from workflows.python.result import Result


def extend_result(
    result: Result,
    data: Any,
    dataset: str | None,
    validation: Any,
    epochs: int | None,
    learning_rate: float | None,
    watch: Watch | None,
) -> Result:
    """Return the result of the run with one more dataset; see Result.extend."""
    set_environment()
    store, was_connected = Store(result.storage), connected()
    watch = with_page(watch or OneLine(), store.address)
    dataset = dataset or f"dataset_{len(result.run.datasets) + 1}"
    labels = dict(result.labels)
    try:
        if isinstance(data, (str, Path)):
            if validation is not None:
                raise InputError("validation goes with arrays; a file's split says what its validation part is")
            keys: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate}
            extend(result.storage, result.name, dataset, str(data), **keys, watch=watch)
        elif is_frame(data):
            if validation is not None:
                raise InputError("validation goes with arrays; a frame's split says what its validation part is")
            _extend_with_frame(result, store, data, dataset, epochs, learning_rate, watch)
        else:
            labels |= _extend_with_arrays(result, store, data, dataset, validation, epochs, learning_rate, watch)
        return dataclasses.replace(result, run=open_run(store, result.name), labels=labels)
    finally:
        if not was_connected:
            disconnect()


def _extend_with_arrays(
    result: Result,
    store: Store,
    data: Any,
    dataset: str,
    validation: Any,
    epochs: int | None,
    learning_rate: float | None,
    watch: Watch,
) -> dict[str, Any]:
    started = time.perf_counter()
    if not isinstance(data, (list, tuple)) or len(data) != 2:
        raise InputError(f"extend: data is {type(data).__name__}: write a frame, (X, y), or the path of a file")
    classes = result.run.plan.model.classifies
    arrays = check_arrays(dataset, data[0], data[1], validation, classes=classes)
    first, own = result.run.sources[0].settings, arrays.source.settings
    if (own.features, own.targets) != (first.features, first.targets):
        raise InputError(
            f"dataset {dataset!r} has {len(own.features)} features and {len(own.targets)} targets, the run "
            f"{len(first.features)} and {len(first.targets)}: one model needs the same in all"
        )

    def prepare(recipe: Recipe) -> tuple[PreparedDataset, DatasetSource]:
        shelf, settings = Shelf(store.address), recipe.entries[-1].settings
        whole = dataclasses.replace(arrays, source=dataclasses.replace(arrays.source, settings=settings))
        written = write_arrays(whole, shelf.folder)
        shelf.keep(written.folder.name)
        return written, whole.source

    keys: dict[str, Any] = {"name": dataset, "path": f"memory://{dataset}", "split": own.model_dump(mode="json")["split"]}
    keys |= {} if epochs is None else {"epochs": epochs}
    extend_run(store, result.run, Addition(dataset, keys, learning_rate), prepare, started, watch=watch)
    return labels_given(data[1]) if classes else {}


def _extend_with_frame(
    result: Result,
    store: Store,
    frame: Any,
    dataset: str,
    epochs: int | None,
    learning_rate: float | None,
    watch: Watch,
) -> None:
    started, run = time.perf_counter(), result.run
    new = rows_of(dataset, table_of(frame, f"frame {dataset!r}"), [each.where for each in run.sources])
    classes = run.plan.model.classifies

    def prepare(recipe: Recipe) -> tuple[PreparedDataset, DatasetSource]:
        (written,), (source,) = write_frames([new], [recipe.entries[-1].settings], classes, store.address)
        return written, source

    keys: dict[str, Any] = {"name": dataset, "path": f"memory://{dataset}"} | ({} if epochs is None else {"epochs": epochs})
    extend_run(store, run, Addition(dataset, keys, learning_rate), prepare, started, watch=watch)
