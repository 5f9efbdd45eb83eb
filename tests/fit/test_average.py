"""The average over the last third of a stage's steps, against a plain torch loop, for any number of epochs."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import alone_and_on_workers, epochs_of, outcome, plan_of, prepare_sequences, random_sequences, state_at, walk
from hypothesis import given
from hypothesis import strategies as st
from test_heads import sequences

from data.prepared.encoding import EncodedDataset
from models.losses import loss_sum
from models.lstm import LSTM
from workflows.fit.group import Group
from workflows.fit.sampling import epoch_batches
from workflows.fit.thirds import BEFORE, averaged_epochs, parts_kept, tail_steps
from workflows.recipe.settings import TrainingSettings
from workflows.relay.plan import Plan


@given(st.integers(1, 60), st.integers(1, 500))
def test_the_averaged_steps_are_the_last_third_and_every_epoch_keeps_the_sums_for_it(epochs: int, steps: int) -> None:
    chosen = averaged_epochs(epochs)
    counts = [steps if whole else tail_steps(number, steps) for number, whole in chosen]
    assert [number for number, _ in chosen] == list(range(epochs - len(chosen), epochs))
    assert abs(sum(counts) - Fraction(epochs * steps, 3)) <= max(Fraction(1, 2), 1 - Fraction(steps, 3))
    assert all(BEFORE in parts_kept(number) for number, whole in chosen if whole)
    for number, whole in chosen:
        if not whole:  # the epoch's tail is a third or two thirds, as this number of epochs needs it
            assert number == chosen[0][0]


def plan_with(datasets: list[EncodedDataset], *epochs: int, model: dict[str, Any] | None = None, **training: Any) -> Plan:
    settings = {"batch_size": 8, "learning_rate": 1e-2, "decay_rate": 0.5, "handover": "average", **training}
    return plan_of(datasets[: len(epochs)], epochs, {"hidden_size": 4, **(model or {})}, **settings)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    return make_datasets(tmp_path_factory.mktemp("data"))


def make_datasets(folder: Path) -> list[EncodedDataset]:
    return prepare_sequences({name: random_sequences(seed, 31 + seed, 2, 6) for seed, name in enumerate("ab")}, folder)


class Loop:
    """A plain torch loop that remembers the weights after each step."""

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor]):
        self.plan, self.model = plan, LSTM(plan.model, plan.num_features, plan.num_outputs)
        self.model.load_state_dict(weights)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained)

    def stage(self, dataset: EncodedDataset, number: int, epochs: int, rate: float) -> None:
        seen = []
        for epoch in range(epochs):
            for batch in epoch_batches(dataset.lengths("train"), 8, (self.plan.seed, number, epoch)):
                samples = dataset.batch("train", batch)
                outputs = self.model(torch.from_numpy(samples.inputs), torch.from_numpy(samples.lengths))
                loss = loss_sum(outputs, torch.from_numpy(samples.targets), self.plan.model) / len(batch)
                self.optimizer.param_groups[0]["lr"] = rate
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                seen.append([p.detach().clone() for p in self.trained])
        last = seen[-averaged_steps(epochs, len(seen) // epochs) :]
        with torch.no_grad():
            for index, parameter in enumerate(self.trained):
                parameter.copy_(torch.stack([each[index] for each in last]).double().mean(dim=0).float())


def averaged_steps(epochs: int, steps: int) -> int:
    whole, rest = divmod(epochs, 3)
    return whole * steps + (max(round(rest * steps / 3), 1) if rest else 0)


LOSSES = ["mse", "mae", "huber", "quantile", "cross_entropy"]


@pytest.mark.parametrize(("loss", "epochs"), [*((loss, (2, 3)) for loss in LOSSES), ("mse", (1, 5)), ("mse", (4, 1))])
def test_a_sequence_hands_over_the_average_of_a_plain_loop(loss: str, epochs: tuple[int, int], tmp_path: Path) -> None:
    classes = loss == "cross_entropy"
    datasets = prepare_sequences(dict(list(sequences(classes).items())[:2]), tmp_path / "data", classes=classes)
    plan = plan_with(datasets, *epochs, model={"loss": loss, "head": "shared"})
    walk(plan, datasets, tmp_path)
    done = outcome(plan, tmp_path)
    loop = Loop(plan, state_at(plan.root, tmp_path).model)
    for number, count in enumerate(epochs):
        loop.stage(datasets[number], number, count, 0.01 * 0.5**number)
        weights = state_at(done.stages[number].key, tmp_path).model
        for name, parameter in loop.model.named_parameters():
            torch.testing.assert_close(weights[name], parameter, rtol=0, atol=2e-6)
    assert done.stages[0].key not in [each.key for each in done.stages[0].epochs]
    assert done.key == done.stages[-1].key


def test_adams_moments_are_those_at_the_end_of_the_last_epoch(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    plan = plan_with(datasets, 4, 1)
    walk(plan, datasets, tmp_path)
    stage = outcome(plan, tmp_path).stages[0]
    last, averaged = (state_at(key, tmp_path) for key in (stage.epochs[-1].key, stage.key))
    moments = {name: value for name, value in last.optimizer.items() if not name.startswith(("tail", "before"))}
    assert averaged.optimizer.keys() == moments.keys()
    assert all(torch.equal(value, averaged.optimizer[name]) for name, value in moments.items())
    assert any(not torch.equal(value, averaged.model[name]) for name, value in last.model.items())


def test_three_epochs_are_the_beginning_of_five(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    for count in (3, 5, 1, 2, 4, 7):
        walk(plan_with(datasets[:1], count), datasets, tmp_path)
    assert len(epochs_of(plan_with(datasets[:1], 7), tmp_path)) == 7
    assert walk(plan_with(datasets[:1], 6), datasets, tmp_path).epochs == []


def test_from_any_prefix_of_the_chain_the_walk_ends_in_the_same_bits(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    plan, whole = plan_with(datasets, 4, 2, weight_decay=0.01), tmp_path / "whole"
    walk(plan, datasets, whole)
    chain, result = epochs_of(plan, whole), outcome(plan, whole)
    averages = [stage.key for stage in result.stages]
    for length in range(len(chain) + 1):
        rest = tmp_path / f"from_{length}"
        shutil.copytree(whole / "checkpoints", rest / "checkpoints")
        for key in [*(epoch.key for epoch in chain[length:]), *averages[(0 if length <= 4 else 1) :]]:
            shutil.rmtree(rest / "checkpoints" / key)
        assert walk(plan, datasets, rest).epochs == [epoch.key for epoch in chain[length:]]
        again = outcome(plan, rest)
        assert again.key == result.key
        for name, value in state_at(again.key, rest).model.items():
            assert torch.equal(value, state_at(result.key, whole).model[name])
        assert again.validation == result.validation


def walked_on(group_folder: str) -> list[float]:
    folder = Path(group_folder)
    datasets = make_datasets(folder)
    plan = plan_with(datasets, 3, 2)
    walk(plan, datasets, folder / "runs", Group.current())
    done = outcome(plan, folder / "runs")
    weights = state_at(done.key, folder / "runs").model
    return [
        *(epoch.train_loss for epoch in epochs_of(plan, folder / "runs")),
        *(float(weights[name].sum()) for name in sorted(weights)),
    ]


@pytest.mark.long
def test_two_and_three_workers_average_as_one_does(tmp_path: Path) -> None:
    """Takes about 15 s."""
    alone, on_workers = alone_and_on_workers(walked_on, make_datasets, tmp_path)
    for numbers in on_workers:
        assert numbers == pytest.approx(alone, rel=1e-4, abs=1e-5)


def test_the_default_is_the_average_with_a_constant_rate_and_the_last_epoch_otherwise() -> None:
    assert TrainingSettings().hands_over == "average"
    assert TrainingSettings(schedule="one_cycle").hands_over == "last"
    assert TrainingSettings(schedule="cosine").hands_over == "last"
    assert TrainingSettings(handover="best").hands_over == "best"
    assert TrainingSettings(schedule="cosine", handover="average").hands_over == "average"
