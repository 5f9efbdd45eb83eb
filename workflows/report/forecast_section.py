"""The part of a run's page where its forecasts stand beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows.report.forecast_pictures import chosen_targets, draw_shown
from workflows.report.forecasts import Confusion, Labels, Shown, Windows
from workflows.report.page import Html, Section, figure, heading, paragraph, pictures
from workflows.report.picture import Pictures

MOST_DATASETS = 12


def choose_datasets(names: Sequence[str], test: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The datasets whose forecasts are shown: all, or those with the largest errors; in the order of training."""
    if len(names) <= MOST_DATASETS:
        return list(names)

    def badness(name: str) -> float:
        facts = test.get(name, {})
        error = facts.get("scaled_error") if facts.get("scaled_error") is not None else facts.get("error")
        return -1.0 if error is None else float(error)

    worst = sorted(names, key=badness, reverse=True)[:MOST_DATASETS]
    return [name for name in names if name in worst]


def forecast_section(drawing: Pictures, shown: Sequence[Shown], num_datasets: int) -> Section:
    """Forecasts and truth of each dataset that was looked at."""
    if not shown:
        return Section("Forecasts", [paragraph("There is no test and no validation part to look at.")])
    parts: list[Html] = [paragraph(_introduction(shown[0]))]
    if num_datasets > len(shown):
        parts.append(
            paragraph(f"Of {num_datasets} datasets, the {len(shown)} with the largest test errors are shown.", "soft")
        )
    for each in shown:
        drawn = draw_shown(drawing, each, len(shown))
        parts += [
            heading(each.dataset),
            pictures(figure(one, "") for one in drawn),
            paragraph(_caption(each, len(shown)), "soft"),
        ]
    return Section("Forecasts", parts)


def _introduction(first: Shown) -> str:
    if isinstance(first, Windows):
        return (
            "Three windows of each dataset, by the error of their forecasts: a good one (a tenth of them are better), a "
            "median one, and a bad one (a tenth are worse). In the target's own units."
        )
    if isinstance(first, Labels):
        return "Predicted against true labels of each dataset, in their own units: on the dashed line they agree."
    return "Rows: the true classes; columns: what was predicted. The darker, the larger the share of the true class."


def _caption(shown: Shown, num_shown: int) -> str:
    words = f"{shown.samples:,} evenly spread {shown.split} samples looked at."
    if isinstance(shown, Confusion):
        return words
    places = chosen_targets(len(shown.targets), num_shown)
    if len(places) < len(shown.targets):
        words += f" Drawn of {len(shown.targets)} targets: {', '.join(shown.targets[place] for place in places)}."
    return words
