"""The messages of runs and searches in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers import train_in_process
from rich.console import Console
from searches import search_result

from cluster.placement import Placement
from cluster.trials import TrialPlacement
from workflows.loggers.search_terminal import SearchScreen, search_words
from workflows.loggers.terminal import Screen, closing_words
from workflows.recipe.recipe import check_recipe
from workflows.relay.events import Placed
from workflows.results.events import Event, SearchPlanned, TrialDone
from workflows.results.search_result import TrialMetrics, TrialResult


def output_of(screen: type[Screen], event: Event) -> str:
    console = Console(file=io.StringIO(), width=160)
    screen(console)(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("number", "words"), [(0, "this process"), (1, "1 worker"), (2, "2 workers")])
def test_workers_are_counted_in_words(number: int, words: str) -> None:
    placement = Placement(number, number, False, 1.0, "why")
    assert output_of(Screen, Placed(placement)) == f"training in {words} (why)\n"


@pytest.mark.parametrize(("number", "words"), [(0, "a process"), (1, "1 worker"), (2, "2 workers")])
def test_a_search_prints_the_placement_of_its_trials_and_the_orders_of_datasets(number: int, words: str) -> None:
    placement = TrialPlacement(3, number, False, "why")
    event = SearchPlanned(1, placement, ("suggested order: b, a",), "runs")
    assert output_of(SearchScreen, event) == f"1 trial, 3 at a time, each in {words} (why)\nsuggested order: b, a\n"


@pytest.mark.parametrize(("value", "split"), [(0, [0.6, 0.2, 0.2]), (0, [1.0, 0.0, 0.0]), (1, [0.6, 0.2, 0.2])])
def test_a_naive_error_of_0_is_distinguished_from_no_validation_part(value: int, split: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "".join(f"{5 + value * (row % 3)}\n" for row in range(120)))
    document = {
        "data": {"features": ["x"], "targets": ["x"], "lookback": 4, "horizon": 1, "split": split},
        "datasets": [{"name": "a", "path": "a.csv"}],
        "model": {"hidden_size": 2},
        "training": {"epochs": 1},
        "compute": {"num_workers": 0},
    }
    _, run = train_in_process(check_recipe(document, tmp_path), tmp_path / "runs")
    assert run.result is not None
    words = closing_words(run.result)
    assert ("The naive forecast has no error" in words) == (value == 0 and split[1] > 0)
    assert ("No validation split" in words) == (split[1] == 0)


def test_trials_are_printed_with_the_numbers_of_the_table() -> None:
    trial = TrialResult(7, {"training.decay_rate": 0.5}, TrialMetrics(0.5, 0.1), epochs=(1, 2))
    assert "trial 7: decay_rate 0.5" in output_of(SearchScreen, TrialDone(trial, 3))


def test_a_search_prints_how_many_epochs_were_shared() -> None:
    result = search_result([TrialResult(number, {}, TrialMetrics(0.5)) for number in range(2)], epochs_requested=24)
    assert search_words(result).endswith("24 epochs requested, 10 trained, the others were shared or in the store.")


@pytest.mark.parametrize("name", ["north", "a dataset with a name that is much longer than a terminal is wide " * 3])
@pytest.mark.parametrize("width", [80, 40])
def test_the_live_display_is_one_line_at_any_width(name: str, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    for status in (f"{name} (12/12)  epoch 100/100   99%  1,234,567 samples/s  99:59 left", name):
        screen = Screen(console)
        screen.status = status
        lines = console.render_lines(screen._line(), pad=False)
        assert len(lines) == 1
        assert sum(segment.cell_length for segment in lines[0]) <= width
        assert lines[0][0].text.strip().endswith("0:00")
