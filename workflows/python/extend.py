"""Extend a result by new data, from a notebook or a script."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.connect import connected, disconnect, set_environment
from data.errors import InputError
from data.prepared.arrays import check_arrays, write_arrays
from data.prepared.cache import PreparedCache
from data.prepared.labels import labels_by_text
from data.prepared.prepared import PreparedDataset
from data.reading.settings import DatasetSource
from workflows.loggers.notebook_line import OneLine
from workflows.python.frame_datasets import rows_of, write_frames
from workflows.python.frames import is_frame, table_of
from workflows.recipe.recipe import Recipe
from workflows.report.attached import with_page
from workflows.results.events import Watch
from workflows.results.trained import TrainedRun, open_run
from workflows.store.store import Store
from workflows.training.extend import Addition, extend, extend_run


@dataclass(frozen=True)
class NewDataset:
    """A dataset to append: its data (a frame, (X, y), or the path of a file), its name, epochs and learning rate."""

    data: Any
    name: str
    validation: Any = None
    epochs: int | None = None
    learning_rate: float | None = None

    def addition(self, **keys: Any) -> Addition:
        """Return it as an entry of the recipe, with these keys."""
        entry = {"name": self.name, "path": f"memory://{self.name}", **keys}
        return Addition(self.name, entry | ({} if self.epochs is None else {"epochs": self.epochs}), self.learning_rate)


def extend_run_by(run: TrainedRun, storage: str, new: NewDataset, watch: Watch | None) -> tuple[TrainedRun, dict[str, Any]]:
    """Return the extended run, and the user's labels of its classes; see Result.extend."""
    set_environment()
    store, was_connected = Store(storage), connected()
    watch = with_page(watch or OneLine(), store.address)
    labels: dict[str, Any] = {}
    try:
        if isinstance(new.data, (str, Path)):
            if new.validation is not None:
                raise InputError("validation goes with arrays; the validation part of a file is set by split")
            path, rate = str(new.data), new.learning_rate
            extend(storage, run.name, new.name, path, epochs=new.epochs, learning_rate=rate, watch=watch)
        elif is_frame(new.data):
            if new.validation is not None:
                raise InputError("validation goes with arrays; the validation part of a frame is set by split")
            _extend_by_frame(run, store, new, watch)
        else:
            labels = _extend_by_arrays(run, store, new, watch)
        return open_run(store, run.name), labels
    finally:
        if not was_connected:
            disconnect()


def _extend_by_arrays(run: TrainedRun, store: Store, new: NewDataset, watch: Watch) -> dict[str, Any]:
    started, data = time.perf_counter(), new.data
    if not isinstance(data, (list, tuple)) or len(data) != 2:
        raise InputError(f"extend: data is {type(data).__name__}: write a frame, (X, y), or the path of a file")
    classes = run.plan.model.classifies
    arrays = check_arrays(new.name, data[0], data[1], new.validation, classes=classes)
    run_settings, new_settings = run.sources[0].settings, arrays.source.settings
    if (new_settings.features, new_settings.targets) != (run_settings.features, run_settings.targets):
        raise InputError(
            f"dataset {new.name!r} has {len(new_settings.features)} features and {len(new_settings.targets)} targets, the "
            f"run {len(run_settings.features)} and {len(run_settings.targets)}: all datasets of a model need the same"
        )

    def prepare(recipe: Recipe) -> tuple[PreparedDataset, DatasetSource]:
        prepared_cache, settings = PreparedCache(store.address), recipe.entries[-1].settings
        whole = dataclasses.replace(arrays, source=dataclasses.replace(arrays.source, settings=settings))
        written = write_arrays(whole, prepared_cache.folder)
        prepared_cache.keep(written.folder.name)
        return written, whole.source

    addition = new.addition(split=new_settings.model_dump(mode="json")["split"])
    extend_run(store, run, addition, prepare, started, watch=watch)
    return labels_by_text(data[1]) if classes else {}


def _extend_by_frame(run: TrainedRun, store: Store, new: NewDataset, watch: Watch) -> None:
    started = time.perf_counter()
    rows = rows_of(new.name, table_of(new.data, f"frame {new.name!r}"), [each.where for each in run.sources])
    classes = run.plan.model.classifies

    def prepare(recipe: Recipe) -> tuple[PreparedDataset, DatasetSource]:
        (written,), (source,) = write_frames([rows], [recipe.entries[-1].settings], classes, store.address)
        return written, source

    extend_run(store, run, new.addition(), prepare, started, watch=watch)
