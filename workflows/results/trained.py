"""Open a run from the store alone: its plan, its state and its datasets, without their files."""

from __future__ import annotations

import contextlib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.prepared.cache import PreparedCache
from data.prepared.encoding import EncodedDataset
from data.prepared.prepared import MANIFEST, PreparedDataset
from data.reading.settings import DatasetSource
from data.records import DamagedRecordError
from workflows.recipe.checks import suggest
from workflows.recipe.defaults import with_old_defaults
from workflows.recipe.kept import KeptDataset
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.relay.plan import Plan, make_plan
from workflows.results.described import DescribedDataset
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import RunResult, result_from
from workflows.results.stored_runs import search_under_way, stored_progress, stored_runs, stored_search
from workflows.store.run_record import DATASETS, RECIPE, RunRecord, datasets_from
from workflows.store.store import Store

AGAIN = "train it again, its epochs are in the store"
DATASETS_UNDER_WAY = "progress-datasets.json"  # beside progress.json, which contains its hash


@dataclass(frozen=True)
class TrainedRun:
    """A run and its datasets, in training order.

    `key` is the address of its last state; `result` is None if the run has not ended.
    """

    name: str
    key: str
    result: RunResult | None
    recipe: Recipe
    plan: Plan
    datasets: list[EncodedDataset]
    sources: list[DatasetSource]

    def index_of(self, dataset: str | None) -> int:
        """Return the index of a dataset by its name; None is allowed if there is only one. Raises InputError."""
        names = [each.name for each in self.datasets]
        if dataset is None and len(names) == 1:
            return 0
        if dataset is None:
            raise InputError(
                f"run {self.name!r} has {len(names)} datasets: name the one to predict for, {suggest('', names)}"
            )
        if dataset not in names:
            other = "name the most similar one (`inspect` shows distances)"
            other += ', or train with head = "shared"' if self.plan.model.dataset_heads and len(names) > 1 else ""
            raise InputError(
                f"run {self.name!r} has no dataset {dataset!r}: {suggest(dataset, names)}; for a new one {other}"
            )
        return names.index(dataset)


def open_run(store: Store, name: str) -> TrainedRun:
    """Open a run with its last result; raises InputError if it has never ended."""
    record = store.ended(name)
    if record is None:
        raise InputError(why_not(store, name))
    try:
        result = result_from(record.result)
    except DamagedRecordError as error:
        raise InputError(f"run {name!r}: its result cannot be read: {error}: {AGAIN}") from None
    return _open(store, result, _ended_recipe(store, name, record), _ended_datasets(store, name, record))


def reopen(store: Store, run: RunResult | RunProgress) -> TrainedRun:
    """Open the run of a result or progress; raises InputError if something it needs is missing."""
    if isinstance(run, RunProgress):
        return _open(store, run, recipe_of(store, run), _datasets_under_way(store, run))
    opened = open_run(store, run.name)
    if opened.key != run.key:
        raise InputError(f"run {run.name!r} was written by another command meanwhile: run this command again")
    return opened


def _open(store: Store, run: RunResult | RunProgress, recipe: Recipe, described: Sequence[DescribedDataset]) -> TrainedRun:
    prepared_cache, datasets = PreparedCache(store.address), []
    for each in described:
        source, folder = each.source, prepared_cache.fetch(each.prepared)
        if not (folder / MANIFEST).exists():
            raise InputError(
                f"run {run.name!r}, dataset {source.name!r}: {store.address}/prepared/{each.prepared} is missing: train it "
                "again, its epochs are in the store"
            )
        datasets.append(EncodedDataset(PreparedDataset(folder, source.name, source.settings), each.encoding))
    plan = plan_of(recipe, datasets, [each.epochs for each in described])
    ended = run if isinstance(run, RunResult) else None
    return TrainedRun(run.name, run.key, ended, recipe, plan, datasets, [each.source for each in described])


def kept_datasets(store: Store, name: str) -> dict[str, KeptDataset]:
    """Return the datasets that a run was last trained on, by name; empty if there is no such run.

    A damaged run is trained again; its readable copy shows where the prepared rows of missing files are.
    """
    described: list[dict[str, Any]] = []
    for read in (
        lambda: datasets_from(store.storage.read(f"runs/{name}/{DATASETS}"), DATASETS),
        lambda: getattr(store.ended(name), "datasets", None) or [],
        lambda: datasets_from(store.storage.read(f"runs/{name}/{DATASETS_UNDER_WAY}"), DATASETS_UNDER_WAY),
    ):
        with contextlib.suppress(OSError, InputError, DamagedRecordError):
            described += read()  # a later entry replaces an earlier one of the same name
    datasets = {}
    for each in described:
        with contextlib.suppress(KeyError, TypeError, ValueError):  # settings of another version
            kept = DescribedDataset.from_json(each)
            datasets[kept.source.name] = KeptDataset(kept.source, kept.prepared)
    return datasets


def recipe_of(store: Store, run: RunResult | RunProgress) -> Recipe:
    """Return the recipe of a run; raises InputError if it is missing or no longer valid."""
    if isinstance(run, RunProgress) and run.recipe:
        return _checked_recipe(run.name, run.recipe)
    record = store.ended(run.name)
    if record is None:
        raise InputError(_missing_file(store, run.name, RECIPE))
    return _ended_recipe(store, run.name, record)


def _ended_recipe(store: Store, name: str, record: RunRecord) -> Recipe:
    if record.recipe is None:
        raise InputError(_missing_file(store, name, RECIPE))
    try:
        document = tomllib.loads(record.recipe)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{RECIPE} of the run {name!r}: this is not TOML: {error}") from None
    return _checked_recipe(name, document)


def _checked_recipe(name: str, document: Any) -> Recipe:
    # Stored paths are absolute, so the folder does not matter.
    return check_recipe(with_old_defaults(document), Path("/"), f"{RECIPE} of the run {name!r}")


def _ended_datasets(store: Store, name: str, record: RunRecord) -> list[DescribedDataset]:
    if record.datasets is None:
        raise InputError(_missing_file(store, name, DATASETS))
    return _parse_datasets(name, record.datasets)


def _datasets_under_way(store: Store, progress: RunProgress) -> list[DescribedDataset]:
    """Return the datasets of a run under way; raises InputError if they belong to another command."""
    name = progress.name
    try:
        written = store.storage.read(f"runs/{name}/{DATASETS_UNDER_WAY}")
    except FileNotFoundError:
        raise InputError(_missing_file(store, name, DATASETS_UNDER_WAY)) from None
    if progress.described not in (None, hash_of(written)):
        raise InputError(f"run {name!r}: {DATASETS_UNDER_WAY} belongs to another command that trains this name now")
    try:
        return _parse_datasets(name, datasets_from(written, DATASETS_UNDER_WAY))
    except DamagedRecordError as error:
        raise InputError(f"run {name!r}: {error}: train it again, its epochs are in the store") from None


def _parse_datasets(name: str, datasets: Sequence[Mapping[str, Any]]) -> list[DescribedDataset]:
    try:
        return [DescribedDataset.from_json(each) for each in datasets]
    except (KeyError, TypeError, ValueError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"run {name!r}: {DATASETS} cannot be read ({words}): {AGAIN}") from None


def hash_of(written: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(written).hexdigest()


def _missing_file(store: Store, name: str, file: str) -> str:
    return f"run {name!r}: {store.address}/runs/{name} lacks {file}: train it again, its epochs are in the store"


def plan_of(recipe: Recipe, datasets: Sequence[EncodedDataset], epochs: Sequence[int]) -> Plan:
    """Return the plan of a recipe for its datasets."""
    return make_plan(recipe.seed, recipe.model, recipe.training, datasets, epochs, recipe.retention, recipe.guard)


def why_not(store: Store, name: str) -> str:
    """Return the message for a name without a finished run, with the remedy."""
    if stored_search(store, name) is not None:
        return f"{name}: this is a search: train its best, lstm-relay train {store.address}/runs/{name}/best.toml"
    searching, progress = search_under_way(store, name), stored_progress(store, name)
    if searching is not None:
        return f"{name}: this is a search that has not ended ({searching.status}): run its search command again to resume it"
    if progress is not None:
        return f"{name}: this run has not ended ({progress.status}): run its train command again to resume it"
    return f"{name}: no such run in {store.address}: {suggest(name, list(stored_runs(store)[0]))}"
