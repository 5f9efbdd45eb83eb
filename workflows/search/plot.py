"""Draw a search: error by cost, the Pareto front, and the effect of each searched value.

search.svg and the report show the same panels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from workflows.results.picture import BLUE, GRAY, GREEN, ORANGE, Axes, Panel, draw_sheet, plain_ticks, short
from workflows.results.search_result import SearchResult, TrialResult

MAX_EFFECTS = 10  # panels; a search over 500 datasets has as many epoch choices
WIDE = 20  # ratio of highest to lowest value; above it the axis is logarithmic
LEGEND_ROOM = 0.18  # space above the points, relative to their height
ERROR_LABEL = "mean error / naive"


def effects(trials: Sequence[TrialResult]) -> dict[str, dict[Any, list[float]]]:
    """Return, for each searched key and each of its values in rising order, the mean scaled errors of the trials."""
    errors_of: dict[str, dict[Any, list[float]]] = {}
    for trial in trials:
        for name, value in trial.config.items():
            level = value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
            errors_of.setdefault(name, {}).setdefault(level, []).append(_error(trial))
    return {
        name: dict(sorted(values.items(), key=lambda each: (str(type(each[0])), each[0])))
        for name, values in errors_of.items()
    }


def search_panels(search: SearchResult) -> list[Panel]:
    """Return the panels that compare the trials: error by cost, and the Pareto front if forgetting was measured."""
    trials = search.complete
    if not trials:
        return []
    panels = [_cost_panel(search, trials)]
    if search.beam_width is not None:
        panels.insert(0, _tree_panel(search))
    measured = [trial for trial in trials if trial.metrics.forgetting is not None]
    if measured:
        panels.append(_front_panel(search, measured))
    return panels


def effect_panels(search: SearchResult) -> list[Panel]:
    """Return one panel for each searched key with more than one value."""
    return [_effect_panel(name, values) for name, values in effects(search.complete).items() if len(values) > 1]


def plot_search(search: SearchResult) -> bytes:
    """Return search.svg; stopped and failed trials are left out."""
    panels = [*search_panels(search), *effect_panels(search)[:MAX_EFFECTS]]
    title = f"{search.name}: {len(search.trials)} trials, {search.epochs_requested} epochs requested"
    return draw_sheet(panels, title)


def _cost_panel(search: SearchResult, trials: Sequence[TrialResult]) -> Panel:
    errors = [_error(trial) for trial in trials]

    def paint(axes: Axes) -> None:
        axes.plot([trial.samples for trial in trials], errors, "o", color=BLUE, alpha=0.55, markersize=3.5)
        best = search.best_trial
        if best is not None:
            _star(axes, best, best.samples)
            _legend(axes)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("training samples")
        axes.set_ylabel(ERROR_LABEL)

    alt = f"Error of each trial by its cost. Lowest of {len(trials)} errors {min(errors):.3f}, highest {max(errors):.3f}."
    return Panel(paint, "Error by cost", alt)


def _front_panel(search: SearchResult, trials: Sequence[TrialResult]) -> Panel:
    points = {trial.number: (trial.metrics.forgetting or 0.0, _error(trial)) for trial in trials}
    front = sorted(point for number, point in points.items() if number in search.pareto)

    def paint(axes: Axes) -> None:
        axes.plot(*zip(*points.values(), strict=True), "o", color=BLUE, alpha=0.55, markersize=3.5)
        if front:
            axes.plot(*zip(*front, strict=True), color=GREEN, marker="D", markersize=4, label="Pareto front")
        best = search.best_trial
        if best is not None and best.number in points:
            _star(axes, best, points[best.number][0])
        axes.locator_params(axis="x", nbins=4)  # more labels with many digits would overlap
        axes.set_xlabel("forgetting (counts from 0)")
        axes.set_ylabel(ERROR_LABEL)
        if front or best is not None:
            _legend(axes)

    alt = f"Error against forgetting of each trial; {len(front)} trials are on the Pareto front."
    return Panel(paint, "Error and forgetting, with the Pareto front", alt)


def _tree_panel(search: SearchResult) -> Panel:
    """Draw every trial of a beam search by its number of datasets, connected to the trial that it extends."""
    path = {trial.number for trial in search.way_to_best}
    tried = [each for each in search.trials if each.level is not None and each.metrics.mean_scaled_error is not None]
    by_number = {each.number: each for each in tried}
    kept = {each.parent for each in tried} | path

    def paint(axes: Axes) -> None:
        lines: list[tuple[set[int | None], str, float, float, str]] = [
            ({*by_number}, GRAY, 0.35, 0.7, "tried"),
            (kept, BLUE, 0.9, 1.2, "kept"),
            ({*path}, ORANGE, 1.0, 2.0, "best"),
        ]
        for chosen, color, alpha, width, label in lines:
            xs: list[float] = []
            ys: list[float] = []
            for each in tried:
                if each.number in chosen:
                    parent = [] if each.parent is None else [by_number[each.parent]]
                    xs += [*(float(each.level or 0) for each in (*parent, each)), math.nan]
                    ys += [*(_error(each) for each in (*parent, each)), math.nan]
            axes.plot(xs, ys, color=color, alpha=alpha, linewidth=width, marker=".", markersize=3, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=7)
        axes.set_xlabel("datasets trained")
        axes.set_ylabel(ERROR_LABEL)
        _legend(axes)

    alt = f"Tree of the beam search: {len(tried)} trials, of which {len(kept - {None})} were extended or are the best."
    return Panel(paint, f"Prefixes that were kept (width {search.beam_width})", alt)


def _effect_panel(name: str, values: Mapping[Any, Sequence[float]]) -> Panel:
    numeric = all(isinstance(value, (int, float)) for value in values)
    positions: list[Any] = list(values) if numeric else list(range(len(values)))
    means = [sum(errors) / len(errors) for errors in values.values()]
    lowest = [min(errors) for errors in values.values()]

    def paint(axes: Axes) -> None:
        for position, errors in zip(positions, values.values(), strict=True):
            axes.plot([position] * len(errors), errors, "o", color=GRAY, alpha=0.4, markersize=3)
        # A line between categories would suggest values between them.
        line = "-" if numeric else "none"
        axes.plot(positions, means, color=BLUE, linestyle=line, marker="s", markersize=4, label="mean")
        axes.plot(positions, lowest, color=GREEN, linestyle=line, marker="v", markersize=4, label="lowest")
        if not numeric:
            long = max(len(value) for value in values) * len(values) > 40
            labels = [short(value, 16) for value in values]
            axes.set_xticks(positions, labels, rotation=30 if long else 0, ha="right" if long else "center")
            axes.margins(x=0.15)
        elif min(positions) > 0 and max(positions) > WIDE * min(positions):
            axes.set_xscale("log")
            plain_ticks(axes.xaxis, min(positions), max(positions), steps=(1,))
        elif len(positions) <= 5 and _spread(positions):
            axes.set_xticks(positions, [f"{value:g}" for value in values])
        else:
            axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(short(name, 40))
        axes.set_ylabel(ERROR_LABEL)
        _legend(axes)

    shown = ", ".join(f"{short(str(value), 20)}: {min(errors):.3f}" for value, errors in list(values.items())[:12])
    return Panel(paint, f"Effect of {short(name, 40)}", f"Lowest mean error for each value of {name}: {shown}.")


def _spread(values: Sequence[float]) -> bool:
    """Return whether labels at these values fit side by side on a linear axis."""
    gaps = [after - before for before, after in itertools.pairwise(values)]
    return min(gaps) > 0.12 * (values[-1] - values[0])


def _legend(axes: Axes) -> None:
    """Extend the axis and show the legend above all points."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + LEGEND_ROOM * (high - low))
    axes.legend(loc="upper center", ncols=3, borderaxespad=0.0, columnspacing=1.2, handletextpad=0.4)


def _star(axes: Axes, best: TrialResult, x: float) -> None:
    axes.plot([x], [_error(best)], "*", color=ORANGE, markersize=11, label=f"best: trial {best.number}")


def _error(trial: TrialResult) -> float:
    return trial.metrics.objective("mean_scaled_error")
