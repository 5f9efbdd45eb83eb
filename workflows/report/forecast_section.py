"""The report section that compares forecasts with observed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflows.report.forecast_pictures import chosen_targets, draw_shown
from workflows.report.forecasts import Confusion, Labels, Shown, Windows
from workflows.report.page import Figure, Gallery, Heading, Paragraph, Part, Section
from workflows.results.picture import Pictures
from workflows.results.run_result import NOT_MEASURED, SplitErrors

MOST_DATASETS = 12


def choose_datasets(names: Sequence[str], test: Mapping[str, SplitErrors]) -> list[str]:
    """Return the datasets to show forecasts of, in training order: all, or those with the largest test errors."""
    if len(names) <= MOST_DATASETS:
        return list(names)

    def badness(name: str) -> float:
        errors = test.get(name, NOT_MEASURED)
        error = errors.error if errors.scaled_error is None else errors.scaled_error
        return -1.0 if error is None else error

    worst = sorted(names, key=badness, reverse=True)[:MOST_DATASETS]
    return [name for name in names if name in worst]


def forecast_section(drawing: Pictures, shown: Sequence[Shown], num_datasets: int) -> Section:
    """Return the section with the forecasts of the chosen datasets."""
    if not shown:
        return Section("Forecasts", [Paragraph("No forecasts are shown: there is no test or validation split.")])
    parts: list[Part] = [Paragraph(_introduction(shown[0]))]
    if num_datasets > len(shown):
        parts.append(Paragraph(f"Shown: the {len(shown)} of {num_datasets} datasets with the largest test errors.", "soft"))
    for each in shown:
        drawn = draw_shown(drawing, each, len(shown))
        parts += [
            Heading(each.dataset),
            Gallery([Figure(one) for one in drawn]),
            Paragraph(_caption(each, len(shown)), "soft"),
        ]
    return Section("Forecasts", parts)


def _introduction(first: Shown) -> str:
    if isinstance(first, Windows):
        return (
            "Three windows of each dataset, chosen by forecast error: a good one (10th percentile), the median, and a bad "
            "one (90th percentile). Values are in the target's units."
        )
    if isinstance(first, Labels):
        return "Predicted against true labels of each dataset, in the target's units. On the dashed line they agree."
    return "Confusion matrix: rows are true classes, columns predicted classes; a darker cell is a larger share of its row."


def _caption(shown: Shown, num_shown: int) -> str:
    words = f"Based on {shown.samples:,} evenly spaced {shown.split} samples."
    if isinstance(shown, Confusion):
        return words
    indices = chosen_targets(len(shown.targets), num_shown)
    if len(indices) < len(shown.targets):
        words += f" Targets shown, of {len(shown.targets)}: {', '.join(shown.targets[index] for index in indices)}."
    return words
