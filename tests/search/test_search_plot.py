"""The panels of a search, which search.svg and the report share."""

from __future__ import annotations

import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure
from searches import search_result

from workflows.results.search_result import SearchResult, TrialMetrics, TrialResult
from workflows.search.plot import effect_panels, plot_search, search_panels


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
    found = search([{"rate": rate, "schedule": name} for rate in (0.5, 0.9) for name in ("constant", "cosine")])
    rate, schedule = (painted(panel) for panel in effect_panels(found))
    assert {line.get_linestyle() for line in rate.get_lines() if line.get_label() in ("mean", "lowest")} == {"-"}
    assert {line.get_linestyle() for line in schedule.get_lines() if line.get_label() in ("mean", "lowest")} == {"None"}
    assert [label.get_text() for label in schedule.get_xticklabels()] == ["constant", "cosine"]


@pytest.mark.parametrize("values", [[0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0.001, 0.002, 0.1], ["a" * 30, "b" * 30, "c" * 30]])
def test_tick_labels_do_not_overlap(values: list[Any]) -> None:
    found = search([{"value": value} for value in values])
    for panel in [*search_panels(found), *effect_panels(found)]:
        axes = painted(panel)
        if not any(label.get_rotation() for label in axes.get_xticklabels()):
            assert not labels_overlap(axes), panel.caption


def test_the_file_is_svg_with_every_panel_and_failed_trials_are_left_out() -> None:
    found = search([{"rate": 0.5, "name": "$x"}, {"rate": 0.9, "name": "y"}])
    with matplotlib.rc_context():
        root = ElementTree.fromstring(plot_search(found))
    words = " ".join(text for element in root.iter() for text in [element.text or ""])
    for name in ("Error by cost", "Effect of rate", "Effect of name", "$x", "s: 3 trials, 9 epochs requested"):
        assert name in words, name
    assert plot_search(dataclasses.replace(found, trials=(), best=None)).startswith(b"<?xml")
