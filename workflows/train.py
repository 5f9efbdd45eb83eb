"""A run, from a recipe to its result: Ray Data prepares, one Ray Train worker group walks all datasets."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.connect import connect, quiet, resources, write_log_to
from cluster.placement import Placement, PlacementError, place
from data.built_in import MAKERS, make_built_in
from data.encoding import EncodedDataset, Encoding, make_encodings
from data.errors import InputError
from data.files import FileFacts
from data.prepare import prepare, run_with_ray
from data.prepared import PreparedDataset
from workflows.datasets import BUILT_IN_DATA, find_datasets
from workflows.events import Watch
from workflows.lookup import epochs_held, finished
from workflows.plan import Plan, make_plan
from workflows.recipe import Recipe
from workflows.relay import NotAnsweredError
from workflows.result import assemble, versions
from workflows.store import Store, write_whole

Facts = dict[str, Any]
MAX_RESTARTS = 3  # of the worker group, after a worker or its node was lost


class RunFailedError(Exception):
    """The run cannot go on; the message says where it stopped. What was committed before stands."""


@dataclass(frozen=True)
class Prepared:
    """The datasets of a recipe, ready to be trained on, and how long that took."""

    datasets: list[EncodedDataset]
    epochs: list[int]
    seconds: float


def prepare_datasets(recipe: Recipe, storage: Path, address: str | None = None) -> Prepared:
    """Find, check and prepare all datasets of a recipe; those that are prepared already cost a look."""
    started = time.perf_counter()
    for name in _built_in_data(recipe):
        make_built_in(name, storage / "built_in")
    facts = FileFacts(storage / "prepared" / "sources")
    sources, epochs = find_datasets(recipe, facts, storage / "built_in")

    def run(tasks: Any) -> Any:
        connect(address)
        with quiet("ray.data"):
            return run_with_ray(tasks)

    prepared = prepare(sources, storage / "prepared", facts, run)
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
    storage: Path,
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
    storage, name = storage.absolute(), name or recipe.name
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, compute=recipe.compute.model_copy(update={"num_workers": num_workers}))
    watch({"event": "preparing", "recipe": recipe.name})
    prepared = prepare_datasets(recipe, storage, address)
    plan = make_plan(recipe.seed, recipe.model, recipe.training, prepared.datasets, prepared.epochs)
    store = Store(storage)
    seconds = {"prepare": prepared.seconds, "start": 0.0, "fit": 0.0, "evaluate": 0.0}
    warnings = [f"dataset {d.name!r}: {text}" for d in prepared.datasets for text in d.prepared.manifest["warnings"]]
    watch(
        {
            "event": "planned",
            "plan": plan,
            "held": epochs_held(plan, store),
            "warnings": warnings,
            "seconds": prepared.seconds,
        }
    )
    report: Facts = {"epochs": [], "workers": 0}
    try:
        outcome = finished(plan, store)
    except NotAnsweredError:
        report = _run_workers(recipe, plan, prepared.datasets, store, name, address, watch)
        outcome = finished(plan, store)
        seconds.update(fit=report["fit_seconds"], evaluate=report["evaluate_seconds"], start=report["start_seconds"])
    result = assemble(name, plan, prepared.datasets, outcome)
    seconds["total"] = time.perf_counter() - started
    result.update(
        epochs_trained=len(report["epochs"]),
        seconds=seconds,
        workers=report["workers"],
        versions=versions(),
        warnings=warnings,
    )
    _write_run(store, name, recipe, result)
    watch({"event": "finished", "result": result, "folder": store.run_folder(name)})
    return result


def _write_run(store: Store, name: str, recipe: Recipe, result: Facts) -> None:
    import tomli_w

    folder = store.run_folder(name)
    write_whole(folder / "recipe.toml", tomli_w.dumps(dict(recipe.document)).encode())
    write_whole(folder / "result.json", json.dumps(result, indent=1).encode())


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, small enough to be sent to each of them."""

    plan: Plan
    datasets: tuple[tuple[Path, Encoding], ...]
    storage: Path
    emit: Callable[[Facts], None]
    threads: int
    use_gpu: bool


def work(job: Job) -> Facts:
    """What each worker does: walk the relay. Returns what was done, or why the run cannot go on, on all workers alike.

    Anything else that goes wrong is raised: then the worker group is started again and goes on from the store.
    """
    import torch

    from workflows.fit import NonFiniteLossError
    from workflows.group import Group
    from workflows.walk import StoreError, Walker

    torch.set_num_threads(job.threads)
    device = "cuda" if job.use_gpu else "cpu"
    datasets = [EncodedDataset(PreparedDataset(folder), encoding) for folder, encoding in job.datasets]
    group = Group.current()
    if group.rank == 0:
        job.emit({"event": "working", "workers": group.size})
    walker = Walker(job.plan, datasets, Store(job.storage), group, job.emit, device)
    try:
        return {**dataclasses.asdict(walker.walk()), "workers": group.size}
    except (NonFiniteLossError, StoreError) as error:
        return {"failed": str(error)}


def _work_on(config: dict[Any, Any]) -> None:
    # Ray Train hands on what its function returns, whatever its type says.
    return work(config["job"])  # type: ignore[return-value]


def _run_workers(
    recipe: Recipe,
    plan: Plan,
    datasets: Sequence[EncodedDataset],
    store: Store,
    name: str,
    address: str | None,
    watch: Watch,
) -> Facts:
    """Let one worker group do all that the store lacks."""
    started = time.perf_counter()
    compute = recipe.compute
    if address is not None:
        connect(address)
    try:
        placement = place(compute, resources(), recipe.training.batch_size)
    except PlacementError as error:
        raise InputError(f"compute: {error}") from None
    watch({"event": "placed", "placement": placement})
    folders = tuple((dataset.prepared.folder, dataset.encoding) for dataset in datasets)
    begun = 0.0

    def note(event: Facts) -> None:
        nonlocal begun
        if event["event"] == "working" and not begun:
            begun = time.perf_counter()
        watch(event)

    threads = int(resources()["CPU"]) if placement.num_workers == 0 else max(int(placement.cpus), 1)
    job = Job(plan, folders, store.folder, note, threads, placement.use_gpu)
    log = store.run_folder(name) / "ray.log"
    write_log_to(log)
    report = _fit(job, placement, store.run_folder(name), address)
    if "failed" in report:
        raise RunFailedError(report["failed"])
    return {**report, "start_seconds": begun - started}


def _fit(job: Job, placement: Placement, folder: Path, address: str | None) -> Facts:
    """One TorchTrainer for the whole sequence; with 0 workers Ray Train's local mode runs it in this process."""
    if placement.num_workers:
        connect(address)
    with quiet("ray.train.torch"):
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig

        def trainer(job: Job) -> TorchTrainer:
            return TorchTrainer(
                _work_on,
                train_loop_config={"job": job},
                scaling_config=ScalingConfig(
                    num_workers=placement.num_workers,
                    use_gpu=placement.use_gpu,
                    resources_per_worker={"CPU": placement.cpus, **({"GPU": 1} if placement.use_gpu else {})},
                ),
                run_config=RunConfig(  # type: ignore[arg-type]
                    name=f"workers-{time.time_ns()}",  # a name that was used before would silently resume that one
                    storage_path=str(folder / ".ray_train"),
                    failure_config=FailureConfig(max_failures=MAX_RESTARTS, controller_failure_limit=MAX_RESTARTS),
                ),
            )

        if placement.num_workers == 0:
            return _returned(trainer(job).fit())
        from workflows.events import Channel

        with Channel(job.emit) as emit:
            return _returned(trainer(dataclasses.replace(job, emit=emit)).fit())


def _returned(result: Any) -> Facts:
    report: Facts = result.return_value
    return report
