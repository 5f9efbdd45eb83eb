"""The pictures of what a model says: windows with their forecasts, points against the diagonal, classes against classes."""

from __future__ import annotations

import numpy as np

from workflows.report.forecasts import Confusion, Labels, Shown, Window, Windows, spread
from workflows.report.picture import BLUE, GRAY, ORANGE, Axes, Pictures, short

MANY_CLASSES = 12  # whose counts are written into the cells
MOST_TARGETS = 3  # of a dataset that are drawn
SEEN_BEFORE = 3  # horizons of history beside a forecast, where there are that many


def draw_shown(pictures: Pictures, shown: Shown, num_datasets: int) -> list[str]:
    """The pictures of one dataset; with many datasets only its first target's."""
    if isinstance(shown, Confusion):
        return [_draw_confusion(pictures, shown)]
    places = chosen_targets(len(shown.targets), num_datasets)
    if isinstance(shown, Labels):
        return [_draw_labels(pictures, shown, place) for place in places]
    return [_draw_window(pictures, shown, window, place) for place in places for window in shown.windows]


def chosen_targets(num_targets: int, num_datasets: int) -> list[int]:
    """The targets that are drawn: the first and the last and one between; of each of many datasets the first alone."""
    return [int(place) for place in spread(num_targets, MOST_TARGETS if num_datasets <= 4 else 1)]


def _draw_window(pictures: Pictures, shown: Windows, window: Window, place: int) -> str:
    target, horizon = shown.targets[place], len(window.truth)
    history = window.history[-max(SEEN_BEFORE * horizon, 24) :, place]
    truth, said = window.truth[:, place], window.forecast[:, place]
    ahead = np.arange(1, horizon + 1)

    def paint(axes: Axes) -> None:
        axes.axvline(0.5, color=GRAY, linewidth=0.7, linestyle=":")
        axes.plot(np.arange(1 - len(history), 1), history, color=GRAY, label="seen")
        if window.low is not None and window.high is not None:
            axes.fill_between(ahead, window.low[:, place], window.high[:, place], color=ORANGE, alpha=0.25, linewidth=0)
        # From the last value that was seen, so that one step ahead is a line too.
        axes.plot(np.arange(horizon + 1), [history[-1], *truth], color=BLUE, label="truth")
        axes.plot(
            ahead,
            said,
            color=ORANGE,
            linestyle="--",
            marker="o" if horizon <= 12 else None,
            markersize=2.5,
            label="forecast",
        )
        axes.set_title(f"{window.kind}: mean absolute error {window.error:.2f} scaled", loc="left")
        axes.set_xlabel("steps from the last one seen")
        axes.set_ylabel(short(target, 24))
        axes.locator_params(axis="y", nbins=6)
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))
        axes.legend(loc="best")

    gap = np.abs(truth - said).mean()
    alt = (
        f"{shown.dataset}, {target}, a {window.kind} window: the forecast of {horizon} steps is {gap:.4g} from the truth on "
        f"average; the truth goes from {np.nanmin(truth):.4g} to {np.nanmax(truth):.4g}."
    )
    return pictures.draw(paint, alt, fixed=True)


def _draw_labels(pictures: Pictures, shown: Labels, place: int) -> str:
    truth, said = shown.truth[:, place], shown.forecast[:, place]
    low, high = min(truth.min(), said.min()), max(truth.max(), said.max())

    def paint(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=GRAY, linewidth=0.8, linestyle="--", label="forecast = truth")
        axes.plot(truth, said, ".", color=BLUE, markersize=3.5, alpha=0.6, rasterized=len(truth) > 300)
        axes.set_xlabel(f"true {short(shown.targets[place], 20)}")
        axes.set_ylabel("predicted")
        axes.legend(loc="upper left")

    gap = np.abs(truth - said).mean()
    alt = f"{shown.dataset}, {shown.targets[place]}: predicted against true, {gap:.4g} apart on average."
    return pictures.draw(paint, alt, height=2.7)


def _draw_confusion(pictures: Pictures, shown: Confusion) -> str:
    there = np.flatnonzero(shown.counts.sum(axis=1))  # the classes that this dataset has
    counts, size = shown.counts[there], len(shown.classes)
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
        for places, axis in ((np.arange(size), axes.xaxis), (there, axes.yaxis)):
            every = -(-len(places) // 30)
            axis.set_ticks(np.arange(len(places))[::every] + 0.5, [short(shown.classes[p], 12) for p in places[::every]])
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    right, all_ = int(np.trace(shown.counts)), int(counts.sum())
    alt = f"{shown.dataset}: confusion matrix of {size} classes; {right} of {all_} samples have their own class."
    return pictures.draw(paint, alt, height=min(1.4 + 0.2 * len(there), 3.2))
