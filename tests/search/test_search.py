"""Whole searches on one Ray session that all tests of this file share."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from searches import search_here
from small import share_prepared, small_document, write_machine, write_small

from data.errors import InputError
from workflows.recipe.recipe import check_recipe, load_recipe
from workflows.relay.events import EpochDone
from workflows.report.report import make_report
from workflows.results.events import Event, TrialDone, TrialLost
from workflows.search.result import best_document
from workflows.search.search import search as search_typed
from workflows.store.store import Store
from workflows.training.run import train

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
GRID = {"decay_rate": [0.5, 0.7, 0.9], "epochs": [1, 2, 4]}


def search(*arguments: Any, **named: Any) -> dict[str, Any]:
    """Return the content of search.json."""
    return search_typed(*arguments, **named).to_json()


@pytest.fixture(scope="module")
def searched(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """Search a grid of 81 trials, in about 15 s."""
    folder = tmp_path_factory.mktemp("searched")
    events: list[dict[str, Any]] = []
    return folder, search(load_recipe(write_small(folder, search=GRID)), folder / "runs", watch=events.append), events


def test_a_grid_asks_for_567_epochs_and_trains_148_each_once(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    folder, result, events = searched
    trained = [event.key for event in events if isinstance(event, EpochDone)]
    assert (len(result["trials"]), result["epochs_requested"]) == (81, 567)
    assert len(trained) == result["epochs_trained"] == result["epochs_distinct"] == 4 + 36 + 108
    assert max(Counter(trained).values()) == 1
    # A process is reused from trial to trial.
    assert len({event.pid for event in events if isinstance(event, EpochDone)}) <= 2
    assert result["ratio"] == pytest.approx(567 / 148)
    written = json.loads((folder / "runs" / "runs" / "small" / "search.json").read_text())
    assert len(written.pop("sha256")) == 64
    assert written.pop("best_recipe").startswith('name = "small-best"')
    assert written == json.loads(json.dumps(result))
    assert {"config", "metrics", "key", "stopped_after"} <= set(written["trials"][0])
    errors = [trial["metrics"]["mean_scaled_error"] for trial in written["trials"]]
    assert errors[written["best"]] == min(errors)
    assert written["best"] in written["pareto"]
    assert b"<svg" in (folder / "runs" / "runs" / "small" / "search.svg").read_bytes()
    assert (folder / "runs" / "runs" / "small" / "ray.log").stat().st_size > 0


def test_each_trial_is_what_train_gives_with_its_recipe_alone_in_a_fresh_store(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, result, _ = searched
    recipe = load_recipe(folder / "small.toml")
    shutil.copytree(folder / "runs" / "prepared", tmp_path / "prepared", copy_function=shutil.copy2)
    for trial in random.Random(0).sample(result["trials"], 5):
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        alone = train(check_recipe(best_document(recipe, trial["config"], "alone"), tmp_path), tmp_path, None, 0).to_json()
        assert alone["epochs_trained"] == sum(trial["epochs"])
        assert alone["key"] == trial["key"]
        for measure in ("mean_scaled_error", "forgetting", "backward_transfer", "forward_transfer"):
            assert alone[measure] == pytest.approx(trial["metrics"][measure], abs=1e-6)


def test_training_the_best_recipe_from_anywhere_trains_nothing(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, result, _ = searched
    moved = shutil.copy(folder / "runs" / "runs" / "small" / "best.toml", tmp_path / "moved.toml")
    again = train(load_recipe(Path(moved)), folder / "runs", None, 0).to_json()
    best = result["trials"][result["best"]]
    assert (again["epochs_trained"], again["key"]) == (0, best["key"])
    assert again["mean_scaled_error"] == best["metrics"]["mean_scaled_error"]


def test_a_finished_search_trains_nothing_and_runs_no_trial_again(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    folder, result, _ = searched
    events: list[dict[str, Any]] = []
    again = search(load_recipe(folder / "small.toml"), folder / "runs", "again", watch=events.append)
    assert again["trials"] == result["trials"]
    assert (again["epochs_trained"], again["ratio"]) == (0, None)
    assert not [event for event in events if isinstance(event, TrialDone)]


def test_clean_keeps_the_best_trial_and_the_front_of_a_search(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    from workflows.results.clean import clean
    from workflows.store.store import Store

    shutil.copytree(searched[0] / "runs", tmp_path / "runs", copy_function=shutil.copy2)
    for path in (tmp_path / "runs" / "runs").iterdir():
        if path.name != "small":
            shutil.rmtree(path)
    store, result = Store(str(tmp_path / "runs")), searched[1]
    removed = clean(store, dry_run=False)
    kept = [result["trials"][number] for number in {result["best"], *result["pareto"]}]
    assert {leftover.path.split("/")[0] for leftover in removed} == {"checkpoints"}
    assert all(store.record(trial["key"]) is not None for trial in kept)
    again = train(load_recipe(tmp_path / "runs" / "runs" / "small" / "best.toml"), tmp_path / "runs", None, 0).to_json()
    assert again["epochs_trained"] == 0


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two short datasets of the same process: more epochs are better, and only the middle rate learns."""
    folder = tmp_path_factory.mktemp("planted")
    for number, name in enumerate(("anvil", "twin")):
        write_machine(folder / f"{name}.csv", 0, 200, seed=number)
    return folder


@pytest.mark.parametrize(
    ("algorithm", "num_samples"),
    [pytest.param("grid", 12, marks=pytest.mark.long), ("random", 12), ("optuna", 24)],
    ids=["grid", "random", "optuna"],
)
def test_a_planted_optimum_is_found(ray_session: None, planted: Path, algorithm: str, num_samples: int) -> None:
    """Search with three algorithms in one store, so that each epoch is trained once; each makes its own proposals."""
    space = {
        "algorithm": algorithm,
        "num_samples": num_samples,
        "decay_rate": [0.05, 1.0],
        "datasets": {"twin": {"epochs": [1, 3]}},
        "values": {"training.learning_rate": [1e-5, 1e-2, 3.0]},
    }
    document = small_document(datasets=[{"name": name, "path": f"{name}.csv"} for name in ("anvil", "twin")])
    recipe = check_recipe({**document, "search": space}, planted)
    result = search(recipe, planted / "runs", algorithm)
    assert len(result["trials"]) == num_samples
    best = next(trial for trial in result["trials"] if trial["number"] == result["best"])
    assert best["config"] == {"training.decay_rate": 1.0, "datasets.twin.epochs": 3, "training.learning_rate": 1e-2}


@pytest.mark.long
def test_with_two_objectives_optuna_repeats_its_proposals_and_the_front_is_reported(
    ray_session: None, tmp_path: Path
) -> None:
    settings = {"algorithm": "optuna", "num_samples": 6, "objectives": ["mean_scaled_error", "forgetting"]}
    recipe = load_recipe(
        write_small(tmp_path, search={"decay_rate": {"low": 0.1, "high": 1.0}, "epochs": [1, 2], **settings})
    )
    result = search(recipe, tmp_path / "runs")
    points = {
        t["number"]: (t["metrics"]["mean_scaled_error"], max(t["metrics"]["forgetting"], 0.0)) for t in result["trials"]
    }
    beaten = {a for a, x in points.items() for y in points.values() if y != x and y[0] <= x[0] and y[1] <= x[1]}
    assert set(result["pareto"]) == set(points) - beaten
    again = search(recipe, tmp_path / "runs", "again")
    assert [trial["config"] for trial in again["trials"]] == [trial["config"] for trial in result["trials"]]
    assert again["epochs_trained"] == 0


def test_a_beam_on_two_cores_is_the_one_of_a_single_process_and_starts_each_process_once(
    ray_session: None, tmp_path: Path
) -> None:
    """Keep a process without a trial at the end of a level: a new one would take seconds at every dataset."""
    beam = {"decay_rate": [0.5, 0.9], "epochs": [1, 2], "algorithm": "beam", "beam_width": 2}
    recipe = load_recipe(write_small(tmp_path, search=beam, compute={"num_workers": 0}))
    expected = search_here(recipe, tmp_path / "here")
    share_prepared(tmp_path / "here", tmp_path / "runs")
    events: list[Event] = []
    result = search_typed(recipe, tmp_path / "runs", watch=events.append)
    assert [(trial.config, trial.key, trial.parent) for trial in result.trials] == [
        (trial.config, trial.key, trial.parent) for trial in expected.trials
    ]
    assert (result.best, result.pareto) == (expected.best, expected.pareto)
    trained = [event for event in events if isinstance(event, EpochDone)]
    assert len({event.key for event in trained}) == len(trained) == result.epochs_distinct == 18
    assert len({event.pid for event in trained}) <= 2


def test_a_trial_that_fails_is_reported_and_a_process_that_is_killed_is_replaced_and_all_others_go_on(
    ray_session: None, tmp_path: Path
) -> None:
    """Kill one process in an epoch, and another after its trial has ended and before the next one begins."""
    events: list[dict[str, Any]] = []
    processes: dict[int, int] = {}
    killed: list[int] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochDone):
            assert event.trial is not None
            assert event.pid is not None
            processes[event.trial] = event.pid
            if sum(isinstance(each, EpochDone) for each in events) == 3:
                kill(event.pid)
        elif isinstance(event, TrialDone) and len(killed) == 1:
            process = processes.get(event.trial.number, killed[0])
            if process != killed[0]:
                kill(process)

    def kill(process: int) -> None:
        killed.append(process)
        os.kill(process, signal.SIGKILL)
        while Path(f"/proc/{process}").exists():  # a dying process may answer once more
            time.sleep(0.01)

    settings = {"decay_rate": [0.5, 0.9], "epochs": [1, 3], "values": {"training.learning_rate": [1e30, 0.01]}}
    result = search(load_recipe(write_small(tmp_path, search=settings)), tmp_path / "runs", watch=watch)
    assert len(result["trials"]) == 32
    for trial in result["trials"]:
        if trial["config"]["training.learning_rate"] == 1e30:
            assert "dataset 'anvil', epoch 1" in trial["failed"]
        else:
            assert "failed" not in trial
    assert result["trials"][result["best"]]["config"]["training.learning_rate"] == 0.01
    assert len(killed) == 2
    assert sum(isinstance(event, TrialLost) for event in events) == 2
    assert result["epochs_distinct"] == 3 + 12 + 24


@pytest.mark.slow
def test_data_parallel_trials_under_asha_end_and_free_their_workers(ray_session: None, tmp_path: Path) -> None:
    """Takes about 25 s: 2 cores, 2 workers per trial, so the process of a trial must take no core."""
    import ray

    settings = {"decay_rate": [0.5, 0.9], "epochs": [1, 2], "scheduler": "asha", "workers_per_trial": 2}
    result = search(load_recipe(write_small(tmp_path, search=settings)), tmp_path / "runs")
    assert len(result["trials"]) == 16
    stopped = [trial for trial in result["trials"] if trial["stopped_after"] is not None]
    assert stopped
    assert {trial["stopped_after"] for trial in stopped} <= {"anvil", "bellows"}
    assert result["epochs_trained"] == result["epochs_distinct"]
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2
    alone = train(load_recipe(tmp_path / "runs" / "runs" / "small" / "best.toml"), tmp_path / "runs", None, 0).to_json()
    assert alone["epochs_trained"] == 0


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_the_same_command(tmp_path: Path) -> None:
    """Takes about 20 s: two programs that each start Ray."""
    recipe = write_small(tmp_path, rows=2000, search={"decay_rate": [0.5, 0.9], "epochs": [1, 2]})
    command = [sys.executable, "-m", "workflows", "search", str(recipe), "--storage", str(tmp_path / "runs")]
    checkpoints = tmp_path / "runs" / "checkpoints"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        while first.poll() is None and (not checkpoints.is_dir() or len(list(checkpoints.iterdir())) < 6):
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "run the same command to resume" in err
    store = Store(str(tmp_path / "runs"))
    records = [store.record(path.name) for path in checkpoints.iterdir() if not path.name.startswith(".")]
    num_stored = sum(
        record is not None and record.samples > 0 for record in records
    )  # not the untrained state, nor averages
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    for line in process.stdout.splitlines():
        assert not any(word in line for word in ("INFO", "WARNING", "ray::", "(raylet)", "Trial_"))
    result = json.loads((tmp_path / "runs" / "runs" / "small" / "search.json").read_text())
    assert result["epochs_trained"] == 2 + 8 + 16 - num_stored < 26
    assert "best.toml" in process.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": [1], "workers_per_trial": 1000}, "a trial needs 1000 x 1 core = 1000, the cluster has"),
        ({"decay_rate": [[0.5], [0.6], [0.7]]}, "has 3 rates, but 3 datasets have 2 changes"),
        ({"epochs": [0]}, "datasets.anvil.epochs = 0"),
    ],
)
def test_an_impossible_search_is_refused_before_anything_is_written(
    ray_session: None, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        search(load_recipe(write_small(tmp_path, search=settings)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_best_recipe_keeps_addresses_and_makes_paths_absolute(tmp_path: Path) -> None:
    datasets = [{"name": "a", "path": ["{built_in}/x/a.csv", "b.csv"]}, {"name": "c", "path": "s3://bucket/c.csv"}]
    made = best_document(check_recipe(small_document(datasets=datasets), tmp_path), {"datasets.a.epochs": 3}, "best")
    assert made["datasets"][0] == {"name": "a", "path": ["{built_in}/x/a.csv", str(tmp_path / "b.csv")], "epochs": 3}
    assert made["datasets"][1]["path"] == "s3://bucket/c.csv"
    assert check_recipe(tomllib.loads(tomli_w.dumps(made)), Path("/elsewhere")).name == "best"


def test_a_search_has_a_page_with_its_best_trials_and_the_effect_of_each_value(
    searched: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    folder, result, _ = searched
    store = Store(str(folder / "runs"))
    page = make_report(store, "small")
    assert page.count("<svg") == 2 + 4  # cost, Pareto front; the rate, and the epochs of each dataset
    assert f"{result['best']} ★" in page
    assert "567 epochs requested, 148 trained" in page
    assert store.searching("small", dict) is None
    assert f"{store.searches(dict, dict)[0]['small']['epochs_trained']}" == "148"
