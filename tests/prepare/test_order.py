"""The order that distances suggest, and a recipe that takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from hypothesis import given
from hypothesis import strategies as st
from small import MACHINES, write_small

from data.prepared.distances import distances_between
from workflows.prepare.order import suggest_order
from workflows.prepare.preparation import prepare_datasets
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import Planned
from workflows.results.events import Event
from workflows.training.run import train


def on_a_line(positions: list[float]) -> np.ndarray:
    return np.abs(np.subtract.outer(positions, positions))


def test_the_one_in_the_middle_is_last_and_the_farthest_from_it_before_it() -> None:
    assert suggest_order(on_a_line([4.0, 10.0, 0.0]), ["middle", "high", "low"]) == [2, 1, 0]


def test_of_two_pairs_that_are_alike_the_last_two_are_of_both_kinds() -> None:
    distances = on_a_line([0.0, 0.1, 5.0, 5.2])
    *_, one, other = suggest_order(distances, ["a", "b", "c", "d"])
    assert distances[one, other] > 1


def test_datasets_that_are_all_alike_are_in_the_order_of_their_names() -> None:
    assert suggest_order(np.zeros((4, 4)), ["b", "d", "a", "c"]) == [2, 0, 3, 1]
    assert suggest_order(on_a_line([1.0, 2.0]), ["b", "a"]) == [1, 0]
    assert suggest_order(np.zeros((1, 1)), ["a"]) == [0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.randoms())
def test_the_suggested_order_does_not_depend_on_the_order_of_the_datasets(positions: list[int], random: object) -> None:
    distances, names = on_a_line([float(each) for each in positions]), [f"d{index}" for index in range(len(positions))]
    order = suggest_order(distances, names)
    assert sorted(order) == list(range(len(positions)))
    mixed = list(range(len(positions)))
    random.shuffle(mixed)  # type: ignore[attr-defined]
    again = suggest_order(distances[np.ix_(mixed, mixed)], [names[index] for index in mixed])
    assert [mixed[index] for index in again] == order


@given(st.integers(2, 8), st.integers(0, 1000))
def test_the_last_is_the_medoid_and_each_other_the_farthest_from_those_behind_it(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    order = suggest_order(distances, [f"d{k}" for k in range(count)])
    assert distances.sum(axis=1)[order[-1]] == pytest.approx(distances.sum(axis=1).min())
    for index in range(count - 1):
        nearest = distances[:, order[index + 1 :]].min(axis=1)
        assert nearest[order[index]] == max(nearest[order[: index + 1]])


@pytest.mark.ray
def test_a_recipe_is_trained_in_the_suggested_order_with_a_message(ray_session: None, tmp_path: Path) -> None:
    search = {"values": {"training.batch_size": [32]}}
    path = write_small(tmp_path, order="suggested", compute={"num_workers": 0}, search=search)
    recipe, storage = load_recipe(path), str(tmp_path / "runs")
    prepared = prepare_datasets(recipe, storage)
    order = [each.name for each in prepared.datasets]
    distances = distances_between([each.prepared for each in prepared.datasets])
    assert order == [order[index] for index in suggest_order(distances, order)] != list(MACHINES)
    events: list[Event] = []
    result = train(load_recipe(path, [f"datasets.{order[2]}.epochs=1"]), storage, watch=events.append).to_json()
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert planned.order.startswith(f"suggested order: {', '.join(order)} (")
    assert [stage["dataset"] for stage in result["stages"]] == result["datasets"] == order
    assert [stage["epochs"] for stage in result["stages"]] == [2, 2, 1]  # the epochs follow their dataset
    # A search with this run as its only trial also prints the order, and has all epochs in the store.
    _, out, _ = invoke("search", str(path), "--set", f"datasets.{order[2]}.epochs=1", "--storage", storage)
    assert planned.order in out
    assert "1 of 1 trials are complete in the store" in out
    # Another validation row makes another dataset, with the same train rows and so the same order.
    file = tmp_path / f"{MACHINES[0]}.csv"
    lines = file.read_text().splitlines()
    lines[-80] = lines[-80].split(",")[0] + ",900.0,90.0"
    file.write_text("\n".join(lines) + "\n")
    again = prepare_datasets(recipe, storage).datasets
    assert {each.prepared.folder for each in again} != {each.prepared.folder for each in prepared.datasets}
    assert [each.name for each in again] == order
    # The primary dataset, which the scaler is fitted on, is the first in the suggested order.
    scoped = prepare_datasets(load_recipe(path, ["data.scaling_scope=primary"]), storage).datasets
    assert {each.encoding.center for each in scoped} == {again[0].encoding.center}


def test_an_order_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    code, _, err = invoke("train", str(write_small(tmp_path)), "--set", "order=random", "--storage", str(tmp_path / "runs"))
    assert code == 2
    assert "order = 'random': write 'given' or 'suggested'" in err
    assert not (tmp_path / "runs").exists()
