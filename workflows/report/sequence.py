"""Draw the course of a run: learning rate, loss and errors over the optimizer steps, with a band for each dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup

from workflows.report.timeline import StageLine
from workflows.results.picture import BLUE, GRAY, GREEN, LINES, MARKERS, ORANGE, Axes, Pictures, plain_ticks, short

Row = Sequence[float | None]
MANY = 7  # lines that a reader can distinguish
MANY_NAMES = 30  # datasets; with more, bands are numbered
MOST_WORDS = 12  # datasets named in the text alternative of a picture
POINTS = 60  # learning rates drawn for each epoch


def draw_rates(pictures: Pictures, stages: Sequence[StageLine]) -> Markup:
    """Draw the learning rate over the steps."""

    def paint(axes: Axes) -> None:
        _bands(axes, stages)
        for stage in stages:
            step = stage.first_step
            for epoch in stage.epochs:
                chosen = np.unique(np.linspace(0, epoch.steps - 1, POINTS).astype(int)) if epoch.rates.std() else [0, -1]
                steps = step + np.arange(1, epoch.steps + 1) if epoch.steps > 1 else np.array([step, step + 1])
                rates = epoch.rates if epoch.steps > 1 else np.repeat(epoch.rates, 2)
                axes.plot(steps[chosen], rates[chosen], color=BLUE)
                step += epoch.steps
        axes.set_ylim(bottom=0)
        axes.set_ylabel("learning rate")

    return pictures.draw(paint, f"Learning rate over the optimizer steps. {_rates_in_words(stages)}")


def _rates_in_words(stages: Sequence[StageLine]) -> str:
    tops = [max(float(epoch.rates.max()) for epoch in stage.epochs) for stage in stages if stage.epochs]
    return f"The highest rate is {tops[0]:.3g} in the first dataset and {tops[-1]:.3g} in the last." if tops else ""


def draw_losses(pictures: Pictures, stages: Sequence[StageLine], error: str) -> Markup:
    """Draw the train loss and the validation error of each dataset during its own stage."""
    size = 3 if len(stages) <= MANY_NAMES else 1

    def paint(axes: Axes) -> None:
        _bands(axes, stages)
        for number, stage in enumerate(stages):
            ends = stage.first_step + np.cumsum([epoch.steps for epoch in stage.epochs])
            losses = [(end, e.train_loss) for end, e in zip(ends, stage.epochs, strict=True) if e.train_loss is not None]
            errors = [(end, e.error) for end, e in zip(ends, stage.epochs, strict=True) if e.error is not None]
            for points, color, marker, label in (
                (losses, BLUE, "o", "train loss"),
                (errors, ORANGE, "D", f"validation {error}"),
            ):
                if points:
                    name = "" if number else label
                    axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=size, label=name)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("loss and error")
        axes.legend(loc="best")

    last = [stage.epochs[-1].train_loss for stage in stages if stage.epochs]
    words = some(f"{stage.dataset} {loss:.3g}" for stage, loss in zip(stages, last, strict=False) if loss is not None)
    return pictures.draw(paint, f"Train loss and validation error after each epoch. Final train losses: {words}.")


def some(words: Iterable[str]) -> str:
    """Join the first MOST_WORDS items and count the rest."""
    every = list(words)
    more = f" and {len(every) - MOST_WORDS} more" if len(every) > MOST_WORDS else ""
    return "; ".join(every[:MOST_WORDS]) + more


def draw_errors(pictures: Pictures, stages: Sequence[StageLine], names: Sequence[str], scaled: Sequence[Row]) -> Markup:
    """Draw the validation error of every dataset after each stage, relative to the naive forecast."""
    ends = [0, *(stage.last_step for stage in stages)][: len(scaled)]
    columns = {name: [row[column] for row in scaled] for column, name in enumerate(names)}
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}

    size = 3 if len(columns) <= MANY_NAMES else 0
    columns_of_legend = 2 if 3 < len(columns) <= MANY else 3

    def paint(axes: Axes) -> None:
        _bands(axes, stages)
        axes.axhline(1, color=GRAY, linewidth=0.9, linestyle="--", label="naive forecast")
        for number, (name, values) in enumerate(columns.items()):
            points = [(end, value) for end, value in zip(ends, values, strict=True) if value is not None]
            if len(columns) <= MANY:
                style = {"color": LINES[number], "marker": MARKERS[number], "markersize": 3.5, "label": short(name, 22)}
            else:
                style = {"color": GRAY, "linewidth": 0.7, "label": "" if number else "each dataset"}
            if len(columns) <= MANY_NAMES:
                axes.plot(*zip(*points, strict=True), **style)
        if len(columns) > MANY:
            for what, color, marker in ((np.nanmean, BLUE, "o"), (np.nanmax, ORANGE, "^"), (np.nanmin, GREEN, "v")):
                table = np.array([[np.nan if v is None else v for v in values] for values in columns.values()], float)
                label = {np.nanmean: "mean", np.nanmax: "worst", np.nanmin: "best"}[what]
                axes.plot(ends, what(table, axis=0), color=color, marker=marker, markersize=size, label=label)
        known = [value for values in columns.values() for value in values if value is not None]
        if min(known) > 0 and max(known) > 8 * min(known):
            axes.set_yscale("log")
            plain_ticks(axes.yaxis, min(known), max(known))
        else:
            axes.set_ylim(bottom=0)
        axes.set_ylabel("error / naive error")
        axes.figure.legend(loc="outside lower center", ncols=columns_of_legend)

    rows = some(f"{name} from {_show(values[0])} to {_show(values[-1])}" for name, values in columns.items())
    lines = min(len(columns), MANY) + 1 if len(columns) <= MANY else 5
    height = 2.4 + 0.16 * -(-lines // columns_of_legend)
    alt = f"Validation error of each dataset after each stage (naive = 1): {rows}."
    return pictures.draw(paint, alt, height=height)


def _show(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _bands(axes: Axes, stages: Sequence[StageLine]) -> None:
    """Draw a band for the steps of each dataset: every second one shaded, with its name above."""
    last = max(stages[-1].last_step, 1)
    names = len(stages) <= MANY_NAMES
    crowded = any(len(short(stage.dataset)) * last > 42 * (stage.last_step - stage.first_step) for stage in stages)
    for number, stage in enumerate(stages):
        if number % 2 and names:
            axes.axvspan(stage.first_step, stage.last_step, color=GRAY, alpha=0.16, linewidth=0)
        middle = (stage.first_step + stage.last_step) / 2
        if names or number % (len(stages) // 10) == 0:
            axes.text(
                middle, 1.02, short(stage.dataset) if names else str(number + 1), rotation=90 if crowded and names else 0,
                ha="center", va="bottom", transform=axes.get_xaxis_transform(), fontsize=7,
            )  # fmt: skip
    axes.set_xlim(0, last * 1.01)
    axes.set_xlabel("optimizer steps")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
