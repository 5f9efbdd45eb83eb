"""Compare two runs over the same datasets: the effect of retention or of any other change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from data.errors import InputError
from workflows.relay.metrics import mean_of
from workflows.report.page import Cell, Figure, Marked, Paragraph, Part, Section, Table
from workflows.results.picture import BLUE, GRAY, ORANGE, Axes, Pictures, plain_ticks, short
from workflows.results.run_result import RunResult
from workflows.results.stored_runs import stored_result, stored_runs
from workflows.store.store import Store

MOST_ROWS = 40


def choose_other(store: Store, run: RunResult, against: str | None) -> RunResult | None:
    """Return the result to compare with: the named run, or the latest finished run without retention on the same data.

    A run without retention is compared only with a named run. Raises InputError if the named run does not exist or has
    no dataset in common.
    """
    if against is not None:
        other = stored_result(store, against)
        if other is None:
            raise InputError(f"--against {against}: no finished run of this name in {store.address}")
        if not set(other.datasets) & set(run.datasets):
            raise InputError(
                f"--against {against}: its datasets are {', '.join(other.datasets[:6])}; run {run.name!r} has "
                f"{', '.join(run.datasets[:6])}; name a run that shares at least one dataset"
            )
        return other
    if run.retention == "none":
        return None
    plain = [
        each
        for other, each in stored_runs(store)[0].items()
        if other != run.name
        and isinstance(each, RunResult)
        and each.status == "finished"
        and each.retention == "none"
        and each.datasets == run.datasets
        and each.prepared == run.prepared
    ]
    return max(plain, key=lambda each: each.when, default=None)


def end_errors(result: RunResult) -> dict[str, float | None]:
    """Return each dataset's validation error at the end, relative to the naive forecast."""
    matrix = result.error_matrix
    return dict(zip(matrix.datasets, matrix.scaled[-1], strict=True)) if matrix.scaled else {}


def against_section(pictures: Pictures, run: RunResult, other: RunResult) -> Section:
    """Return the section that compares the final errors and the forgetting of two runs."""
    run_errors, other_errors = end_errors(run), end_errors(other)
    names = [name for name in run_errors if name in other_errors]
    rows: list[list[Cell]] = [[name, *_row(run_errors[name], other_errors[name])] for name in names]
    rows.append(["mean", *_row(run.mean_scaled_error, other.mean_scaled_error)])
    rows.append(["forgetting", *_row(run.forgetting, other.forgetting)])
    tested = [_mean_test(each, names) for each in (run, other)]
    rows.append(["mean test error", *_row(*tested)])
    titles = [f"{each.name} ({_retention(each)})" for each in (run, other)]
    parts: list[Part] = [
        Paragraph(_in_words(run, other, titles)),
        Table(
            ["", *titles, "difference"],
            rows,
            "Final validation errors relative to the naive forecast (naive = 1); below 0 the first run is better.",
        ),
    ]
    both = [(name, run_errors[name], other_errors[name]) for name in names]
    known = [(name, a, b) for name, a, b in both if a is not None and b is not None]
    if known and len(known) <= MOST_ROWS:
        parts.append(
            Figure(_draw(pictures, known, titles), "Final error of each dataset; left of the dashed line beats naive.")
        )
    if other.datasets != run.datasets:
        parts.append(Paragraph(f"The runs have different datasets; the {len(names)} common ones are shown.", "soft"))
    return Section(f"Compared with {other.name}", parts)


def _retention(run: RunResult) -> str:
    method = run.retention
    return "no retention" if method == "none" else method


def _row(value: float | None, other: float | None) -> list[Cell]:
    gap = None if value is None or other is None else value - other
    shown = [None if each is None else f"{each:.3f}" for each in (value, other)]
    if gap is None or abs(gap) < 0.005:
        return [*shown, None if gap is None else f"{gap:+.3f}"]
    return [*shown, Marked(f"{gap:+.3f}", gap < 0)]


def _mean_test(run: RunResult, names: Sequence[str]) -> float | None:
    return mean_of([run.test[name].scaled_error for name in names if name in run.test])


def _in_words(run: RunResult, other: RunResult, titles: Sequence[str]) -> str:
    run_error, other_error = run.mean_scaled_error, other.mean_scaled_error
    if run_error is None or other_error is None:
        return f"{titles[0]} and {titles[1]}."
    words = f"Mean scaled error (naive = 1): {run_error:.3f} for {titles[0]}, {other_error:.3f} for {titles[1]}."
    run_forgetting, other_forgetting = run.forgetting, other.forgetting
    if run_forgetting is not None and other_forgetting is not None:
        words += f" Forgetting: {run_forgetting:+.3f} and {other_forgetting:+.3f}."
    return words


def _draw(pictures: Pictures, known: Sequence[tuple[str, float, float]], titles: Sequence[str]) -> Markup:
    rows = np.arange(len(known))
    run_errors, other_errors = [each[1] for each in known], [each[2] for each in known]

    def paint(axes: Axes) -> None:
        axes.hlines(rows, run_errors, other_errors, color=GRAY, linewidth=1.2)
        axes.plot(other_errors, rows, "D", color=ORANGE, markersize=4.5, label=short(titles[1], 30))
        axes.plot(run_errors, rows, "o", color=BLUE, markersize=5, label=short(titles[0], 30))
        axes.axvline(1, color=GRAY, linewidth=0.9, linestyle="--")
        axes.set_yticks(rows, [short(name) for name, _, _ in known])
        axes.invert_yaxis()
        low, high = min(*run_errors, *other_errors), max(*run_errors, *other_errors)
        if low > 0 and high > 8 * low:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis, low, high)
        axes.set_xlabel("error / naive error")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)

    alt = "Final errors of both runs: " + "; ".join(f"{name} {a:.2f} and {b:.2f}" for name, a, b in known) + "."
    return pictures.draw(paint, alt, height=1.2 + 0.2 * max(len(known), 3))
