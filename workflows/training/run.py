"""A run, from a recipe to its result: Ray Data prepares, one Ray Train worker group walks all datasets."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.connect import capacity, connect, write_log_to
from cluster.placement import Placement, PlacementError, place
from data.errors import InputError
from data.prepared.encodings import nowhere_problems
from data.prepared.reference import DatasetRef
from workflows.loggers.gauges import Gauges
from workflows.loggers.heartbeat import Copy, beating
from workflows.loggers.loggers import RunLoggers, check_loggers
from workflows.loggers.progress_file import Progress
from workflows.loggers.scalars import Answered
from workflows.prepare.preparation import Prepared
from workflows.recipe.datasets import movable
from workflows.recipe.recipe import Recipe
from workflows.relay.actions import Action
from workflows.relay.events import (
    Damaged,
    EpochDone,
    EvaluationDone,
    Guarded,
    Placed,
    Planned,
    Preparing,
    RunEvent,
    Working,
)
from workflows.relay.lookup import finished, num_epochs
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError
from workflows.results.described import describe_datasets, record_of
from workflows.results.events import Finished, Watch, ignore
from workflows.results.result import result_of, versions
from workflows.results.run_result import RunResult, Seconds, Session
from workflows.results.sessions import with_calls
from workflows.results.trained import DATASETS_UNDER_WAY, kept_datasets, plan_of
from workflows.store.store import Store
from workflows.training.cores import with_cores
from workflows.training.last_result import changed_for_all, last_calls, last_result
from workflows.training.new_classes import new_classes
from workflows.training.preparing import prepare_on
from workflows.training.workers import Job, run_workers


@dataclass
class Done:
    """The work of this call: keys of trained epochs, number of epochs in further attempts of the guard, and times."""

    epochs: list[str] = field(default_factory=list)
    tried_again: int = 0
    fit_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    start_seconds: float = 0.0  # until the first worker began
    workers: int = 0


def train(
    recipe: Recipe,
    storage: str | Path,
    name: str | None = None,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = ignore,
) -> RunResult:
    """Train a recipe's datasets in sequence and return the result, the content of result.json.

    Epochs in the store are not trained again; a run with all epochs in the store starts no Ray. `watch` is called with
    each event. Raises InputError before anything is written, RunFailedError if the run cannot continue.
    """
    check_loggers(recipe.logging.loggers)
    store = Store(str(storage))
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, compute=recipe.compute.model_copy(update={"num_workers": num_workers}))
    watch(Preparing(recipe.name))
    name = name or recipe.name
    with store.using("train") as usage:

        def begin() -> None:
            place_workers(recipe, address)
            usage.begin(make=True)

        prepared = prepare_on(recipe, store.storage, address, watch, before=begin, kept=kept_datasets(store, name))
        return train_prepared(recipe, prepared, store, name, address, watch)


def train_prepared(
    recipe: Recipe, prepared: Prepared, store: Store, name: str, address: str | None = None, watch: Watch = ignore
) -> RunResult:
    """Train prepared datasets, as `train` does."""
    with store.using("train"), contextlib.closing(RunLoggers(recipe, store, name)) as loggers:
        return _train(recipe, prepared, store, name, address, watch, loggers)


def _train(
    recipe: Recipe, prepared: Prepared, store: Store, name: str, address: str | None, watch: Watch, loggers: RunLoggers
) -> RunResult:
    started = time.perf_counter()
    plan = plan_of(recipe, prepared.datasets, prepared.epochs)
    warnings = [*prepared.warnings, *(f"dataset {d.name!r}: {text}" for d in prepared.datasets for text in d.warnings)]
    problems = nowhere_problems([each.prepared for each in prepared.datasets])
    if problems:
        raise InputError(problems)
    warnings += new_classes(plan, prepared.datasets)
    outcome = None
    answered: list[tuple[Action, Any]] = []
    try:
        outcome = finished(plan, store, lambda action, answer: answered.append((action, answer)))
        num_stored = num_epochs(outcome)
    except NotAnsweredError as unfinished:
        num_stored = unfinished.held
    before = last_result(store, name, watch)
    sessions = last_calls(store, name, before)
    warnings += changed_for_all(recipe, plan, num_stored, before)
    watch(Planned(plan, num_stored, tuple(warnings), prepared.seconds, prepared.order))
    for message in store.set_aside_now:
        watch(Damaged(message))
    store.set_aside_now.clear()
    done = Done()
    if outcome is None:
        done = _run(recipe, plan, prepared, store, name, address, watch, answered, loggers, sessions)
        outcome = finished(plan, store)
    elif before is None or before.key != outcome.key or loggers.are_new():
        loggers.open(plan, prepared.datasets, answered)
    warnings += loggers.problems
    result = dataclasses.replace(
        result_of(name, plan, prepared.datasets, outcome),
        prepared=tuple(dataset.prepared.folder.name for dataset in prepared.datasets),
        when=time.time(),
        epochs_trained=len(done.epochs),
        epochs_tried_again=done.tried_again,
        seconds=Seconds(
            prepare=prepared.seconds,
            start=done.start_seconds,
            fit=done.fit_seconds,
            evaluate=done.evaluate_seconds,
            total=prepared.seconds + time.perf_counter() - started,
        ),
        workers=done.workers,
        versions=versions(),
        warnings=tuple(warnings),
    )
    result = with_calls(result, sessions, done.epochs)
    _write_run(store, name, recipe, prepared, result)
    watch(Finished(result, f"{store.address}/runs/{name}"))
    return result


def place_workers(recipe: Recipe, address: str | None) -> Placement:
    """Place the workers; raises InputError with the numbers if they do not fit."""
    if address is not None:
        connect(address)
    try:
        batch, hidden = recipe.training.batch_size, recipe.model.hidden_size
        return place(recipe.compute, capacity(), batch, in_process=address is None, hidden_size=hidden)
    except PlacementError as error:
        raise InputError(f"compute: {error}") from None


def _write_run(store: Store, name: str, recipe: Recipe, prepared: Prepared, result: RunResult) -> None:
    import tomli_w

    store.storage.create()
    store.publish(name, record_of(result, tomli_w.dumps(movable(recipe)), describe_datasets(prepared)))
    for file in ("progress.json", DATASETS_UNDER_WAY):
        store.storage.remove(f"runs/{name}/{file}")


def _run(
    recipe: Recipe,
    plan: Plan,
    prepared: Prepared,
    store: Store,
    name: str,
    address: str | None,
    watch: Watch,
    answered: Answered,
    loggers: RunLoggers,
    sessions: Sequence[Session],
) -> Done:
    """Place the workers, let them train the missing epochs, and record their progress."""
    placement = place_workers(recipe, address)
    if address is None:
        placement = with_cores(placement, recipe.compute, plan, prepared.datasets, capacity().cores)
    store.storage.create()
    watch(Placed(placement))
    started, first_worker_at = time.perf_counter(), 0.0
    done = Done()
    retried = False  # whether the guard repeats the current stage
    progress = Progress(store, name, plan, describe_datasets(prepared), movable(recipe), sessions)
    scalars = loggers.open(plan, prepared.datasets, answered)
    gauges = Gauges(name)

    def note(event: RunEvent) -> None:
        nonlocal first_worker_at, retried
        if isinstance(event, Working) and not first_worker_at:
            first_worker_at = time.perf_counter()
        if isinstance(event, Working | Guarded):  # restarted workers report all earlier verdicts again
            retried = isinstance(event, Guarded) and not event.over
        if isinstance(event, EpochDone):
            done.epochs.append(event.key)
            done.tried_again += retried
            done.fit_seconds += event.fit_seconds
        if isinstance(event, EvaluationDone):
            done.evaluate_seconds += event.evaluate_seconds
        progress(event)
        scalars(event)
        if address is not None:
            gauges(event)
        watch(event)

    references = tuple(map(DatasetRef.of, prepared.datasets))
    threads = max(int(placement.cpus), 1)
    job = Job(
        plan, references, store.address, note, threads, placement.use_gpu, recipe.compute.device_memory, uuid.uuid4().hex
    )
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as temporary:
        log = (Path(store.address) / "runs" / name if store.storage.local else Path(temporary)) / "ray.log"
        write_log_to(log)
        copy = Copy(store, name, log)
        # Ray Train's files; all machines of a cluster must reach them.
        scratch = temporary if address is None else f"{store.address}/runs/{name}/.ray_train"
        try:
            with beating(progress.beat, loggers.copy, copy):
                done.workers = run_workers(job, placement, address, scratch)
        except BaseException as error:  # never leave a dead run marked as running
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            progress.stopped(status, str(error) or type(error).__name__)
            raise
        finally:
            with contextlib.suppress(OSError):
                copy()
            store.storage.remove(f"runs/{name}/.ray_train")
    progress.stopped("failed", "the run ended before its result was written")  # until the result is written
    done.start_seconds = first_worker_at - started
    return done
