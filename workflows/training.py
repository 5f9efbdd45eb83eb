"""A run, from a recipe to its result: Ray Data prepares, one Ray Train worker group walks all datasets."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.connect import connect, quiet, resources, write_log_to
from cluster.placement import Placement, PlacementError, place
from data.built_in import MAKERS, make_built_in
from data.encoding import EncodedDataset, make_encodings
from data.errors import InputError
from data.files import FileFacts, absolute
from data.prepare import prepare, run_with_ray
from data.shelf import Shelf
from workflows.chain.lookup import finished, num_epochs
from workflows.chain.plan import Plan, make_plan
from workflows.chain.relay import Action, NotAnsweredError
from workflows.chain.store import Store
from workflows.datasets import BUILT_IN_DATA, find_datasets
from workflows.event_files import Answered, EventFile
from workflows.events import Watch
from workflows.progress import Progress
from workflows.recipe import Recipe
from workflows.result import assemble, versions
from workflows.workers import Job, RunFailedError, run_workers

Facts = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """The datasets of a recipe, ready to be trained on, and how long that took."""

    datasets: list[EncodedDataset]
    epochs: list[int]
    seconds: float


def prepare_datasets(
    recipe: Recipe, storage: str, address: str | None = None, before: Callable[[], object] = lambda: None
) -> Prepared:
    """Find, check and prepare all datasets of a recipe; those that are prepared already cost a look.

    `before` is called before anything is read or written, unless all is prepared: it may refuse.
    """
    started = time.perf_counter()
    shelf = Shelf(storage)
    for name in _built_in_data(recipe):
        make_built_in(name, shelf.home / "built_in")
    facts = FileFacts(shelf.folder / "sources")
    sources, epochs = find_datasets(recipe, facts, shelf.home / "built_in")

    def run(tasks: Any) -> Any:
        before()
        connect(address)
        with quiet("ray.data"), shelf.passage() as passage:
            return run_with_ray(tasks, passage)

    prepared = prepare(sources, shelf.folder, facts, run, shelf.fetch)
    for each in prepared:
        shelf.keep(each.folder.name)
    encodings = make_encodings(prepared, [source.settings for source in sources])
    datasets = [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]
    return Prepared(datasets, epochs, time.perf_counter() - started)


def _built_in_data(recipe: Recipe) -> set[str]:
    paths = [
        path
        for entry in recipe.entries
        for path in ([entry.keys.path] if isinstance(entry.keys.path, str) else entry.keys.path)
    ]
    named = {match[1] for path in paths if (match := re.match(re.escape(BUILT_IN_DATA) + r"/([^/]+)/", path))}
    unknown = sorted(named - set(MAKERS))
    if unknown:
        raise InputError(f"{BUILT_IN_DATA}/{unknown[0]}: there are no such built-in data: write one of {', '.join(MAKERS)}")
    return named


def train(
    recipe: Recipe,
    storage: str | Path,
    name: str | None = None,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = lambda event: None,
) -> Facts:
    """Train a recipe's datasets in sequence and return what result.json holds.

    What the store in `storage` holds already is not trained again; a run that it holds completely starts no Ray. `watch`
    is told what goes on. Raises InputError before anything is written, RunFailedError where the run cannot go on.
    """
    started = time.perf_counter()
    store, name = Store(str(storage)), name or recipe.name
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, compute=recipe.compute.model_copy(update={"num_workers": num_workers}))
    watch({"event": "preparing", "recipe": recipe.name})
    prepared = prepare_datasets(recipe, store.address, address, before=lambda: _place(recipe, address))
    plan = make_plan(
        recipe.seed, recipe.model, recipe.training, prepared.datasets, prepared.epochs, recipe.retention, recipe.guard
    )
    seconds = {"prepare": prepared.seconds, "start": 0.0, "fit": 0.0, "evaluate": 0.0}
    warnings = [f"dataset {d.name!r}: {text}" for d in prepared.datasets for text in d.prepared.manifest["warnings"]]
    outcome = None
    answered: list[tuple[Action, Any]] = []
    try:
        outcome = finished(plan, store, lambda action, answer: answered.append((action, answer)))
        held = num_epochs(outcome)
    except NotAnsweredError as unfinished:
        held = unfinished.held
    warnings += _news(recipe, plan, held, store.result(name))
    watch({"event": "planned", "plan": plan, "held": held, "warnings": warnings, "seconds": prepared.seconds})
    for message in store.set_aside_now:
        watch({"event": "damaged", "message": message})
    store.set_aside_now.clear()
    report: Facts = {"epochs": [], "workers": 0}
    if outcome is None:
        report = _run(recipe, plan, prepared.datasets, store, name, address, watch, answered)
        outcome = finished(plan, store)
        seconds.update(fit=report["fit_seconds"], evaluate=report["evaluate_seconds"], start=report["start_seconds"])
    elif not store.storage.names(f"runs/{name}/events") or (store.result(name) or {}).get("key") != outcome.key:
        EventFile(store, name, plan, prepared.datasets, answered).close()
    result = assemble(name, plan, prepared.datasets, outcome)
    seconds["total"] = time.perf_counter() - started
    result.update(
        prepared=[dataset.prepared.folder.name for dataset in prepared.datasets],
        when=time.time(),
        epochs_trained=len(report["epochs"]),
        seconds=seconds,
        workers=report["workers"],
        versions=versions(),
        warnings=warnings,
    )
    _write_run(store, name, recipe, result)
    watch({"event": "finished", "result": result, "folder": f"{store.address}/runs/{name}"})
    return result


def _news(recipe: Recipe, plan: Plan, held: int, before: Facts | None) -> list[str]:
    """Told where nothing of the run's last result can be used because what all datasets share has changed."""
    names = [dataset.name for dataset in plan.datasets]
    if held or before is None or before["datasets"] == names:
        return []
    settings = recipe.entries[0].settings
    if settings.scaling_scope != "shared" and not settings.categorical:
        return []
    return [
        f"the last run named {before['name']!r} had the datasets {', '.join(before['datasets'])}; with others the scaling "
        'or categories that all share are others too, so all is trained anew: scaling_scope = "dataset" or "primary" stays '
        "as it is when datasets are added"
    ]


def _place(recipe: Recipe, address: str | None) -> Placement:
    """Decide where the workers go; what the cluster does not have is refused with the arithmetic."""
    if address is not None:
        connect(address)
    try:
        return place(recipe.compute, resources(), recipe.training.batch_size)
    except PlacementError as error:
        raise InputError(f"compute: {error}") from None


def _write_run(store: Store, name: str, recipe: Recipe, result: Facts) -> None:
    import tomli_w

    store.storage.create()
    store.write_run(name, "recipe.toml", tomli_w.dumps(movable(recipe)).encode())
    store.write_run(name, "result.json", json.dumps(result, indent=1).encode())
    store.storage.remove(f"runs/{name}/progress.json")


def movable(recipe: Recipe) -> dict[str, Any]:
    """The document of a recipe with absolute paths, so that it means the same in any folder."""

    def moved(paths: Any) -> Any:
        if isinstance(paths, list):
            return [moved(path) for path in paths]
        return paths if BUILT_IN_DATA in paths else absolute(paths, recipe.folder)

    datasets = [
        {key: moved(value) if key in ("path", "test_path") else value for key, value in entry.items()}
        for entry in recipe.document["datasets"]
    ]
    return {**recipe.document, "datasets": datasets}


def _run(
    recipe: Recipe,
    plan: Plan,
    datasets: Sequence[EncodedDataset],
    store: Store,
    name: str,
    address: str | None,
    watch: Watch,
    answered: Answered,
) -> Facts:
    """Place the workers, let them do what the store lacks, and keep note of how far they are."""
    placement = _place(recipe, address)
    store.storage.create()
    watch({"event": "placed", "placement": placement})
    started, begun = time.perf_counter(), 0.0
    done: Facts = {"epochs": [], "fit_seconds": 0.0, "evaluate_seconds": 0.0}
    progress = Progress(store, name, plan, [dataset.prepared.folder.name for dataset in datasets], movable(recipe))
    event_file = EventFile(store, name, plan, datasets, answered)

    def note(event: Facts) -> None:
        nonlocal begun
        if event["event"] == "working" and not begun:
            begun = time.perf_counter()
        if event["event"] == "epoch":
            done["epochs"].append(event["key"])
        for phase in ("fit_seconds", "evaluate_seconds"):
            done[phase] += event.get(phase, 0.0)
        progress(event)
        event_file(event)
        watch(event)

    sent = tuple((dataset.prepared.folder.name, dataset.name, dataset.encoding) for dataset in datasets)
    # One thread a core of each worker. In this process one too: two threads wait for each other in every small step, and
    # took 146 s for what one process of each of two workers did in 49 s.
    threads = max(int(placement.cpus), 1)
    job = Job(plan, sent, store.address, note, threads, placement.use_gpu)
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as here:
        write_log_to(Path(store.address) / "runs" / name / "ray.log" if store.storage.local else Path(here) / "ray.log")
        # Ray Train's own notes; on a cluster all of its machines must reach them.
        scratch = here if address is None else f"{store.address}/runs/{name}/.ray_train"
        try:
            report = run_workers(job, placement, address, scratch)
        except (RunFailedError, KeyboardInterrupt) as error:
            progress.stopped("failed" if isinstance(error, RunFailedError) else "interrupted", str(error))
            raise
        finally:
            event_file.close()
            store.storage.remove(f"runs/{name}/.ray_train")
    return {**done, "workers": report["workers"], "start_seconds": begun - started}
