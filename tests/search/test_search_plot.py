"""The panels of a search in search.svg and the report."""

from __future__ import annotations

import dataclasses
import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from browser import Browser, open_browser
from matplotlib.figure import Figure
from searches import search_result

from workflows.report.page import page
from workflows.report.search_sections import search_sections
from workflows.results.picture import Pictures
from workflows.results.search_result import SearchResult, TrialMetrics, TrialResult
from workflows.search.beam import Beam
from workflows.search.pareto import pareto_front
from workflows.search.plot import effect_panels, plot_search, search_panels
from workflows.search.supply import Supply
from workflows.search.tree import Chain


def search(configs: list[dict[str, Any]]) -> SearchResult:
    trials = [
        TrialResult(
            number,
            config,
            TrialMetrics(1.0 - 0.1 * number, 0.123456 + 0.0000001 * number),
            epochs=(1,),
            samples=1000 * (number + 1),
        )
        for number, config in enumerate(configs)
    ]
    trials.append(TrialResult(99, configs[0], failed="why"))
    return search_result(trials, best=len(configs) - 1, pareto=(0, 1), epochs_requested=9)


def painted(panel: Any) -> Any:
    figure = Figure(figsize=(3.6, 2.3), layout="constrained")
    axes = figure.add_subplot()
    panel.paint(axes)
    figure.draw_without_rendering()
    return axes


def labels_overlap(axes: Any) -> bool:
    low, high = sorted(axes.get_xlim())
    shown = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high and label.get_text()]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    return any(before.x1 > after.x0 for before, after in itertools.pairwise(boxes))


def test_categories_are_not_joined_by_a_line_and_numbers_are() -> None:
    result = search([{"rate": rate, "schedule": name} for rate in (0.5, 0.9) for name in ("constant", "cosine")])
    rate, schedule = (painted(panel) for panel in effect_panels(result))
    assert {line.get_linestyle() for line in rate.get_lines() if line.get_label() in ("mean", "lowest")} == {"-"}
    assert {line.get_linestyle() for line in schedule.get_lines() if line.get_label() in ("mean", "lowest")} == {"None"}
    assert [label.get_text() for label in schedule.get_xticklabels()] == ["constant", "cosine"]


@pytest.mark.parametrize("values", [[0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0.001, 0.002, 0.1], ["a" * 30, "b" * 30, "c" * 30]])
def test_tick_labels_do_not_overlap(values: list[Any]) -> None:
    result = search([{"value": value} for value in values])
    for panel in [*search_panels(result), *effect_panels(result)]:
        axes = painted(panel)
        if not any(label.get_rotation() for label in axes.get_xticklabels()):
            assert not labels_overlap(axes), panel.caption


def covered(axes: Any) -> int:
    """Return the number of points of lines below the legend."""
    box = axes.get_legend().get_window_extent()
    points = [axes.transData.transform(line.get_xydata()) for line in axes.get_lines()]
    return sum(box.contains(*point) for line in points for point in line.tolist() if not math.isnan(point[0]))


def test_no_legend_covers_a_trial() -> None:
    for result in (beam_of_twelve(), on_two_objectives()):
        for panel in [*search_panels(result), *effect_panels(result)]:
            assert covered(painted(panel)) == 0, panel.caption


def test_values_of_several_magnitudes_have_a_logarithmic_axis_with_powers_of_ten() -> None:
    (rate,) = (painted(panel) for panel in effect_panels(search([{"rate": rate} for rate in (1e-4, 1e-3, 1e-2)])))
    assert rate.get_xscale() == "log"
    low, high = rate.get_xlim()
    shown = [label.get_text() for label in rate.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert shown == ["0.0001", "0.001", "0.01"]
    (few,) = (painted(panel) for panel in effect_panels(search([{"rate": rate} for rate in (0.5, 0.9)])))
    assert few.get_xscale() == "linear"


def test_the_file_is_svg_with_every_panel_and_failed_trials_are_left_out() -> None:
    result = search([{"rate": 0.5, "name": "$x"}, {"rate": 0.9, "name": "y"}])
    with matplotlib.rc_context():
        root = ElementTree.fromstring(plot_search(result))
    words = " ".join(text for element in root.iter() for text in [element.text or ""])
    for name in ("Error by cost", "Effect of rate", "Effect of name", "$x", "s: 3 trials, 9 epochs requested"):
        assert name in words, name
    assert plot_search(dataclasses.replace(result, trials=(), best=None)).startswith(b"<?xml")


def beam_of_twelve() -> SearchResult:
    """Return an invented beam search over twelve datasets with falling errors."""
    choices = [
        [
            {f"datasets.station_{station}.epochs": epochs, **({f"training.decay_rate.{station}": rate} if station else {})}
            for rate in ((0.7, 0.85, 1.0) if station else (1.0,))
            for epochs in (1, 2, 4)
        ]
        for station in range(12)
    ]
    supply = Supply(Beam(choices, 4, ["mean_scaled_error"]), lambda _: Chain((), ()))
    while (proposal := supply.next()) is not None:
        level, error = proposal.level or 0, 1.0 - 0.03 * (proposal.level or 0) + 0.01 * (proposal.number * 7 % 13)
        metrics = TrialMetrics(error, 0.01 * (proposal.number % 5), 0.0, 0.0, error + 0.05)
        after = None if level == 12 else f"station_{level - 1}"
        epochs, samples = (1,) * level, 1000 * level + proposal.number
        key = f"key {proposal.number}"
        result = TrialResult(proposal.number, proposal.config, metrics, key, after, epochs, samples)
        supply.record_final(dataclasses.replace(result, level=level, parent=proposal.parent))
    trials = [trial for _, trial in sorted(supply.ended.items())]
    best = min((trial for trial in trials if trial.complete), key=lambda trial: trial.metrics.objective("mean_scaled_error"))
    return search_result(trials, algorithm="beam", beam_width=4, best=best.number, pareto=(best.number,), key=best.key)


def on_two_objectives() -> SearchResult:
    """Return 40 invented trials over four keys with long names."""
    values = itertools.product((0.5, 0.7, 0.9, 1.0), (1, 2, 4), ("constant", "one_cycle"), (0.0001, 0.01))
    keys = ("training.decay_rate", "datasets.plant_dogwood.epochs", "training.schedule", "training.learning_rate")
    trials = []
    for number, each in enumerate(itertools.islice(values, 40)):
        metrics = TrialMetrics(0.6 + 0.01 * (number * 7 % 13), 0.02 * (number * 5 % 11), 0.0, 0.0, 0.7)
        config = dict(zip(keys, each, strict=True))
        trials.append(TrialResult(number, config, metrics, "key", None, (1, 2, 4), 1000 * (number % 9)))
    points = [(trial.metrics.objective("forgetting"), trial.metrics.objective("mean_scaled_error")) for trial in trials]
    front = sorted(pareto_front(points), key=lambda number: points[number])
    best = min(range(40), key=lambda number: points[number][1])
    objectives = ("mean_scaled_error", "forgetting")
    return search_result(trials, algorithm="optuna", objectives=objectives, best=best, pareto=tuple(front), key="key")


def test_the_tree_of_a_beam_joins_each_trial_to_the_one_that_it_extends() -> None:
    result = beam_of_twelve()
    axes = painted(search_panels(result)[0])
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert len(lines["tried"]) == 3 * len(result.trials) - 3  # two ends and a gap; the first ones are points
    assert [level for level, _ in lines["best"].tolist() if not math.isnan(level)][-2:] == [11.0, 12.0]
    assert [trial.level for trial in result.way_to_best] == list(range(1, 13))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with open_browser(tmp_path / "browser") as running:
        if running is None:
            pytest.skip("there is no Chromium")
        yield running


@pytest.mark.long
@pytest.mark.parametrize("made", [beam_of_twelve, on_two_objectives])
def test_a_search_is_shown_whole_on_a_phone(browser: Browser, tmp_path: Path, made: Callable[[], SearchResult]) -> None:
    sections = search_sections(Pictures(), made(), "name = 's'", "s", "runs")
    (tmp_path / "page.html").write_text(page("s", [], sections, "made up"), encoding="utf-8")
    questions = [
        "document.documentElement.scrollWidth - document.documentElement.clientWidth",
        "[...document.querySelectorAll('div.scroll:not(.wide)')]"
        ".filter(each => each.scrollWidth > each.clientWidth + 1).length",
        "[...document.querySelectorAll('tbody td, tbody th')]"
        ".filter(each => each.scrollWidth > each.clientWidth + 1).length",
    ]
    seen = browser.look(tmp_path / "page.html", 390, "light", questions)
    assert (seen.answers, seen.complaints) == ([0, 0, 0], [])
