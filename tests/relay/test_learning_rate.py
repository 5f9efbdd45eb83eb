"""The planned learning rate and the one that the optimizer used, against torch's schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, state_at, walk
from hypothesis import given
from hypothesis import strategies as st

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings
from workflows.relay.learning_rate import carried_rates, plateau_rate, step_rates

MODEL = {"hidden_size": 4}


def torchs_rates(scheduler: type, start: float, changes: int, **arguments: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=start)
    schedule, rates = scheduler(optimizer, **arguments), []
    for _ in range(changes + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    made = {name: random_sequences(seed, 20) for seed, name in enumerate("abc")}
    return prepare_sequences(made, tmp_path_factory.mktemp("data"))


def test_the_rate_of_dataset_k_is_the_first_times_the_decay_rate_to_the_power_of_k() -> None:
    rates = carried_rates(1e-3, 0.8, 12)
    assert rates == pytest.approx([1e-3 * 0.8**k for k in range(12)], rel=1e-12)
    assert rates == pytest.approx(torchs_rates(torch.optim.lr_scheduler.ExponentialLR, 1e-3, 11, gamma=0.8), rel=1e-12)


def test_a_list_has_one_decay_rate_for_each_change_of_dataset() -> None:
    decays = [0.5, 1.0, 0.9, 0.1]
    oracle = torchs_rates(
        torch.optim.lr_scheduler.MultiplicativeLR, 2e-3, 4, lr_lambda=lambda change: [*decays, 1.0][change - 1]
    )
    assert carried_rates(2e-3, decays, 5) == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("decays", [[], [0.5], [0.5, 0.5, 0.5]])
def test_a_list_of_another_length_is_refused_with_both_counts(decays: list[float]) -> None:
    with pytest.raises(ValueError, match=f"3 datasets have 2 changes, got {len(decays)} decay rates"):
        carried_rates(1e-3, decays, 3)


@pytest.mark.parametrize("steps", [4, 7, 40, 101])
@pytest.mark.parametrize(
    ("schedule", "scheduler", "arguments"),
    [
        ("cosine", "CosineAnnealingLR", lambda steps: {"T_max": steps}),
        ("one_cycle", "OneCycleLR", lambda steps: {"max_lr": 3e-3, "total_steps": steps}),
        (
            "cyclical",
            "CyclicLR",
            lambda steps: {
                "base_lr": 7.5e-4,
                "max_lr": 3e-3,
                "step_size_up": max(steps // 4, 1),
                "cycle_momentum": False,
            },
        ),
    ],
)
def test_a_schedule_inside_a_dataset_is_torchs(
    schedule: str, scheduler: str, arguments: Callable[[int], dict[str, object]], steps: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the step after the last
        oracle = torchs_rates(getattr(torch.optim.lr_scheduler, scheduler), 3e-3, steps - 1, **arguments(steps))
    rates = step_rates(3e-3, steps, 0, 0, schedule, steps)
    np.testing.assert_allclose(rates, oracle, rtol=1e-9, atol=1e-18)
    half = steps // 2
    cut = [step_rates(3e-3, half, 0, 0, schedule, steps), step_rates(3e-3, steps - half, half, 0, schedule, steps)]
    np.testing.assert_array_equal(np.concatenate(cut), rates)


def test_a_single_dataset_keeps_the_first_rate() -> None:
    assert carried_rates(1e-3, 0.8, 1) == [1e-3]
    assert carried_rates(1e-3, [], 1) == [1e-3]


def test_the_carried_rate_stops_at_the_floor() -> None:
    assert carried_rates(1e-3, 0.5, 5, floor=2e-4) == pytest.approx([1e-3, 5e-4, 2.5e-4, 2e-4, 2e-4])


def test_the_warm_up_rises_linearly_to_the_rate_and_stays_there() -> None:
    linear = torch.optim.lr_scheduler.LinearLR
    for warmup in (2, 5, 10):
        oracle = torchs_rates(linear, 3e-3, 11, start_factor=1 / warmup, total_iters=warmup - 1)
        np.testing.assert_allclose(step_rates(3e-3, 12, 0, warmup), oracle, rtol=1e-9)


def test_the_warm_up_continues_from_epoch_to_epoch() -> None:
    whole = step_rates(1e-3, 30, 0, 25)
    epochs = [step_rates(1e-3, 10, first, 25) for first in (0, 10, 20)]
    np.testing.assert_array_equal(np.concatenate(epochs), whole)


def test_without_a_warm_up_every_step_has_the_rate_to_the_bit() -> None:
    assert step_rates(8e-4, 7, 21, 0).tolist() == [8e-4] * 7


def test_the_optimizer_used_the_carried_rate_in_every_epoch(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    plan = plan_of(datasets, [2, 1, 2], MODEL, learning_rate=1e-2, decay_rate=[0.5, 0.1], batch_size=8)
    walk(plan, datasets, tmp_path)
    epochs = epochs_of(plan, tmp_path)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([1e-2, 1e-2, 5e-3, 5e-4, 5e-4], rel=1e-12)
    assert [epoch.first_learning_rate for epoch in epochs] == [epoch.learning_rate for epoch in epochs]


def test_the_optimizer_warmed_up_on_the_first_dataset_only(datasets: list[EncodedDataset], tmp_path: Path) -> None:
    plan = plan_of(datasets[:2], [2, 1], MODEL, learning_rate=1e-2, decay_rate=0.5, batch_size=8, warmup_steps=4)
    walk(plan, datasets, tmp_path)
    used = [(epoch.first_learning_rate, epoch.learning_rate) for epoch in epochs_of(plan, tmp_path)]
    assert used == [pytest.approx(pair) for pair in [(0.25e-2, 0.75e-2), (1e-2, 1e-2), (0.5e-2, 0.5e-2)]]


def test_a_warm_up_that_is_longer_than_the_first_dataset_continues_in_the_next(
    datasets: list[EncodedDataset], tmp_path: Path
) -> None:
    plan = plan_of(datasets[:2], [2, 1], MODEL, learning_rate=1e-2, decay_rate=0.5, batch_size=8, warmup_steps=8)
    walk(plan, datasets, tmp_path)
    used = [(epoch.first_learning_rate, epoch.learning_rate) for epoch in epochs_of(plan, tmp_path)]
    eighth = 1e-2 / 8
    assert used == [
        pytest.approx(pair) for pair in [(eighth, 3 * eighth), (4 * eighth, 6 * eighth), (3.5 * eighth, 4 * eighth)]
    ]


def test_the_recorded_rate_is_that_of_the_optimizer(datasets: list[EncodedDataset], monkeypatch: pytest.MonkeyPatch) -> None:
    class StubbornAdam(torch.optim.AdamW):
        """An optimizer that ignores the rate that it is set to."""

        def step(self, closure: None = None) -> None:
            self.param_groups[0]["lr"] = 7e-5
            super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", StubbornAdam)
    model = ModelSettings(**MODEL)
    learner = Learner(LSTM(model, 3, 2), model, TrainingSettings(batch_size=8), Group())
    result = learner.fit_epoch(datasets[0], np.full(3, 1e-3), (0, 0, 0))
    assert (result.first_rate, result.last_rate) == (7e-5, 7e-5)


def test_each_steps_weights_move_by_the_rate_of_that_step(datasets: list[EncodedDataset]) -> None:
    # Adam's first step moves every weight that has a gradient by the rate, whatever the gradient is.
    model = ModelSettings(**MODEL)
    for rate in (1e-2, 1e-3):
        torch.manual_seed(0)
        learner = Learner(LSTM(model, 3, 2), model, TrainingSettings(batch_size=20, learning_rate=0.5), Group())
        before = learner.model.head.weight.detach().clone()
        learner.fit_epoch(datasets[0], np.array([rate]), (0, 0, 0))
        moved = (learner.model.head.weight.detach() - before).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("carry", "steps"), [(True, [3, 6, 9, 12]), (False, [3, 6, 3, 6])])
def test_adams_moments_are_carried_to_the_next_dataset_or_begin_again(
    datasets: list[EncodedDataset], tmp_path: Path, carry: bool, steps: list[int]
) -> None:
    plan = plan_of(datasets[:2], [2, 2], MODEL, batch_size=8, carry_optimizer=carry, handover="last")
    walk(plan, datasets, tmp_path)
    moments = [state_at(epoch.key, tmp_path).optimizer for epoch in epochs_of(plan, tmp_path)]
    assert [int(each["step.head.bias"]) for each in moments] == steps
    assert {name.partition(".")[0] for name in moments[0]} == {"step", "exp_avg", "exp_avg_sq"}


@given(
    st.lists(st.floats(0.1, 10.0) | st.sampled_from([1.0, 2.0]), max_size=14),
    st.integers(0, 4),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_plateau_is_torchs(errors: list[float], patience: int, factor: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    for number, error in enumerate(errors):
        schedule.step(error)
        expected = optimizer.param_groups[0]["lr"]
        rate = plateau_rate(0.3, errors[: number + 1], factor, patience)
        # torch leaves out a reduction that is smaller than its eps of 1e-8
        assert rate == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_plateau_lowers_the_rate_of_a_run_as_its_validation_errors_stall(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 30)}, tmp_path / "prepared", split=(0.7, 0.3, 0))
    plan = plan_of(datasets, [12], {"hidden_size": 3}, schedule="plateau", plateau_patience=0, learning_rate=0.3)
    walk(plan, datasets, tmp_path / "runs")
    (stage,) = outcome(plan, tmp_path / "runs").stages
    used = [record.learning_rate for record in stage.epochs]
    assert used == [plateau_rate(0.3, stage.errors[:number], 0.5, 0) for number in range(12)]
    assert used[-1] < 0.3
    assert walk(plan, datasets, tmp_path / "runs").epochs == []
