"""From a recipe to datasets that are ready for training; datasets prepared before are only looked up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.connect import connect, connected, hold_log, own_cluster, quiet
from cluster.ray_compat import times_lost, update_data_limits_often
from data.built_in import MAKERS, make_built_in
from data.errors import InputError
from data.prepared.cache import PreparedCache
from data.prepared.class_weights import with_class_weights
from data.prepared.distances import distances_between
from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.manifest import MANIFEST
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here, run_with_ray
from data.reading.files import FileNotes, file_bytes, is_uri
from data.reading.settings import DatasetSource
from data.sharding.first_look import first_problems
from workflows.prepare.order import order_words, suggest_order
from workflows.recipe.datasets import BUILT_IN_DATA, NOTHING_KEPT, find_datasets
from workflows.recipe.kept import KeptDataset
from workflows.recipe.recipe import Recipe

SMALL_BYTES = 64 << 20  # less data is prepared faster than Ray starts


@dataclass(frozen=True)
class Prepared:
    """The prepared datasets of a recipe in training order, their descriptions, the time taken, and the reason for the order.

    Datasets that are only evaluated have 0 epochs and come last.
    """

    datasets: list[EncodedDataset]
    sources: list[DatasetSource]
    epochs: list[int]
    seconds: float
    order: str = ""
    warnings: tuple[str, ...] = ()


def prepare_datasets(
    recipe: Recipe,
    storage: str,
    address: str | None = None,
    before: Callable[[], object] = lambda: None,
    kept: Mapping[str, KeptDataset] = NOTHING_KEPT,
    tell: Callable[[str], object] = lambda words: None,
) -> Prepared:
    """Find, check and prepare all datasets of a recipe; datasets prepared before are only looked up.

    A dataset whose files are gone is used as it was prepared if it is among the `kept` ones, with a warning. `before` is
    called before anything is read or written, unless everything is prepared; it may raise. `tell` is called with
    a sentence for each task that was lost and repeated.
    """
    started = time.perf_counter()
    hold_log()  # messages of Ray from here on belong to this run
    prepared_cache = PreparedCache(storage)
    built_in = ""
    for name in _built_in_data(recipe):
        make_built_in(name, prepared_cache.home / "built_in")
        built_in = prepared_cache.share("built_in")
    facts = FileNotes(prepared_cache.folder / "sources")
    sources, epochs = find_datasets(recipe, facts, built_in, kept)

    in_process: list[bool] = []  # decided at the first task

    def run(tasks: Any) -> Any:
        if not in_process:
            before()
            in_process.append(prepares_here(sources, recipe.compute.num_workers, address))
        if in_process[0]:
            return run_here(tasks)
        if not connected():
            problems = first_problems([source for source in sources if source.files])
            if problems:
                raise InputError(problems)
        connect(address)
        with quiet("ray.data"):
            update_data_limits_often()
            return run_with_ray(tasks, own_cluster=own_cluster(), tell=tell, times_lost=times_lost)

    with_files = [source for source in sources if source.files]
    fresh = (
        prepare(with_files, prepared_cache.folder, facts, run, prepared_cache.fetch, prepared_cache.remote)
        if with_files
        else []
    )
    by_name = {each.name: each for each in fresh}
    prepared = [by_name[s.name] if s.files else _prepared_rows(s, kept[s.name].folder, prepared_cache) for s in sources]
    gone = tuple(f"dataset {s.name!r}: its files are gone; using its prepared rows" for s in sources if not s.files)
    for each in prepared:
        prepared_cache.keep(each.folder.name)
    words = ""
    if recipe.order == "suggested":  # before encoding: the first dataset may define the scaling
        trained = [each for each, count in zip(prepared, epochs, strict=True) if count]
        order = suggest_order(distances_between(trained), [each.name for each in trained])
        words = order_words([trained[index].name for index in order])
        order = [*order, *range(len(trained), len(prepared))]
        prepared, sources = [prepared[index] for index in order], [sources[index] for index in order]
        epochs = [epochs[index] for index in order]
    num_trained = sum(count > 0 for count in epochs)
    encodings = make_encodings(prepared, [each.settings for each in prepared], recipe.model.classes == "all", num_trained)
    encodings = with_class_weights(encodings, prepared, recipe.model.class_weights)
    datasets = [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]
    return Prepared(datasets, sources, epochs, time.perf_counter() - started, words, gone)


def _prepared_rows(source: DatasetSource, folder: str, prepared_cache: PreparedCache) -> PreparedDataset:
    """Return the prepared rows of a dataset whose files are gone; raises InputError if the store does not have them."""
    home = prepared_cache.fetch(folder)
    if not (home / MANIFEST).exists():
        raise InputError(f"dataset {source.name!r}: its files are gone, and {folder} is not in the store: restore them")
    return PreparedDataset(home, source.name, source.settings)


def prepares_here(sources: Sequence[DatasetSource], num_workers: object, address: str | None) -> bool:
    """Return whether the datasets are prepared in this process: small local files for a run without workers."""
    files = {file for source in sources for file in (*source.files, *source.test_files)}
    if num_workers != 0 or address is not None or any(is_uri(file) for file in files):
        return False
    return sum(file_bytes(file) for file in files) < SMALL_BYTES


def _built_in_data(recipe: Recipe) -> set[str]:
    paths = [
        path
        for entry in recipe.entries
        for path in ([entry.keys.path] if isinstance(entry.keys.path, str) else entry.keys.path)
    ]
    named = {match[1] for path in paths if (match := re.match(re.escape(BUILT_IN_DATA) + r"/([^/]+)/", path))}
    unknown = sorted(named - set(MAKERS))
    if unknown:
        raise InputError(f"{BUILT_IN_DATA}/{unknown[0]}: no such built-in data: write one of {', '.join(MAKERS)}")
    return named
