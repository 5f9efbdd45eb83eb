"""Find the end of the history of new rows, and check that the rows after it have the known columns of the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.reading.settings import DataSettings
from data.samples.series import Series, take_rows


@dataclass(frozen=True)
class SeriesHistory:
    """A series with `history` observed rows, followed by at most as many rows as a forecast has steps.

    `notes` say what was left out, `problem` why its last window cannot have a forecast.
    """

    series: Series
    history: int
    notes: tuple[str, ...] = ()
    problem: str | None = None


def end_of_history(each: Series, settings: DataSettings, ahead: int) -> SeriesHistory:
    """Return the series up to its last observed row; rows after it only request a forecast.

    With known_future columns, up to `ahead` rows after it are kept, until the first gap in these columns.
    """
    columns = observed_columns(settings)
    observed_rows = np.flatnonzero((~np.isnan(each.numbers[:, columns])).any(axis=1))
    if not len(observed_rows):
        return SeriesHistory(each, len(each))
    history = int(observed_rows[-1]) + 1
    last = "" if each.times is None else f" ({each.times.show(history - 1)})"
    if settings.known_future:
        return _with_future(each, settings, ahead, history, last)
    if history == len(each):
        return SeriesHistory(each, history)
    left = len(each) - history
    note = f"series {each.name!r}: the last {left} rows are empty: it ends at the last observed row{last}"
    return SeriesHistory(take_rows(each, slice(0, history)), history, (note,))


def _with_future(each: Series, settings: DataSettings, ahead: int, history: int, last: str) -> SeriesHistory:
    behind = each.numbers[history : history + ahead, known_indices(settings)]
    empty = np.isnan(behind)
    whole = int(empty.any(axis=1).argmax()) if empty.any() else len(behind)  # rows without a gap
    kept = take_rows(each, slice(0, history + whole))
    if whole == ahead:
        return SeriesHistory(kept, history)
    names = ", ".join(settings.known_future)
    wanted = f"a forecast needs {names} at the {ahead} steps after its last observed row{last}"
    if whole < len(behind):
        column = settings.known_future[int(empty[whole].argmax())]
        step = f"step {whole + 1}" if each.times is None else f"{each.times.show(history + whole)}"
        problem = f"{column!r} is empty at {step}, and {wanted}: fill it"
    else:
        problem = f"{wanted}, and has {whole} of these rows: add the others with these columns filled and the targets empty"
    return SeriesHistory(kept, history, (), f"{each.where}, series {each.name!r}: {problem}")


def observed_columns(settings: DataSettings) -> list[int]:
    """Return the features that make a row observed: the targets among them, or all that are not known before."""
    features = settings.features
    targets = [index for index, name in enumerate(features) if name in settings.targets]
    before = {*settings.static, *settings.known_future}
    return targets or [index for index, name in enumerate(features) if name not in before]


def known_indices(settings: DataSettings) -> list[int]:
    """Return the indices of the known_future columns among the features."""
    return [settings.features.index(name) for name in settings.known_future]


def raise_problems(ended: list[SeriesHistory], shortest: int) -> None:
    """Raise InputError with the problems of the last windows of series; series too short for a window are ignored."""
    problems = [each.problem for each in ended if each.problem is not None and each.history >= shortest]
    if problems:
        raise InputError(problems)
