"""Train the same model and settings on all datasets at once and on each alone, to compare with a sequence."""

from __future__ import annotations

import dataclasses
import time
import uuid
from pathlib import Path

from cluster.connect import capacity
from data.errors import InputError
from data.prepared.reference import DatasetRef
from workflows.relay.comparison import gradient_samples, joint_plan, separate_plan
from workflows.relay.events import EpochDone, RunEvent
from workflows.relay.lookup import finished
from workflows.relay.metrics import naive_error, scaled
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError, Outcome
from workflows.results.comparison import Compared, Comparison, mean_comparison, write_comparison
from workflows.results.events import Watch, ignore
from workflows.results.trained import TrainedRun, open_run
from workflows.store.store import Store
from workflows.training.cores import with_cores
from workflows.training.run import place_workers
from workflows.training.workers import Job, run_workers

Plans = tuple[tuple[Plan, tuple[int, ...]], ...]  # each with the indices of its datasets


def compare(
    storage: str | Path, name: str, num_workers: int | None = None, address: str | None = None, watch: Watch = ignore
) -> Comparison:
    """Train the missing epochs of joint and separate training, and write compare.json beside the run.

    Joint and separate training have the run's model, settings and number of epochs, and are evaluated by the same code.
    Raises InputError without a finished run of this name.
    """
    store = Store(str(storage))
    run = open_run(store, name)
    if run.result is None or run.result.status != "finished":
        status = "not finished" if run.result is None else run.result.status
        raise InputError(f"run {name!r} is {status}: train it again first, then compare it")
    plans = plans_beside(run)
    trained = 0
    with store.using("compare"):
        if any(_outcome(plan, store) is None for plan, _ in [(run.plan, ()), *plans]):
            trained = _train(store, run, plans, num_workers, address, watch)
        comparison = compared(store, run, plans, trained)
        write_comparison(store, comparison)
    return comparison


def plans_beside(run: TrainedRun) -> Plans:
    """Return the joint plan, then a separate plan for each dataset in the order of training."""
    every = tuple(stage.dataset for stage in run.plan.stages)
    separate = ((separate_plan(run.plan, stage), (stage.dataset,)) for stage in run.plan.stages)
    return ((joint_plan(run.plan), every), *separate)


def _outcome(plan: Plan, store: Store) -> Outcome | None:
    try:
        return finished(plan, store)
    except NotAnsweredError:
        return None


def _train(store: Store, run: TrainedRun, plans: Plans, num_workers: int | None, address: str | None, watch: Watch) -> int:
    """Train the missing epochs of all plans in one worker group; returns their number."""
    import tempfile

    recipe = run.recipe
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, compute=recipe.compute.model_copy(update={"num_workers": num_workers}))
    placement = place_workers(recipe, address)
    if address is None:
        placement = with_cores(placement, recipe.compute, run.plan, run.datasets, capacity().cores)
    count = 0

    def note(event: RunEvent) -> None:
        nonlocal count
        count += isinstance(event, EpochDone)
        watch(event)

    references = tuple(map(DatasetRef.of, run.datasets))
    threads = max(int(placement.cpus), 1)
    job = Job(
        run.plan,
        references,
        store.address,
        note,
        threads,
        placement.use_gpu,
        recipe.compute.device_memory,
        uuid.uuid4().hex,
        plans,
    )
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        run_workers(job, placement, address, scratch if address is None else f"{store.address}/runs/{run.name}/.ray_train")
    return count


def compared(store: Store, run: TrainedRun, plans: Plans, trained: int = 0) -> Comparison:
    """Return the comparison from the epochs and evaluations in the store."""
    sequence, joint, *separate = (finished(plan, store) for plan in (run.plan, *(plan for plan, _ in plans)))
    loss, by_dataset = run.plan.model.loss, {}
    for number, (stage, alone) in enumerate(zip(run.plan.stages, separate, strict=True)):
        dataset = run.datasets[stage.dataset]
        naive = naive_error(dataset, "test", loss)
        errors = (sequence.test[stage.dataset], joint.test[number], alone.test[0])
        relative = [None if each is None else scaled(each.error, naive) for each in errors]
        forecasts = errors[0].forecasts if errors[0] is not None else None
        seasonal = None if forecasts is None else scaled(forecasts.seasonal_naive_error, naive)
        by_dataset[dataset.name] = Compared(relative[0], relative[1], relative[2], None if naive is None else 1.0, seasonal)
    outcomes = {"sequence": [(run.plan, sequence)], "joint": [(plans[0][0], joint)]}
    outcomes["separate"] = [(plan, alone) for (plan, _), alone in zip(plans[1:], separate, strict=True)]
    return Comparison(
        name=run.name,
        key=run.key,
        datasets=by_dataset,
        mean=mean_comparison(by_dataset),
        samples={kind: sum(gradient_samples(*each) for each in pairs) for kind, pairs in outcomes.items()},
        epochs={kind: sum(len(s.epochs) for _, done in pairs for s in done.stages) for kind, pairs in outcomes.items()},
        keys={kind: tuple(done.key for _, done in pairs) for kind, pairs in outcomes.items()},
        epochs_trained=trained,
        when=time.time(),
    )
