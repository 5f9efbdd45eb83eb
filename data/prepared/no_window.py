"""Explain why readable new rows give no forecast."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InputError
from data.reading.settings import DatasetSource
from data.samples.new_part import NewPart


class NoWindowError(InputError):
    """The new rows are readable, but give no forecast."""


def why_no_window(parts: Sequence[NewPart], source: DatasetSource, ahead: int) -> NoWindowError:
    """Return why no part has a window, and what to write instead."""
    settings = source.settings
    histories = [series for part in parts for series in zip(part.history, part.names, strict=True)]
    if not histories:
        values = " and ".join(f"{column} = {value!r}" for column, value in source.where.items())
        return NoWindowError(f"dataset {source.name!r}: no row of the files has {values}: give files that hold such rows")
    rows, name = max(histories)
    if rows < settings.shortest_history:
        return NoWindowError(
            f"no series has the {settings.shortest_history} rows of one window (min_lookback); the longest, {name!r}, has "
            f"{rows}: give the rows before them too"
        )
    if any(part.unforeseen for part in parts):
        return NoWindowError(
            f"no window has {', '.join(settings.known_future)} at the {ahead} rows behind it, which a forecast needs: add "
            "rows with these columns filled and the targets empty"
        )
    if any(part.unobserved for part in parts):
        names = [name for part in parts for name in part.unobserved]
        wanted = [name for name in settings.features if name in settings.targets] or settings.features
        return NoWindowError(
            f"no row of series {names[0]!r} has a value of {', '.join(wanted)} within a window: a forecast would come "
            "from filled values alone: give rows with observed values"
        )
    return NoWindowError('every window has a missing value, and the model was trained with missing = "drop": fill them')
