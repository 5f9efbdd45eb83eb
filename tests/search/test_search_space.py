"""The space of a search, its trials, their order and placement, on plain values without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import small_document, write_small

from cluster.capacity import Node
from cluster.placement import PlacementError
from cluster.trials import place_trials, useful_trials_per_gpu
from data.errors import InputError
from workflows.recipe.recipe import Recipe, check_recipe, load_recipe
from workflows.recipe.search_settings import Range
from workflows.search.search import check_trials, search
from workflows.search.space import data_variants, draw, grid, level_choices, parameters_of, trial_recipe


def recipe_with(search: dict[str, Any], **sections: Any) -> Recipe:
    return check_recipe({**small_document(**sections), "search": search}, Path("/somewhere"))


def trials_of(search: dict[str, Any]) -> int:
    recipe = recipe_with(search)
    return check_trials(recipe, parameters_of(recipe))


def test_a_grid_has_every_combination_under_the_names_that_set_takes() -> None:
    configs = grid(parameters_of(recipe_with({"decay_rate": [0.5, 0.9], "epochs": [1, 2]})))
    assert len(configs) == 2 * 2**3
    assert configs[0] == {
        "training.decay_rate": 0.5,
        "datasets.anvil.epochs": 1,
        "datasets.bellows.epochs": 1,
        "datasets.crane.epochs": 1,
    }
    assert len({str(config) for config in configs}) == len(configs)


def test_each_dataset_may_have_its_own_space_and_each_change_its_own_rate() -> None:
    search = {"decay_rate": [[0.5, 0.9], {"low": 0.3, "high": 0.5, "step": 0.1}], "datasets": {"crane": {"epochs": [3]}}}
    recipe = recipe_with(search)
    configs = grid(parameters_of(recipe))
    assert [config["training.decay_rate.2"] for config in configs[:3]] == [0.3, 0.4, 0.5]
    made = trial_recipe(recipe, configs[-1])
    assert made.training.decay_rate == [0.9, 0.5]
    assert [entry.keys.epochs for entry in made.entries] == [None, None, 3]
    assert "search" not in made.document


@pytest.mark.parametrize("values", [{"training.batch_size": [16, 32]}, {"training": {"batch_size": [16, 32]}}])
def test_any_other_value_is_searched_by_its_dotted_name_quoted_or_not(values: dict[str, Any]) -> None:
    recipe = recipe_with({"values": values})
    assert [trial_recipe(recipe, config).training.batch_size for config in grid(parameters_of(recipe))] == [16, 32]


def test_values_that_change_the_data_make_variants_and_others_do_not() -> None:
    parameters = parameters_of(
        recipe_with({"epochs": [1, 2], "values": {"data.lookback": [6, 12], "model.hidden_size": [4]}})
    )
    assert data_variants(parameters) == [{"data.lookback": 6}, {"data.lookback": 12}]


def test_a_range_reaches_its_end_in_numbers_as_one_writes_them() -> None:
    assert Range(0.3, 1.0, 0.1).values() == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert Range(1, 4, 1).values() == (1, 2, 3, 4)
    assert Range(0.1, 1.0).values() is None


def test_random_trials_are_the_same_for_the_same_seed_and_none_is_drawn_twice() -> None:
    parameters = parameters_of(recipe_with({"decay_rate": {"low": 0.3, "high": 1.0}, "epochs": [1, 2]}))
    assert draw(parameters, 10, 1) == draw(parameters, 10, 1) != draw(parameters, 10, 2)
    assert all(0.3 <= config["training.decay_rate"] <= 1.0 for config in draw(parameters, 50, 3))
    assert len(draw(parameters_of(recipe_with({"decay_rate": [0.5, 0.6]})), 10, 1)) == 2


@pytest.mark.parametrize(
    ("search", "messages"),
    [
        ({}, ["the space is empty", "decay_rate = [0.5, 0.7, 0.9]"]),
        ({"epochs": []}, ["epochs = []", "the space is empty"]),
        ({"decay_rate": {"low": 0.9, "high": 0.3}}, ["the space is empty", "low = 0.9 is above high = 0.3"]),
        ({"decay_rate": {"low": 0.3, "hihg": 0.9}}, ["'hihg'", "did you mean 'high'?"]),
        ({"decay_rate": {"low": 0.3, "high": 0.9}}, ["a grid or a beam needs a step for training.decay_rate"]),
        ({"decay_rate": 0.7}, ["decay_rate = 0.7 is a single value", "write a list"]),
        ({"decay_rate": [0.5, 1.5]}, ["search, training.decay_rate = 1.5"]),
        ({"decayrate": [0.5]}, ["'decayrate'", "did you mean 'decay_rate'?"]),
        ({"epochs": [0, 1]}, ["datasets.anvil.epochs = 0", "greater than or equal to 1"]),
        ({"epochs": ["two"]}, ["epochs = 'two'", "integer"]),
        ({"datasets": {"anvill": {"epochs": [1]}}}, ["anvill", "did you mean 'anvil'?"]),
        ({"values": {"training.batchsize": [1]}}, ["'batchsize'", "did you mean 'batch_size'?"]),
        ({"values": {"trainin.batch_size": [1]}}, ["'trainin'", "did you mean 'training'?"]),
        ({"values": {"batch_size": [1]}}, ["'batch_size'", "SECTION.KEY"]),
        ({"values": {"datasets.drill.epochs": [1]}}, ["there is no dataset 'drill'"]),
        ({"values": {"model.hidden_size": ["wide"]}}, ["model.hidden_size = 'wide'", "integer"]),
        ({"values": {"training.decay_rate": [0.5]}, "decay_rate": [0.6]}, ["'training.decay_rate' is searched already"]),
        ({"epochs": [1], "objectives": ["speed"]}, ["objectives = ['speed']", "mean_scaled_error"]),
        ({"epochs": [1], "algorithm": "magic"}, ["algorithm = 'magic'", "'optuna'"]),
        ({"epochs": [1], "algorithm": "beam", "scheduler": "asha"}, ['scheduler = "asha"', 'write scheduler = "none"']),
        ({"epochs": [1], "algorithm": "beam", "beam_width": 0}, ["beam_width = 0"]),
        ({"decay_rate": {"low": 0.3, "high": 0.9}, "algorithm": "beam"}, ["a beam needs a step for training.decay_rate"]),
        ({"epochs": [1], "num_samples": 0}, ["num_samples = 0"]),
        ({"epochs": list(range(1, 40))}, ["39 x 39 x 39 = 59,319", "at most 10,000", "random"]),
    ],
)
def test_a_wrong_search_is_refused_with_what_to_write_instead(search: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        trials_of(search)
    for message in messages:
        assert message in str(refused.value)


def test_an_empty_search_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    with pytest.raises(InputError, match=r"small\.toml: search: the space is empty"):
        search(load_recipe(path), tmp_path / "runs")


def test_all_errors_of_a_space_are_in_one_message() -> None:
    with pytest.raises(InputError) as refused:
        trials_of({"decay_rate": [0.5, 1.5], "epochs": [0, 1]})
    assert len(refused.value.messages) == 4  # the rate, and the epochs of each of three datasets


def test_each_dataset_of_a_beam_adds_its_epochs_and_the_rate_of_its_change() -> None:
    search = {"decay_rate": [0.5, 0.9], "epochs": [1, 2], "datasets": {"crane": {"epochs": [3]}}, "algorithm": "beam"}
    recipe = recipe_with({**search, "values": {"training.batch_size": [16, 32]}})
    first, second, third = level_choices(recipe, parameters_of(recipe), [0, 1, 2])
    assert first == [{"datasets.anvil.epochs": e, "training.batch_size": b} for e in (1, 2) for b in (16, 32)]
    assert second == [{"training.decay_rate.1": r, "datasets.bellows.epochs": e} for r in (0.5, 0.9) for e in (1, 2)]
    assert third == [{"training.decay_rate.2": r, "datasets.crane.epochs": 3} for r in (0.5, 0.9)]
    turned = level_choices(recipe, parameters_of(recipe), [2, 0, 1])  # in a suggested order
    assert turned[1][0] == {"training.decay_rate.1": 0.5, "datasets.anvil.epochs": 1}
    shared = level_choices(recipe, parameters_of(recipe), [0, 0, 1])  # two datasets of one entry
    assert [len(choices) for choices in shared] == [4, 2, 4]


def test_the_decay_rate_of_a_change_may_be_a_datasets_own_choice() -> None:
    search = {"datasets": {"crane": {"decay_rate": [0.5, 0.9]}}, "epochs": [1]}
    recipe = recipe_with(search, training={"decay_rate": 0.8})
    assert [trial_recipe(recipe, config).training.decay_rate for config in grid(parameters_of(recipe))] == [
        [0.8, 0.5],
        [0.8, 0.9],
    ]
    recipe = recipe_with({**search, "decay_rate": [0.6, 0.7]})
    assert len(grid(parameters_of(recipe))) == 2 * 2
    with pytest.raises(InputError, match=r"anvil\.decay_rate: the first dataset keeps the learning rate: remove it"):
        parameters_of(recipe_with({"datasets": {"anvil": {"decay_rate": [0.5]}}}))
    suggested = check_recipe({**small_document(), "order": "suggested", "search": search}, Path("/somewhere"))
    with pytest.raises(InputError, match=r"crane\.decay_rate: the position of the dataset must be known"):
        parameters_of(suggested)


def test_as_many_trials_run_at_a_time_as_there_is_room_for() -> None:
    assert place_trials(0, "auto", {"CPU": 8.0}, 81).num_concurrent == 8
    assert place_trials(0, "auto", {"CPU": 8.0}, 3).num_concurrent == 3
    assert place_trials(3, "auto", {"CPU": 8.0}, 81).num_concurrent == 2
    assert place_trials(2, "auto", {"CPU": 16.0, "GPU": 4.0}, 81).num_concurrent == 2
    assert place_trials(2, False, {"CPU": 16.0, "GPU": 4.0}, 81).num_concurrent == 8


def test_all_workers_of_a_trial_are_on_one_node_where_one_holds_them() -> None:
    nodes = [Node("a", 3.0), Node("b", 4.0), Node("c", 1.0)]
    totals = {"CPU": 8.0}
    placed = place_trials(2, "auto", totals, 81, nodes=nodes)
    assert (placed.num_concurrent, placed.one_node) == (3, True)  # 1 + 2 + 0, where 4 would fit over nodes
    assert "each on one node" in placed.reason
    over = place_trials(5, "auto", totals, 81, nodes=nodes)
    assert (over.num_concurrent, over.one_node) == (1, False)
    gpus = [Node("a", 8.0, 2.0), Node("b", 8.0, 1.0)]
    placed = place_trials(2, "auto", {"CPU": 16.0, "GPU": 3.0}, 81, nodes=gpus)
    assert (placed.num_concurrent, placed.one_node) == (1, True)


def test_a_trial_may_have_several_cores() -> None:
    placed = place_trials(0, "auto", {"CPU": 8.0}, 81, cpus_per_worker=4)
    assert (placed.num_concurrent, placed.cpus) == (2, 4)
    assert place_trials(0, "auto", {"CPU": 8.0, "GPU": 1.0}, 81, "auto", 8, cpus_per_worker=2).num_concurrent == 4
    with pytest.raises(PlacementError, match=r"a trial needs 3 x 4 core = 12, the cluster has 8: write .* = 2 or fewer"):
        place_trials(3, "auto", {"CPU": 8.0}, 81, cpus_per_worker=4)


def test_a_trial_that_never_fits_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        PlacementError, match=r"a trial needs 9 x 1 core = 9, the cluster has 8: write workers_per_trial = 8"
    ):
        place_trials(9, "auto", {"CPU": 8.0}, 81)
    with pytest.raises(PlacementError, match=r"needs 2 x 1 GPU = 2, the cluster has 1"):
        place_trials(2, True, {"CPU": 8.0, "GPU": 1.0}, 81)
    with pytest.raises(PlacementError, match=r"trials_per_gpu = 4 with workers_per_trial = 2: NCCL"):
        place_trials(2, True, {"CPU": 8.0, "GPU": 2.0}, 81, 4)


def test_a_trial_with_several_cores_is_on_one_node() -> None:
    nodes = (Node("a", 8.0), Node("b", 7.0))
    assert place_trials(0, False, {"CPU": 15.0}, 81, nodes=nodes, cpus_per_worker=4).num_concurrent == 2 + 1
    with pytest.raises(PlacementError, match=r"the largest has 8 cores: write cpus_per_worker = 8 or fewer"):
        place_trials(0, False, {"CPU": 15.0}, 81, nodes=nodes, cpus_per_worker=9)
    with pytest.raises(PlacementError, match=r"needs 1 x 16 core = 16, the cluster has 15: write cpus_per_worker = 15 or"):
        place_trials(0, False, {"CPU": 15.0}, 81, cpus_per_worker=16)
    # A cluster that grows may get a machine that is large enough.
    assert place_trials(0, False, {"CPU": 16.0}, 81, nodes=nodes, cpus_per_worker=9).num_concurrent == 1
    small = tuple(Node(str(number), 3.0, 1.0) for number in range(4))
    shared = place_trials(0, True, {"CPU": 12.0, "GPU": 4.0}, 81, 3, nodes=small, cpus_per_worker=2)
    assert shared.num_concurrent == 4  # one core of each node is left


@pytest.mark.parametrize(
    ("asked", "useful", "cpus", "gpus", "trials", "expected"),
    [
        ("auto", 8, 16, 1, 81, (8, 8, 0.125)),
        ("auto", 8, 4, 1, 81, (4, 4, 0.25)),  # a core for each
        ("auto", 8, 16, 2, 6, (6, 3, 0.3333)),  # no more than there are trials
        ("auto", 1, 16, 2, 81, (2, 1, 1.0)),  # large steps fill a GPU
        (3, 8, 16, 1, 81, (3, 3, 0.3333)),
        (12, 1, 16, 1, 81, (12, 12, 0.0833)),
    ],
)
def test_trials_share_a_gpu(
    asked: Any, useful: int, cpus: int, gpus: int, trials: int, expected: tuple[int, int, float]
) -> None:
    placement = place_trials(0, "auto", {"CPU": float(cpus), "GPU": float(gpus)}, trials, asked, useful)
    assert (placement.num_concurrent, placement.trials_per_gpu, placement.gpu_share) == expected
    assert placement.gpu_share * placement.trials_per_gpu <= 1


def test_a_gpu_is_shared_among_as_many_trials_as_fill_it() -> None:
    sizes = [(32, 64), (256, 64), (2048, 64), (32, 256), (256, 256), (2048, 256)]
    assert [useful_trials_per_gpu(*size) for size in sizes] == [8, 8, 1, 8, 2, 1]
