"""A dataset larger than the shuffle buffer: no sample is dropped, on any number of workers, with similar errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, run_workers, walk

from data.prepared.encoding import EncodedDataset
from workflows.fit.group import Group
from workflows.relay.plan import Plan

SMALL_GB = 2e-6  # 2 kB: a few dozen of the sequences below


def large(folder: Path) -> list[EncodedDataset]:
    return prepare_sequences({"a": random_sequences(2, 400, 4, 7)}, folder / "prepared", split=(0.8, 0.2, 0))


def plan_with(datasets: list[EncodedDataset], shuffle_gb: float, epochs: int = 4) -> Plan:
    model = {"hidden_size": 8}
    return plan_of(datasets, [epochs], model, shuffle_gb=shuffle_gb, learning_rate=0.02, batch_size=16)


def test_the_pool_is_the_share_of_the_samples_that_fits_and_decides_the_address(tmp_path: Path) -> None:
    datasets = large(tmp_path)
    rows = datasets[0].prepared.train_rows()
    assert datasets[0].prepared.train_bytes == rows.nbytes
    plan = plan_with(datasets, rows.nbytes / 4 / 1e9)
    assert plan.pool(plan.stages[0]) == 320 // 4
    assert plan_with(datasets, 1.0).pool(plan.stages[0]) == 0
    keys = [next(plan_with(datasets, size).straight_on()).key for size in (1.0, 2.0, SMALL_GB)]
    assert keys[0] == keys[1] != keys[2]


def test_shuffling_in_pools_learns_as_well_as_shuffling_at_once(tmp_path: Path) -> None:
    datasets, ends = large(tmp_path), {}
    for size in (1.0, SMALL_GB):
        plan = plan_with(datasets, size, epochs=8)
        walk(plan, datasets, tmp_path / "runs")
        assert [epoch.samples for epoch in epochs_of(plan, tmp_path / "runs")] == [320] * 8
        errors = [each.error for (each,) in outcome(plan, tmp_path / "runs").validation if each is not None]
        ends[size] = errors[-1] / errors[0]
    assert ends[1.0] < 0.2
    assert ends[SMALL_GB] == pytest.approx(ends[1.0], abs=0.05)


def losses_on(folder_: str) -> list[float]:
    folder = Path(folder_)
    datasets = large(folder)
    plan = plan_with(datasets, SMALL_GB, epochs=2)
    walk(plan, datasets, folder / "runs", Group.current())
    return [epoch.train_loss for epoch in epochs_of(plan, folder / "runs")]


@pytest.mark.long
def test_two_workers_read_a_large_dataset_as_one_does(tmp_path: Path) -> None:
    for size in (1, 2):
        (tmp_path / str(size)).mkdir()
        large(tmp_path / str(size))
    alone = losses_on(str(tmp_path / "1"))
    for losses in run_workers(losses_on, 2, tmp_path / "group", str(tmp_path / "2")):
        assert losses == pytest.approx(alone, rel=1e-5)
