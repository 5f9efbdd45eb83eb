"""How a run chooses threads and workers from measured step times; the choice changes no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import plan_of, prepare_sequences, random_sequences

import workflows.fit.calibration
import workflows.training.cores as cores
from cluster.placement import ComputeSettings, Placement
from data.prepared.encoding import EncodedDataset
from workflows.fit.calibration import seconds_a_step
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane
from workflows.fit.learner import Learner
from workflows.relay.plan import Plan
from workflows.relay.state import first_model
from workflows.training.cores import Speeds, choose, powers_of_two, with_cores

PLACED = Placement(2, 2, False, 1.0, "2 cores")


@pytest.mark.parametrize(
    ("threads", "shares", "steps", "expected"),
    [
        ({1: 0.010, 2: 0.006}, {2: 0.006}, 1000, (0, 2)),  # two threads
        ({1: 0.010, 2: 0.0095}, {2: 0.0095}, 1000, (0, 1)),  # little gain: one thread
        ({1: 0.010, 2: 0.030}, {}, 1000, (0, 1)),  # a busy machine
        ({1: 0.080, 2: 0.05, 4: 0.04, 8: 0.039}, {}, 1000, (0, 4)),  # eight are no faster than four
        ({1: 0.080, 2: 0.05, 4: 0.04}, {2: 0.04, 4: 0.02}, 10_000, (4, 1)),  # workers, in a long run
        ({1: 0.080, 2: 0.05, 4: 0.04}, {2: 0.04, 4: 0.02}, 100, (0, 4)),  # a short run does not recover the start of workers
        ({1: 0.010}, {4: 0.009}, 10_000, (0, 1)),  # the all-reduce costs more than it saves
    ],
)
def test_the_choice_follows_from_the_measured_times(
    threads: dict[int, float], shares: dict[int, float], steps: int, expected: tuple[int, int]
) -> None:
    chosen = choose(PLACED, Speeds(threads, shares), steps, may_add_workers=True)
    assert (chosen.num_workers, int(chosen.cpus)) == expected
    assert f"1: {1000 * threads[1]:.3g} ms" in chosen.reason
    alone = choose(PLACED, Speeds(threads, shares), steps, may_add_workers=False)
    assert alone.num_workers == 0


def test_thread_counts_that_are_tried() -> None:
    assert [powers_of_two(n) for n in (1, 2, 3, 6, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, list[EncodedDataset]]:
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "cache"))
    datasets = prepare_sequences({"a": random_sequences(0, 200)}, tmp_path / "data")
    return plan_of(datasets, [3], {"hidden_size": 4}, batch_size=64), datasets


def measuring(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[int, int], float]) -> list[Any]:
    """Replace the measurement by given seconds of a step for each (threads, samples); return the list of calls."""
    asked: list[Any] = []

    def answer(learner_of: Callable[[int], Learner], dataset: EncodedDataset, kinds: list[tuple[int, int]]) -> list[float]:
        asked.append(kinds)
        return [seconds[kind] for kind in kinds]

    monkeypatch.setattr(workflows.fit.calibration, "seconds_a_step", answer)
    return asked


def test_a_long_run_is_measured_once_and_the_choice_is_kept(
    planned: tuple[Plan, list[EncodedDataset]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, datasets = planned
    asked = measuring(monkeypatch, {(1, 64): 2.0, (2, 64): 1.0, (1, 32): 1.1})
    first = with_cores(PLACED, ComputeSettings(), plan, datasets, 2)
    assert (first.num_workers, first.cpus) == (0, 2.0)
    assert asked == [[(1, 64)], [(1, 64), (2, 64), (1, 32)]]
    asked.clear()
    assert with_cores(PLACED, ComputeSettings(), plan, datasets, 2) == first
    assert asked == []
    (kept,) = (cores.cache_home() / "speeds").iterdir()
    kept.write_text("{")
    assert with_cores(PLACED, ComputeSettings(), plan, datasets, 2) == first  # a damaged note is measured again
    assert asked


def test_a_short_run_takes_one_thread_of_this_process_and_nothing_is_kept(
    planned: tuple[Plan, list[EncodedDataset]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, datasets = planned
    measuring(monkeypatch, {(1, 64): 0.01})
    chosen = with_cores(PLACED, ComputeSettings(), plan, datasets, 2)
    assert (chosen.num_workers, chosen.cpus) == (0, 1.0)
    assert not (cores.cache_home() / "speeds").exists()


@pytest.mark.parametrize(
    ("asked", "placed"),
    [
        ({"num_workers": 2}, PLACED),
        ({"num_workers": [1, 2]}, PLACED),
        ({"cpus_per_worker": 1}, PLACED),
        ({}, Placement(0, 0, True, 1.0, "a GPU")),
    ],
)
def test_settings_of_the_recipe_are_not_changed(
    planned: tuple[Plan, list[EncodedDataset]], asked: dict[str, Any], placed: Placement
) -> None:
    assert with_cores(placed, ComputeSettings.model_validate(asked), *planned, 2) == placed


def test_measuring_leaves_the_threads_of_torch_and_counts_each_kind(planned: tuple[Plan, list[EncodedDataset]]) -> None:
    plan, (dataset,) = planned

    def learner(threads: int) -> Learner:
        return Learner(first_model(plan), plan.model, plan.training, Group(), lane=HostLane(torch.device("cpu"), threads))

    before = torch.get_num_threads()
    times = seconds_a_step(learner, dataset, [(1, 64), (2, 64), (1, 16)])
    assert len(times) == 3
    assert all(0 < seconds < 60 for seconds in times)
    assert torch.get_num_threads() == before
