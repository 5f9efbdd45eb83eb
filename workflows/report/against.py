"""Two runs over the same datasets side by side: what retention, or any other change, is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import InputError
from workflows.relay.metrics import mean_of
from workflows.report.page import Cell, Html, Section, figure, marked, paragraph, table
from workflows.report.picture import BLUE, GRAY, ORANGE, Axes, Pictures, plain_ticks, short
from workflows.store.store import Store

Facts = Mapping[str, Any]
MOST_ROWS = 40
ENDED = ("finished", "stopped", "rolled back")


def choose_other(store: Store, name: str, run: Facts, against: str | None) -> Facts | None:
    """The result to compare with: the named one, else the latest finished plain sequence over the same datasets.

    Raises InputError where the named one is not there or has no dataset in common. A run without retention is compared
    only with what is named.
    """
    if against is not None:
        other = store.result(against)
        if other is None:
            raise InputError(f"--against {against}: there is no finished run of this name in {store.address}")
        if not set(other["datasets"]) & set(run["datasets"]):
            raise InputError(
                f"--against {against}: it has the datasets {', '.join(other['datasets'][:6])}, run {name!r} has "
                f"{', '.join(run['datasets'][:6])}: name a run that has some of them"
            )
        return other
    if run.get("retention", "none") == "none":
        return None
    results = [store.result(each) for each in store.storage.names("runs") if each != name]
    plain = [
        each
        for each in results
        if each is not None
        and each.get("status") == "finished"
        and each.get("retention") == "none"
        and each["datasets"] == run["datasets"]
        and each.get("prepared") == run.get("prepared")
    ]
    return max(plain, key=lambda each: float(each["when"]), default=None)


def end_errors(result: Facts) -> dict[str, float | None]:
    """Each dataset's validation error at the end, in units of the naive forecast's."""
    matrix = result["error_matrix"]
    return dict(zip(matrix["datasets"], matrix["scaled"][-1], strict=True)) if matrix["scaled"] else {}


def compared(pictures: Pictures, run: Facts, other: Facts) -> Section:
    """Errors at the end and what was forgotten, of both runs."""
    mine, theirs = end_errors(run), end_errors(other)
    names = [name for name in mine if name in theirs]
    rows: list[list[Cell]] = [[name, *_row(mine[name], theirs[name])] for name in names]
    rows.append(["mean", *_row(run.get("mean_scaled_error"), other.get("mean_scaled_error"))])
    rows.append(["forgetting", *_row(run.get("forgetting"), other.get("forgetting"))])
    tested = [_mean_test(each, names) for each in (run, other)]
    rows.append(["mean over the tests", *_row(*tested)])
    titles = [f"{each['name']} ({_retention(each)})" for each in (run, other)]
    parts = [
        paragraph(_in_words(run, other, titles)),
        table(
            ["", *titles, "difference"],
            rows,
            "Validation errors at the end, in units of the naive forecast's; a difference below 0 is for the first run.",
        ),
    ]
    both = [(name, mine[name], theirs[name]) for name in names]
    known = [(name, a, b) for name, a, b in both if a is not None and b is not None]
    if known and len(known) <= MOST_ROWS:
        parts.append(
            figure(_draw(pictures, known, titles), "Error at the end of each dataset; left of the dashed line beats naive.")
        )
    if other["datasets"] != run["datasets"]:
        parts.append(paragraph(f"The two runs do not have the same datasets: {len(names)} are in both.", "soft"))
    return Section(f"Compared with {other['name']}", parts)


def _retention(run: Facts) -> str:
    method = run.get("retention", "none")
    return "no retention" if method == "none" else method


def _row(mine: float | None, theirs: float | None) -> list[Cell]:
    gap = None if mine is None or theirs is None else mine - theirs
    shown = [None if each is None else f"{each:.3f}" for each in (mine, theirs)]
    return [*shown, None if gap is None else marked(f"{gap:+.3f}", None if abs(gap) < 0.005 else gap < 0)]


def _mean_test(run: Facts, names: Sequence[str]) -> float | None:
    return mean_of([run["test"][name]["scaled_error"] for name in names if name in run["test"]])


def _in_words(run: Facts, other: Facts, titles: Sequence[str]) -> Html | str:
    mine, theirs = run.get("mean_scaled_error"), other.get("mean_scaled_error")
    if mine is None or theirs is None:
        return f"{titles[0]} beside {titles[1]}."
    words = f"Mean error at the end: {mine:.3f} of the naive forecast's with {titles[0]}, {theirs:.3f} with {titles[1]}."
    kept, lost = run.get("forgetting"), other.get("forgetting")
    if kept is not None and lost is not None:
        words += f" Forgetting: {kept:+.3f} against {lost:+.3f}."
    return words


def _draw(pictures: Pictures, known: Sequence[tuple[str, float, float]], titles: Sequence[str]) -> str:
    places = np.arange(len(known))
    mine, theirs = [each[1] for each in known], [each[2] for each in known]

    def paint(axes: Axes) -> None:
        axes.hlines(places, mine, theirs, color=GRAY, linewidth=1.2)
        axes.plot(theirs, places, "D", color=ORANGE, markersize=4.5, label=short(titles[1], 30))
        axes.plot(mine, places, "o", color=BLUE, markersize=5, label=short(titles[0], 30))
        axes.axvline(1, color=GRAY, linewidth=0.9, linestyle="--")
        axes.set_yticks(places, [short(name) for name, _, _ in known])
        axes.invert_yaxis()
        low, high = min(*mine, *theirs), max(*mine, *theirs)
        if low > 0 and high > 8 * low:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis, low, high)
        axes.set_xlabel("error / naive error")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)

    alt = "Errors at the end of both runs: " + "; ".join(f"{name} {a:.2f} and {b:.2f}" for name, a, b in known) + "."
    return pictures.draw(paint, alt, height=1.2 + 0.2 * max(len(known), 3))
