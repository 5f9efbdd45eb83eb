"""Plot a run: losses and errors of each epoch, and the error on each dataset after each stage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from workflows.results.picture import GRAY, LINES, MARKERS, short
from workflows.results.run_result import RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 7  # datasets with distinguishable colours


def draw_run(result: RunResult) -> Figure:
    """Return a figure with two axes: the learning curves by epoch, and the columns of the error matrix."""
    from matplotlib.figure import Figure

    if "ipykernel" in sys.modules:
        import matplotlib.pyplot  # noqa: F401  # registers the notebook's display of figures

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_curves(left, result)
    _draw_matrix(right, result)
    return figure


def _draw_curves(axes: Any, result: RunResult) -> None:
    before = 0
    for number, stage in enumerate(result.stages):
        epochs = before + np.arange(1, len(stage.train_loss) + 1)
        color = LINES[number % len(LINES)]
        axes.plot(epochs, stage.train_loss, color=color, marker="o", markersize=3, label=short(stage.dataset))
        losses = [np.nan if value is None else value for value in stage.validation_loss]
        if len(losses) == len(epochs):
            axes.plot(epochs, losses, color=color, linestyle="--")
        before += len(epochs)
        if number + 1 < len(result.stages):
            axes.axvline(before + 0.5, color=GRAY, linewidth=0.6)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (dashed: validation)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(result.stages) <= MOST:
        axes.legend(frameon=False)


def _draw_matrix(axes: Any, result: RunResult) -> None:
    matrix = result.error_matrix
    table = np.array(matrix.scaled, np.float64)  # None is NaN
    if not np.isfinite(table).any():
        axes.text(0.5, 0.5, "no validation samples", ha="center", va="center", color=GRAY, transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.axhline(1, color=GRAY, linewidth=0.9, linestyle="--")
    for number, name in enumerate(matrix.datasets):
        style = {"color": LINES[number % len(LINES)], "marker": MARKERS[number % len(MARKERS)], "label": short(name)}
        axes.plot(range(len(table)), table[:, number], markersize=4, **style)
    names = [matrix.after[0], *(f"after {short(name, 10)}" for name in matrix.after[1:])]
    few = np.unique(np.linspace(0, len(names) - 1, min(len(names), 6)).round().astype(int))
    axes.set_xticks(few, [names[index] for index in few], rotation=20, ha="right")
    axes.set_ylabel("validation error (naive = 1)")
