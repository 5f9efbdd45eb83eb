"""Replay: the kept and drawn samples, equal results on any number of workers and after a resume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import alone_and_on_workers, epochs_of, outcome, prepare_sequences, random_sequences, walk, weights_hash
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from data.prepared.encoding import EncodedDataset
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.replay import Replay, concatenate, kept_samples
from workflows.fit.retention import Retention
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan


def replay_of(counts: list[int], memory: int, share: float = 0.5) -> Replay:
    return Replay((), [kept_samples(count, memory, (3, number)) for number, count in enumerate(counts)], share, 1.0)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 5))
def test_kept_samples_are_bounded_distinct_and_the_same_each_time(count: int, memory: int, stage: int) -> None:
    kept = kept_samples(count, memory, (7, stage))
    assert len(kept) == min(count, memory)
    assert len(set(kept.tolist())) == len(kept)
    assert set(kept.tolist()) <= set(range(count))
    assert np.array_equal(kept, kept_samples(count, memory, (7, stage)))


def test_kept_samples_are_a_uniform_choice() -> None:
    counts = np.zeros(40)
    for seed in range(600):
        counts[kept_samples(40, 10, (seed, 0))] += 1
    assert chisquare(counts).pvalue > 1e-3


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_each_earlier_dataset_and_each_kept_sample_is_replayed_equally_often(counts: list[int], sizes: list[int]) -> None:
    replay = replay_of(counts, memory=25)
    drawn = replay.draw(sizes, (0, len(counts), 0))
    assert [len(owners) for owners, _ in drawn] == [max(round(size * 0.5), 1) for size in sizes]
    owners = np.concatenate([each for each, _ in drawn])
    samples = np.concatenate([each for _, each in drawn])
    by_dataset = np.bincount(owners, minlength=len(counts))
    assert by_dataset.max() - by_dataset.min() <= 1
    for owner, kept in enumerate(replay.kept):
        used = np.array([np.sum(samples[owners == owner] == sample) for sample in kept])
        assert used.sum() == by_dataset[owner]
        assert used.max() - used.min() <= 1


def test_replay_is_uniform_over_earlier_datasets_in_each_batch_on_average() -> None:
    drawn = np.concatenate([replay_of([50, 80, 30], memory=20).draw([8], (seed, 3, 0))[0][0] for seed in range(400)])
    assert chisquare(np.bincount(drawn, minlength=3)).pvalue > 1e-3


def test_joined_batches_keep_their_samples_and_pad_at_the_end(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 9, 3, 5), "b": random_sequences(1, 7, 4, 8)}, tmp_path)
    parts = [dataset.batch("train", np.arange(4)) for dataset in datasets]
    both = concatenate(parts)
    assert both.inputs.shape[1] == max(part.inputs.shape[1] for part in parts)
    for start, part in ((0, parts[0]), (4, parts[1])):
        steps = part.inputs.shape[1]
        assert np.array_equal(both.inputs[start : start + 4, :steps], part.inputs)
        assert not both.inputs[start : start + 4, steps:].any()
        assert np.array_equal(both.lengths[start : start + 4], part.lengths)
        assert np.array_equal(both.targets[start : start + 4], part.targets)


def make_datasets(folder: Path) -> list[EncodedDataset]:
    names = {name: random_sequences(number, 37 + 10 * number, 4, 7) for number, name in enumerate("abc")}
    return prepare_sequences(names, folder / "prepared", split=(0.8, 0.2, 0))


def plan_with(datasets: list[EncodedDataset], method: str = "replay", **retention: Any) -> Plan:
    training = TrainingSettings(batch_size=16, learning_rate=0.01)
    model = ModelSettings(hidden_size=6, dropout=0.2)
    settings = RetentionSettings.model_validate({"method": method, "memory": 11, "share": 0.4, **retention})
    return make_plan(0, model, training, datasets, [2, 2, 2], settings)


def replay_on(group_folder: str) -> list[float]:
    folder = Path(group_folder)
    datasets = make_datasets(folder)
    plan = plan_with(datasets)
    walk(plan, datasets, folder / "runs", Group.current())
    return [epoch.train_loss for epoch in epochs_of(plan, folder / "runs")]


@pytest.mark.long
def test_two_and_three_workers_replay_as_one_does(tmp_path: Path) -> None:
    """Takes about 15 s."""
    alone, on_workers = alone_and_on_workers(replay_on, make_datasets, tmp_path)
    assert len(on_workers) == 5
    for losses in on_workers:
        assert losses == pytest.approx(alone, rel=1e-5)


def test_a_step_is_the_weighted_mean_over_new_and_replayed_samples(tmp_path: Path) -> None:
    """Train one epoch of one batch, and compare its gradient with a loop over single samples."""
    from models.lstm import LSTM
    from workflows.fit.learner import Learner

    datasets = make_datasets(tmp_path)
    kept = [kept_samples(dataset.num_samples("train"), 5, (0, number)) for number, dataset in enumerate(datasets[:2])]
    replay = Replay(datasets[:2], kept, 0.3, 0.7)
    new = datasets[2].num_samples("train")
    settings, training = ModelSettings(hidden_size=5), TrainingSettings(batch_size=new, learning_rate=0.1, shuffle=False)
    torch.manual_seed(0)
    model = LSTM(settings, datasets[2].num_features, 2)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    ((owners, samples),) = replay.draw([new], (0, 2, 0))
    old = 0.7 * 2 * new / len(samples)  # each of the two earlier datasets weighs 0.7 of the new one
    weight = new + old * len(samples)
    items = [(datasets[2], sample, 1.0) for sample in range(new)]
    items += [(datasets[owner], sample, old) for owner, sample in zip(owners, samples, strict=True)]
    for dataset, sample, share in items:
        batch = dataset.batch("train", np.array([sample]))
        output = model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
        loss = ((output.view(1, 1, 2) - torch.from_numpy(batch.targets)) ** 2).mean() * share / weight
        for (name, _), gradient in zip(
            [(n, p) for n, p in model.named_parameters() if p.requires_grad],
            torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]),
            strict=True,
        ):
            expected[name] += gradient
    learner = Learner(model, settings, training, Group())
    learner.fit_epoch(datasets[2], np.array([0.0]), (0, 2, 0), retention=Retention(replay))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_a_resumed_run_replays_the_same(tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    plan = plan_with(datasets)
    walk(plan, datasets, tmp_path / "whole")
    done = outcome(plan, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for facts in [*done.stages[1].epochs[1:], *done.stages[2].epochs]:
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / facts.key)
    assert len(walk(plan, datasets, tmp_path / "cut").epochs) == 3
    assert weights_hash(done.key, tmp_path / "cut") == weights_hash(done.key, tmp_path / "whole")


def test_the_first_dataset_is_shared_with_a_plain_run_and_the_others_are_not(tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    walk(plan_with(datasets, "none"), datasets, tmp_path / "runs")
    assert len(walk(plan_with(datasets), datasets, tmp_path / "runs").epochs) == 4
    assert len(walk(plan_with(datasets, "none", memory=3), datasets, tmp_path / "runs").epochs) == 0
    assert len(walk(plan_with(datasets, memory=3), datasets, tmp_path / "runs").epochs) == 4


def test_a_replayed_dataset_is_forgotten_less(tmp_path: Path) -> None:
    """Train on two datasets with opposite targets: the plain sequence forgets the first, replay does not."""
    inputs, targets = random_sequences(5, 120)

    def marked(side: float) -> list[np.ndarray]:
        return [np.concatenate([each, np.full((len(each), 1), side, np.float32)], axis=1) for each in inputs]

    sequences = {"a": (marked(1.0), targets), "b": (marked(-1.0), -targets)}
    datasets = prepare_sequences(sequences, tmp_path / "prepared", split=(0.7, 0.3, 0))
    ends = {}
    for method in ("none", "replay"):
        settings = RetentionSettings.model_validate({"method": method, "memory": 30, "share": 0.5})
        training = TrainingSettings(batch_size=8, learning_rate=0.02, decay_rate=1.0)
        plan = make_plan(0, ModelSettings(hidden_size=12), training, datasets, [15, 15], settings)
        walk(plan, datasets, tmp_path / "runs")
        last = outcome(plan, tmp_path / "runs").validation[-1]
        ends[method] = [each.error for each in last if each is not None]
    assert ends["replay"][0] < 0.5 * ends["none"][0]
