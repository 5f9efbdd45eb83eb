"""The picture of a search, as SVG: error by cost, the Pareto front, and what each searched value does."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
MAX_EFFECTS = 10  # panels; a search over 500 datasets has as many epochs


def effects(trials: Sequence[Facts]) -> dict[str, dict[Any, list[float]]]:
    """For each searched name, the mean scaled errors of the trials with each of its values, in rising order."""
    found: dict[str, dict[Any, list[float]]] = {}
    for trial in trials:
        for name, value in trial["config"].items():
            shown = value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
            found.setdefault(name, {}).setdefault(shown, []).append(trial["metrics"]["mean_scaled_error"])
    return {
        name: dict(sorted(values.items(), key=lambda each: (str(type(each[0])), each[0]))) for name, values in found.items()
    }


def plot_search(result: Facts) -> bytes:
    """The picture; trials that were stopped or failed are not in it."""
    # A figure of its own, without pyplot: no window system, and nothing kept from one picture to the next.
    from matplotlib.figure import Figure

    trials = [
        trial
        for trial in result["trials"]
        if trial["stopped_after"] is None and trial["metrics"].get("mean_scaled_error") is not None
    ]
    names = effects(trials)
    shown = [name for name in names if len(names[name]) > 1][:MAX_EFFECTS]
    columns = 3
    rows = -(-(2 + len(shown)) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    front = [trial for number in result["pareto"] for trial in trials if trial["number"] == number]
    _scatter(panels[0], trials, [trial["samples"] for trial in trials], "training samples seen", result["best"])
    forgotten = [trial for trial in trials if trial["metrics"]["forgetting"] is not None]
    _scatter(panels[1], forgotten, [trial["metrics"]["forgetting"] for trial in forgotten], "forgetting", result["best"])
    line = [(trial["metrics"]["forgetting"], trial["metrics"]["mean_scaled_error"]) for trial in front]
    if line:
        panels[1].plot(*zip(*sorted(line), strict=True), color="tab:red", marker="o", markersize=4, label="Pareto front")
        panels[1].legend()
    for panel, name in zip(panels[2:], shown, strict=False):
        values = names[name]
        places: Sequence[Any] = list(values)
        if not all(isinstance(value, (int, float)) for value in places):
            places = range(len(values))
            panel.set_xticks(list(places), [str(value)[:20] for value in values])
        for place, errors in zip(places, values.values(), strict=True):
            panel.plot([place] * len(errors), errors, ".", color="tab:gray", alpha=0.4)
        panel.plot(places, [sum(errors) / len(errors) for errors in values.values()], color="tab:blue", label="mean")
        panel.plot(places, [min(errors) for errors in values.values()], color="tab:green", label="lowest")
        panel.set_xlabel(name)
        panel.set_ylabel("mean scaled error")
        panel.legend()
    for panel in panels[2 + len(shown) :]:
        panel.set_visible(False)
    figure.suptitle(f"{result['name']}: {len(result['trials'])} trials, {result['epochs_requested']} epochs asked for")
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    return picture.getvalue()


def _scatter(panel: Any, trials: Sequence[Facts], places: Sequence[float], label: str, best: int | None) -> None:
    errors = [trial["metrics"]["mean_scaled_error"] for trial in trials]
    panel.plot(places, errors, ".", color="tab:gray")
    for place, trial, error in zip(places, trials, errors, strict=True):
        if trial["number"] == best:
            panel.plot([place], [error], "*", color="tab:red", markersize=12, label=f"best: trial {best}")
            panel.legend()
    panel.set_xlabel(label)
    panel.set_ylabel("mean scaled error")
