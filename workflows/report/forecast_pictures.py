"""Draw forecasts: windows, predicted against true labels, confusion matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from workflows.report.forecasts import Confusion, Labels, Shown, Window, Windows, spread
from workflows.results.picture import BLUE, GRAY, ORANGE, Axes, Pictures, short

MANY_CLASSES = 12  # with more, the cells of a confusion matrix have no numbers
MOST_TARGETS = 3  # drawn for each dataset
HISTORY_HORIZONS = 3  # length of the history drawn before a forecast, in horizons
LABEL = 0.06  # half the width of a date, as a share of the axis; a date nearer to the right end would be cut off


def draw_shown(pictures: Pictures, shown: Shown, num_datasets: int) -> list[Markup]:
    """Return the pictures of one dataset; with more than four datasets only its first target is drawn."""
    if isinstance(shown, Confusion):
        return [_draw_confusion(pictures, shown)]
    indices = chosen_targets(len(shown.targets), num_datasets)
    if isinstance(shown, Labels):
        return [_draw_labels(pictures, shown, index) for index in indices]
    return [_draw_window(pictures, shown, window, index) for index in indices for window in shown.windows]


def chosen_targets(num_targets: int, num_datasets: int) -> list[int]:
    """Return the indices of the targets to draw: first, middle and last; with more than four datasets only the first."""
    return [int(index) for index in spread(num_targets, MOST_TARGETS if num_datasets <= 4 else 1)]


def _draw_window(pictures: Pictures, shown: Windows, window: Window, index: int) -> Markup:
    target, horizon = shown.targets[index], len(window.truth)
    history = window.history[-max(HISTORY_HORIZONS * horizon, 24) :, index]
    truth, forecast = window.truth[:, index], window.forecast[:, index]
    before: Any = np.arange(1 - len(history), 1)
    ahead: Any = np.arange(1, horizon + 1)
    times = window.times
    if times is not None:
        before, ahead = times[-horizon - len(history) : -horizon], times[-horizon:]
    cutoff = before[-1:]

    def paint(axes: Axes) -> None:
        axes.axvline(cutoff[0], color=GRAY, linewidth=0.7, linestyle=":")
        axes.plot(before, history, color=GRAY, label="history")
        if window.low is not None and window.high is not None:
            axes.fill_between(ahead, window.low[:, index], window.high[:, index], color=ORANGE, alpha=0.25, linewidth=0)
        # The line starts at the last observed value, so that it is visible for a horizon of 1.
        axes.plot(np.concatenate([cutoff, ahead]), [history[-1], *truth], color=BLUE, label="observed")
        axes.plot(
            ahead,
            forecast,
            color=ORANGE,
            linestyle="--",
            marker="o" if horizon <= 12 else None,
            markersize=2.5,
            label="forecast",
        )
        axes.set_title(f"{window.kind}: mean absolute error {window.error:.2f} scaled", loc="left")
        if times is None:
            axes.set_xlabel("steps after the last input row")
        else:
            date_axis(axes)
        axes.set_ylabel(short(target, 24))
        axes.locator_params(axis="y", nbins=6)
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))
        axes.legend(loc="best")

    gap = np.abs(truth - forecast).mean()
    alt = (
        f"{shown.dataset}, {target}, a {window.kind} window: mean absolute error {gap:.4g} over {horizon} steps; "
        f"observed values range from {np.nanmin(truth):.4g} to {np.nanmax(truth):.4g}."
    )
    return pictures.draw(paint, alt, fixed=True)


def date_axis(axes: Axes) -> None:
    """Label the x-axis of a plot over dates with labels that fit inside fixed margins."""
    from matplotlib import dates
    from matplotlib.ticker import FixedLocator

    library: Any = dates  # has no types
    locator = library.AutoDateLocator(minticks=3, maxticks=6)
    locator.intervald[library.HOURLY] = [1, 2, 3, 4, 6, 12, 24]  # without 24 it warns for 61 to 71 hours
    axes.xaxis.set_major_locator(locator)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high - LABEL * (high - low)]
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(library.ConciseDateFormatter(locator))


def _draw_labels(pictures: Pictures, shown: Labels, index: int) -> Markup:
    truth, predicted = shown.truth[:, index], shown.forecast[:, index]
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())

    def paint(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=GRAY, linewidth=0.8, linestyle="--", label="predicted = true")
        axes.plot(truth, predicted, ".", color=BLUE, markersize=3.5, alpha=0.6, rasterized=len(truth) > 300)
        axes.set_xlabel(f"true {short(shown.targets[index], 20)}")
        axes.set_ylabel("predicted")
        axes.legend(loc="upper left")

    gap = np.abs(truth - predicted).mean()
    alt = f"{shown.dataset}, {shown.targets[index]}: predicted against true labels, mean absolute error {gap:.4g}."
    return pictures.draw(paint, alt, height=2.7)


def _draw_confusion(pictures: Pictures, shown: Confusion) -> Markup:
    occurring = np.flatnonzero(shown.counts.sum(axis=1))  # classes that occur in this dataset
    counts, size = shown.counts[occurring], len(shown.classes)
    shares = counts / counts.sum(axis=1, keepdims=True)

    def paint(axes: Axes) -> None:
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, rasterized=size > 40)
        axes.invert_yaxis()
        for row, column in np.ndindex(counts.shape) if size <= MANY_CLASSES else ():
            if counts[row, column]:
                color = "#ffffff" if shares[row, column] > 0.5 else "#111111"
                axes.text(
                    column + 0.5, row + 0.5, str(counts[row, column]), ha="center", va="center", color=color, fontsize=7
                )
        for classes, axis in ((np.arange(size), axes.xaxis), (occurring, axes.yaxis)):
            every = -(-len(classes) // 30)
            axis.set_ticks(
                np.arange(len(classes))[::every] + 0.5, [short(shown.classes[index], 12) for index in classes[::every]]
            )
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    right, all_ = int(np.trace(shown.counts)), int(counts.sum())
    alt = f"{shown.dataset}: confusion matrix of {size} classes; {right} of {all_} samples are classified correctly."
    return pictures.draw(paint, alt, height=min(1.4 + 0.2 * len(occurring), 3.2))
