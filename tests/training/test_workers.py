"""One, two and three workers train the same model, in gloo processes without Ray.

The data are awkward on purpose: counts that neither two nor three divides, batches smaller than the number of workers,
unequal lengths, dropout, weight decay and clipping.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, run_workers, walk, weights_hash

from data.prepared.encoding import EncodedDataset, Encoding
from data.prepared.prepared import PreparedDataset
from models.lstm import LSTM
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.relay.plan import Plan, average_key
from workflows.relay.state import load_state, state_of
from workflows.store.store import Store

MODEL = {"hidden_size": 6, "num_layers": 2, "dropout": 0.3}
TRAINING = {"learning_rate": 1e-2, "weight_decay": 0.05, "gradient_clip": 0.3}
TRAIN_SAMPLES, VALIDATION_SAMPLES = (31, 29), (11, 10)  # in batches of 5, of which one has a single sample


def datasets_in(folder: Path) -> list[EncodedDataset]:
    made = {name: random_sequences(seed, count, 2, 9) for seed, (name, count) in enumerate([("a", 42), ("b", 39)])}
    return prepare_sequences(made, folder, split=[0.74, 0.26, 0.0])


def overflowing_in(folder: Path) -> list[EncodedDataset]:
    """Prepare two datasets; in the second one a target's square overflows, in the second batch of ten."""
    inputs, targets = random_sequences(1, 30)
    targets[17] = 1e30
    return prepare_sequences({"good": random_sequences(0, 30), "bad": (inputs, targets)}, folder)


def main_plan(datasets: list[EncodedDataset]) -> Plan:
    return plan_of(datasets, [3, 2], MODEL, batch_size=5, **TRAINING)


def overflowing_plan(datasets: list[EncodedDataset]) -> Plan:
    return plan_of(datasets, [1, 2], {"hidden_size": 4}, batch_size=10, shuffle=False)


@dataclass(frozen=True)
class Job:
    """The plan, data and store that a worker process walks, in a form that can be sent to it."""

    plan: Plan
    datasets: list[tuple[Path, Encoding]]
    store: Path


def job_of(plan: Plan, datasets: list[EncodedDataset], store: Path) -> Job:
    return Job(plan, [(dataset.prepared.folder, dataset.encoding) for dataset in datasets], store)


def work(jobs: list[Job]) -> dict[str, Any]:
    """Walk every job in a worker; return how many epochs it trained or why it stopped."""
    group, ended = Group.current(), []
    for job in jobs:
        datasets = [EncodedDataset(PreparedDataset(folder), encoding) for folder, encoding in job.datasets]
        try:
            ended.append(len(walk(job.plan, datasets, job.store, group).epochs))
        except NonFiniteLossError as error:
            ended.append(str(error))
    return {"heard": [group.from_first(f"from {group.rank}"), group.rank, group.size], "ended": ended}


@dataclass
class Runs:
    """The stores of the runs, and the replies of their workers, by the name of the run."""

    datasets: list[EncodedDataset]
    plan: Plan
    stores: dict[str, Path]
    replies: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Walk the plan with one worker, with two, with two again in new processes, with three, and with one and then three."""
    folder = tmp_path_factory.mktemp("workers")
    stores = {name: folder / name for name in ("one", "two", "two again", "three", "one then three")}
    datasets, overflowing = datasets_in(folder / "data"), overflowing_in(folder / "bad data")
    plan = main_plan(datasets)
    walk(plan, datasets, stores["one"])
    shutil.copytree(stores["one"], stores["one then three"])
    for epoch in epochs_of(plan, stores["one"])[2:]:
        shutil.rmtree(stores["one then three"] / "checkpoints" / epoch.key)
    replies = {}
    for size, names in [(2, ["two"]), (2, ["two again"]), (3, ["three", "one then three"])]:
        jobs = [job_of(plan, datasets, stores[name]) for name in names]
        if names != ["two again"]:
            jobs.append(job_of(overflowing_plan(overflowing), overflowing, folder / f"overflow of {names[0]}"))
        replies[names[0]] = run_workers(work, size, folder / f"processes of {names[0]}", jobs)
    return Runs(datasets, plan, {**stores, "overflow": folder / "overflow of three"}, replies)


def losses_and_errors(runs: Runs, name: str) -> np.ndarray:
    result = outcome(runs.plan, runs.stores[name])
    losses = [epoch.train_loss for stage in result.stages for epoch in stage.epochs]
    rows = [errors for row in result.validation for errors in row if errors]
    return np.array(losses + [value for each in rows for value in (each.mse, each.mae, *each.by_target["rmse_units"])])


def test_the_cases_are_as_awkward_as_they_claim(runs: Runs) -> None:
    assert tuple(dataset.num_samples("train") for dataset in runs.datasets) == TRAIN_SAMPLES
    assert tuple(dataset.num_samples("validation") for dataset in runs.datasets) == VALIDATION_SAMPLES
    assert all(count % 2 and count % 3 for count in (*TRAIN_SAMPLES, VALIDATION_SAMPLES[0]))
    assert all(len(set(dataset.lengths("train").tolist())) > 3 for dataset in runs.datasets)


@pytest.mark.parametrize("name", ["two", "three", "one then three"])
def test_losses_and_errors_do_not_depend_on_the_number_of_workers(runs: Runs, name: str) -> None:
    expected = losses_and_errors(runs, "one")
    assert len(expected) == 5 + 3 * 2 * 4
    np.testing.assert_allclose(losses_and_errors(runs, name), expected, rtol=1e-5)


def test_a_run_goes_on_with_another_number_of_workers(runs: Runs) -> None:
    assert [reply["ended"][:2] for reply in runs.replies["three"]] == [[5, 3]] * 3
    assert [epoch.workers for epoch in epochs_of(runs.plan, runs.stores["one then three"])] == [1, 1, 3, 3, 3]


def test_the_same_number_of_workers_gives_the_same_weights_to_the_bit(runs: Runs) -> None:
    keys = [runs.plan.root, *(epoch.key for epoch in epochs_of(runs.plan, runs.stores["two"]))]
    first, again = ([weights_hash(key, runs.stores[name]) for key in keys] for name in ("two", "two again"))
    assert first == again
    assert len(set(first)) == len(keys)


def test_every_sample_counts_once_on_any_number_of_workers(runs: Runs) -> None:
    for name in ("one", "two", "three"):
        result = outcome(runs.plan, runs.stores[name])
        counts = [[epoch.samples for epoch in stage.epochs] for stage in result.stages]
        assert counts == [[TRAIN_SAMPLES[0]] * 3, [TRAIN_SAMPLES[1]] * 2]
        for row in result.validation:
            assert [each and each.samples for each in row] == list(VALIDATION_SAMPLES)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_parts_of_the_workers_add_up_to_the_whole_of_one(runs: Runs, size: int) -> None:
    """Evaluate as each worker in turn, in this process, and take the sums before the all-reduce."""
    dataset = runs.datasets[0]
    whole = learner_in_group(runs, Group())
    alone = whole.evaluate(dataset, "validation").to_tensor()
    parts = []
    for rank in range(size):
        learner = learner_in_group(runs, SilentGroup(rank, size))
        load_state(learner, state_of(whole))
        parts.append(learner.evaluate(dataset, "validation").to_tensor())
    np.testing.assert_allclose(sum(parts), alone, rtol=1e-6)
    assert {float(part[0]) for part in parts} == {11 // size, 11 // size + 1}


class SilentGroup(Group):
    """A worker of a group without the other workers: nothing is added up."""

    def add_up(self, values: Any) -> Any:
        return values


def learner_in_group(runs: Runs, group: Group) -> Learner:
    plan = runs.plan
    return Learner(LSTM(plan.model, plan.num_features, plan.num_outputs), plan.model, plan.training, group)


def test_the_first_worker_sends_its_value_to_the_others(runs: Runs) -> None:
    assert [reply["heard"] for reply in runs.replies["three"]] == [["from 0", rank, 3] for rank in range(3)]


@pytest.mark.parametrize("name", ["two", "three"])
def test_a_loss_that_is_not_finite_at_one_worker_stops_all_at_the_same_step(runs: Runs, name: str) -> None:
    messages = {reply["ended"][-1] for reply in runs.replies[name]}
    assert len(messages) == 1
    assert messages.pop().startswith("dataset 'bad', epoch 1, step 2 of 3: the loss is inf")


def test_checkpoints_before_a_loss_that_is_not_finite_are_kept_and_none_is_partial(runs: Runs, tmp_path: Path) -> None:
    datasets = overflowing_in(tmp_path)
    plan = overflowing_plan(datasets)
    first = next(plan.straight_on())
    kept = sorted(path.name for path in (runs.stores["overflow"] / "checkpoints").iterdir())
    assert kept == sorted([plan.root, first.key, average_key([first.key])])
    assert Store(str(runs.stores["overflow"])).load(first.key).model
