"""Beam searches that train without Ray: killed, concurrent, and their dry run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from searches import search_here
from small import share_prepared, write_small
from typer.testing import CliRunner

from data.errors import InputError
from workflows.cli.commands import app
from workflows.recipe.recipe import Recipe, check_recipe, load_recipe
from workflows.relay.events import EpochDone
from workflows.report.report import make_report
from workflows.results.events import Event, LevelDone
from workflows.results.search_result import SearchResult, search_from
from workflows.search.context import SearchContext
from workflows.search.estimate import estimate, estimate_words
from workflows.search.proposal import Proposal
from workflows.search.result import best_document, write_search
from workflows.store.store import Store
from workflows.training.run import train

ROOT = Path(__file__).parents[2]
BEAM = {"decay_rate": [0.5, 0.9], "epochs": [1, 2], "algorithm": "beam", "beam_width": 2}
HERE = {"compute": {"num_workers": 0}, "training": {"epochs": 1}}


def program(folder: Path, storage: Path) -> subprocess.Popen[str]:
    support = ROOT / "tests" / "support"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{support}"}
    command = [sys.executable, str(support / "searches.py"), str(folder), str(storage)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, SearchResult, list[Event]]:
    folder = tmp_path_factory.mktemp("beam")
    recipe, events = load_recipe(write_small(folder, search=BEAM, **HERE)), list[Event]()
    return folder, recipe, search_here(recipe, folder / "runs", events.append), events


Searched = tuple[Path, Recipe, SearchResult, list[Event]]


def test_each_level_extends_the_best_prefixes_and_trains_only_what_is_new(searched: Searched) -> None:
    _, _, result, events = searched
    assert [len([t for t in result.trials if t.level == level]) for level in (1, 2, 3)] == [2, 8, 8]
    for level in (1, 2):
        ranked = sorted(
            (t for t in result.trials if t.level == level), key=lambda t: t.metrics.objective("mean_scaled_error")
        )
        parents = {t.parent for t in result.trials if t.level == level + 1}
        assert parents == {t.number for t in ranked[:2]}
    levels = [event for event in events if isinstance(event, LevelDone)]
    assert [(event.level, event.kept[0].stopped_after) for event in levels] == [(1, "anvil"), (2, "bellows")]
    trained = [event.key for event in events if isinstance(event, EpochDone)]
    # Two epochs of the first dataset; of each later one two epochs for each rate and prefix.
    assert len(trained) == len(set(trained)) == result.epochs_trained == result.epochs_distinct == 2 + 2 * 2 * 2 + 2 * 2 * 2
    assert {t.stopped_after for t in result.trials if t.level == 3} == {None}
    assert search_from(json.loads(json.dumps(result.to_json()))) == result


def test_the_best_of_a_beam_is_what_train_gives_with_its_recipe(searched: Searched, tmp_path: Path) -> None:
    folder, recipe, result, _ = searched
    assert result.best_trial is not None
    best = check_recipe(best_document(recipe, result.best_trial.config, "best"), folder)
    again = train(best, folder / "runs", None, 0)
    assert (again.epochs_trained, again.key) == (0, result.key)
    share_prepared(folder / "runs", tmp_path)
    alone = train(best, tmp_path, None, 0)
    assert alone.key == result.key
    metrics = result.best_trial.metrics
    assert alone.mean_scaled_error == pytest.approx(metrics.mean_scaled_error, abs=1e-6)
    assert alone.forgetting == pytest.approx(metrics.forgetting, abs=1e-6)


def test_a_killed_beam_search_goes_on_with_the_same_levels_and_ends_with_the_same_result(
    searched: Searched, tmp_path: Path
) -> None:
    folder, recipe, result, _ = searched
    share_prepared(folder / "runs", tmp_path)
    with program(folder, tmp_path) as killed:
        assert killed.stdout is not None
        seen = [killed.stdout.readline().strip() for _ in range(5)]  # in the second level
        killed.send_signal(signal.SIGKILL)
    events: list[Event] = []
    again = search_here(recipe, tmp_path, events.append)
    trained = {event.key for event in events if isinstance(event, EpochDone)}
    assert not trained & set(seen)
    assert again.trials == result.trials
    assert (again.best, again.key, again.pareto) == (result.best, result.key, result.pareto)


@pytest.mark.long
@pytest.mark.parametrize("epochs_seen", range(1, 18, 2))
def test_killed_after_any_number_of_epochs_the_result_is_the_same(
    searched: Searched, tmp_path: Path, epochs_seen: int
) -> None:
    """Takes about 6 s each; the resumed search is killed again."""
    folder, recipe, result, _ = searched
    share_prepared(folder / "runs", tmp_path)
    for more in (epochs_seen, 1):
        with program(folder, tmp_path) as killed:
            assert killed.stdout is not None
            for _ in range(more):
                killed.stdout.readline()
            killed.send_signal(signal.SIGKILL)
    assert search_here(recipe, tmp_path).trials == result.trials


@pytest.mark.long
@pytest.mark.ray
def test_a_search_command_that_is_killed_under_ray_goes_on_with_the_same_levels(searched: Searched, tmp_path: Path) -> None:
    """Takes about 60 s: three commands that each start Ray and are killed after some more checkpoints."""
    folder, _, result, _ = searched
    share_prepared(folder / "runs", tmp_path)
    command = [sys.executable, "-m", "workflows", "search", str(folder / "small.toml"), "--storage", str(tmp_path)]
    checkpoints = tmp_path / "checkpoints"

    def num_checkpoints() -> int:
        return len(list(checkpoints.glob("[!.]*"))) if checkpoints.is_dir() else 0

    for more in (1, 5, 7):
        enough = num_checkpoints() + more
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as killed:
            while killed.poll() is None and num_checkpoints() < enough:
                time.sleep(0.02)
            killed.send_signal(signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    written = Store(str(tmp_path)).search("small", dict)
    assert written is not None
    again = search_from(written)
    assert again.trials == result.trials
    assert (again.best, again.key, again.pareto) == (result.best, result.key, result.pareto)
    assert 0 < again.epochs_trained < result.epochs_trained


def test_the_plan_of_a_trial_is_made_once_in_each_process(
    searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe, _, _ = searched
    share_prepared(folder / "runs", tmp_path)
    made, plan = Counter[int](), SearchContext.plan

    def count(context: SearchContext, proposal: Proposal, datasets: Any) -> Any:
        made[proposal.number] += 1
        return plan(context, proposal, datasets)

    monkeypatch.setattr(SearchContext, "plan", count)
    two = check_recipe({**recipe.document, "search": {"decay_rate": [0.5, 0.9], "epochs": [1]}}, folder)
    assert len(search_here(two, tmp_path).trials) == 2
    assert made == {0: 2, 1: 2}  # once by the search, once by the process that trains it, which is this one


def test_two_searches_that_overlap_train_the_union_of_their_epochs_each_once(searched: Searched, tmp_path: Path) -> None:
    folder, recipe, result, _ = searched
    share_prepared(folder / "runs", tmp_path)
    more: dict[str, Any] = {"decay_rate": [0.9], "epochs": [1, 2]}
    other = check_recipe({**recipe.document, "search": more}, folder)
    events: list[Event] = []
    with program(folder, tmp_path) as beside:
        grid = search_here(other, tmp_path, events.append)
        assert beside.stdout is not None
        *other_keys, last = beside.stdout.read().splitlines()
    own_keys = [event.key for event in events if isinstance(event, EpochDone)]
    assert max(Counter([*own_keys, *other_keys]).values()) == 1
    assert search_from(json.loads(last)).trials == result.trials
    store = Store(str(tmp_path))
    records = [store.record(key) for key in store.storage.names("checkpoints")]
    fitted = {record.key for record in records if record is not None and record.samples}
    assert fitted == {*own_keys, *other_keys}
    assert grid.epochs_distinct == 2 + 2 * 2 + 2 * 2 * 2
    assert len(fitted) < grid.epochs_distinct + result.epochs_distinct  # the searches overlap


def test_a_dry_run_predicts_a_search_and_writes_nothing(searched: Searched, tmp_path: Path) -> None:
    folder, recipe, result, _ = searched
    with pytest.raises(InputError, match=r"the datasets are not prepared in .*: run lstm-relay prepare .*small\.toml"):
        estimate(recipe, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    share_prepared(folder / "runs", tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    new = estimate(recipe, tmp_path)
    assert (new.exact, new.trials, new.epochs_distinct, new.epochs_held) == (False, 18, result.epochs_distinct, 0)
    assert "at most 18 trials (beam)" in estimate_words(new)
    assert "No epoch of this search is in the store" in estimate_words(new)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    # The store has the whole search; of a search with one more choice of epochs it has the prefixes.
    stored = estimate(recipe, folder / "runs")
    assert (stored.exact, stored.trials_held, stored.epochs_distinct, stored.epochs_held) == (True, 18, 18, 18)
    assert estimate_words(stored).endswith("and 18 epochs; 0 would be trained.")
    larger = estimate(check_recipe({**recipe.document, "search": {**BEAM, "epochs": [1, 2, 3]}}, folder), folder / "runs")
    assert larger.trials == 3 + 2 * 6 + 2 * 6
    assert 0 < larger.epochs_held < larger.epochs_distinct
    assert larger.seconds is not None
    grid = estimate(check_recipe({**recipe.document, "search": {"epochs": [1, 2]}}, folder), folder / "runs")
    assert (grid.exact, grid.trials, grid.epochs_requested) == (True, 8, 36)


def test_the_command_shows_a_dry_run_without_ray(searched: Searched) -> None:
    folder, *_ = searched
    arguments = ["search", str(folder / "small.toml"), "--storage", str(folder / "runs"), "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "18 trials (beam)" in result.stdout
    assert "18 whole trials and 18 epochs; 0 would be trained" in " ".join(result.stdout.split())


def test_the_page_shows_the_tree_and_the_kept_prefixes_of_each_level(searched: Searched) -> None:
    folder, recipe, result, _ = searched
    store = Store(str(folder / "runs"))
    write_search(store, "tree", recipe, result)
    page = make_report(store, "tree")
    assert "Tree of the beam search: 18 trials" in page
    assert "Prefixes that were kept after each dataset" in page
    for trial in result.way_to_best:
        assert f">{trial.number} ★<" in page
    assert b"Prefixes that were kept (width 2)" in store.storage.read("runs/tree/search.svg")


@pytest.mark.long
@pytest.mark.ray
def test_a_beam_search_of_the_command_line_that_is_killed_goes_on_with_the_same_command(
    searched: Searched, tmp_path: Path
) -> None:
    """Takes about 40 s: two programs that each start Ray."""
    folder, _, result, _ = searched
    share_prepared(folder / "runs", tmp_path)
    command = [sys.executable, "-m", "workflows", "search", str(folder / "small.toml"), "--storage", str(tmp_path)]
    store = Store(str(tmp_path))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as killed:
        while killed.poll() is None and len(store.storage.names("checkpoints")) < 8:
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    written = store.search("small", dict)
    assert written is not None
    again = search_from(written)
    assert [(trial.config, trial.key, trial.parent) for trial in again.trials] == [
        (trial.config, trial.key, trial.parent) for trial in result.trials
    ]
    assert (again.best, again.pareto) == (result.best, result.pareto)
    assert again.epochs_trained < result.epochs_trained
