"""A walk with its store resumes from any checkpoints, ends in the same bits, and trains nothing twice."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from helpers import Sequences, epochs_of, outcome, plan_of, prepare_sequences, random_sequences, walk, weights_hash

from data.prepared.encoding import EncodedDataset
from workflows.fit.learner import Learner
from workflows.relay.plan import Plan
from workflows.store.store import Store

MODEL = {"hidden_size": 4, "dropout": 0.3}
SAMPLES: dict[str, Sequences] = {name: random_sequences(seed, 25, 2, 6) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    return prepare_sequences(SAMPLES, tmp_path_factory.mktemp("data"), split=[0.8, 0.2, 0.0])


def plan_with(datasets: list[EncodedDataset], *epochs: int, **training: Any) -> Plan:
    settings = {"batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.01, **training}
    return plan_of(datasets[: len(epochs)], epochs, MODEL, **settings)


def trained(plan: Plan, datasets: list[EncodedDataset], folder: Path) -> list[tuple[int, int]]:
    """Return (stage, epoch) of each epoch that a walk trained instead of taking it from the store."""
    keys = walk(plan, datasets, folder).epochs
    stages = outcome(plan, folder).stages
    numbered = [(stage, epoch, record) for stage, each in enumerate(stages) for epoch, record in enumerate(each.epochs)]
    positions = {record.key: (stage, epoch) for stage, epoch, record in numbered}
    return [positions[key] for key in keys]


@pytest.mark.parametrize(
    "training",
    [{}, {"handover": "best", "learning_rate": 0.2}, {"carry_optimizer": False, "warmup_steps": 4, "shuffle": False}],
    ids=["last", "best", "reset"],
)
def test_from_any_prefix_of_the_chain_the_walk_ends_in_the_same_bits(
    datasets: list[EncodedDataset], training: dict[str, Any], tmp_path: Path
) -> None:
    plan, whole = plan_with(datasets, 3, 1, 2, **training), tmp_path / "whole"
    walk(plan, datasets, whole)
    chain, result = epochs_of(plan, whole), outcome(plan, whole)
    for length in range(len(chain) + 1):
        rest = tmp_path / f"from_{length}"
        shutil.copytree(whole, rest)
        for epoch in chain[length:]:
            shutil.rmtree(rest / "checkpoints" / epoch.key)
        report = walk(plan, datasets, rest)
        assert report.epochs == [epoch.key for epoch in chain[length:]]
        again = outcome(plan, rest)
        assert weights_hash(again.key, rest) == weights_hash(result.key, whole)
        assert again.validation == result.validation
        assert [epoch.train_loss for epoch in epochs_of(plan, rest)] == [epoch.train_loss for epoch in chain]


def test_a_missing_epoch_in_the_middle_is_retrained_and_later_ones_are_reused(
    datasets: list[EncodedDataset], tmp_path: Path
) -> None:
    plan = plan_with(datasets, 2, 2)
    walk(plan, datasets, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / epochs_of(plan, tmp_path)[1].key)
    assert trained(plan, datasets, tmp_path) == [(0, 1)]


def test_a_finished_walk_trains_and_measures_nothing(
    datasets: list[EncodedDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(datasets, 2, 1)
    walk(plan, datasets, tmp_path)
    for name in ("fit_epoch", "evaluate_all"):
        monkeypatch.setattr(Learner, name, create_autospec(getattr(Learner, name), side_effect=AssertionError(name)))
    assert walk(plan, datasets, tmp_path).epochs == []
    shutil.rmtree(tmp_path / "evaluations")
    with pytest.raises(AssertionError, match="evaluate_all"):  # a walk does call the replaced method
        walk(plan, datasets, tmp_path)


def test_a_walk_reads_no_state_that_it_is_in(
    datasets: list[EncodedDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "load", create_autospec(Store.load, side_effect=AssertionError("load")))
    assert len(walk(plan_with(datasets, 2, 1, handover="last"), datasets, tmp_path).epochs) == 3


def test_each_state_is_measured_once_on_each_split(
    datasets: list[EncodedDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: Counter[tuple[bytes, str, str]] = Counter()
    evaluate_all = Learner.evaluate_all

    def spy(learner: Learner, datasets: Sequence[EncodedDataset], split: str, heads: Any) -> Any:
        for dataset in datasets:
            measured[learner.model.head.weight.detach().numpy().tobytes(), dataset.name, split] += 1
        return evaluate_all(learner, datasets, split, heads)

    monkeypatch.setattr(Learner, "evaluate_all", spy)
    walk(plan_with(datasets, 2, 1, 2, handover="last"), datasets, tmp_path)
    # Untrained and after each of three stages on three datasets, and the epoch before the last in two stages.
    assert set(measured.values()) == {1}
    assert len(measured) == 4 * 3 + 2


def test_another_decay_rate_retrains_nothing_of_the_first_dataset(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 2, 2, decay_rate=0.8), datasets, tmp_path)
    assert trained(plan_with(datasets, 2, 2, decay_rate=0.5), datasets, tmp_path) == [(1, 0), (1, 1)]


def test_another_rate_for_the_last_change_leaves_all_before_it(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 1, 1, 1, decay_rate=[0.8, 0.8]), datasets, tmp_path)
    assert trained(plan_with(datasets, 1, 1, 1, decay_rate=[0.8, 0.5]), datasets, tmp_path) == [(2, 0)]


def test_more_epochs_of_the_last_dataset_train_only_the_difference(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 1, 3), datasets, tmp_path)
    assert trained(plan_with(datasets, 1, 5), datasets, tmp_path) == [(1, 3), (1, 4)]
    assert trained(plan_with(datasets, 1, 2), datasets, tmp_path) == []


def test_three_epochs_at_a_constant_rate_are_a_prefix_of_five(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    three, five = plan_with(datasets, 3, 1), plan_with(datasets, 5, 1)
    walk(five, datasets, tmp_path)
    assert trained(three, datasets, tmp_path) == [(1, 0)]
    first = [[epoch.key for epoch in outcome(plan, tmp_path).stages[0].epochs] for plan in (three, five)]
    assert first[0] == first[1][:3]


def test_one_more_dataset_at_the_end_trains_only_that_one(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 2, 2), datasets, tmp_path)
    assert trained(plan_with(datasets, 2, 2, 1), datasets, tmp_path) == [(2, 0)]


def test_a_dataset_under_another_name_trains_nothing(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 1, 1, 1), datasets, tmp_path)
    samples = {f"renamed_{name}": each for name, each in SAMPLES.items()}
    renamed = prepare_sequences(samples, tmp_path / "renamed", split=[0.8, 0.2, 0.0])
    assert [dataset.name for dataset in renamed] == ["renamed_a", "renamed_b", "renamed_c"]
    assert trained(plan_with(renamed, 1, 1, 1), renamed, tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-2},
        {"batch_size": 9},
        {"weight_decay": 0.1},
        {"gradient_clip": 1.0},
        {"shuffle": False},
        {"warmup_steps": 1000},
        {"precision": "bfloat16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_a_setting_that_decides_numbers_retrains(
    datasets: list[EncodedDataset], change: dict[str, Any], tmp_path: Path
) -> None:
    walk(plan_with(datasets, 1), datasets, tmp_path)
    assert trained(plan_with(datasets, 1, **change), datasets, tmp_path) == [(0, 0)]


def test_other_orders_of_the_same_datasets_share_the_first_ones(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    walk(plan_with(datasets, 1, 1, 1), datasets, tmp_path)
    swapped = [datasets[0], datasets[2], datasets[1]]
    assert trained(plan_with(swapped, 1, 1, 1), swapped, tmp_path) == [(1, 0), (2, 0)]
