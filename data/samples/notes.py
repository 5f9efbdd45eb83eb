"""Warn about the times of series: steps that differ, numbers that look like dates, unknown zones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.columnwise import of_columns
from data.reading.frequency import LOCAL_UNITS
from data.reading.looks import date_like, usual_calendar
from data.reading.read import FILE_AS_SERIES, number_columns
from data.reading.settings import DatasetSource
from data.reading.times import AS_NUMBERS, show_step
from data.samples.series import Series, irregular_steps

FEW = 5  # names in a sentence
MARKS_FOR_MISSING = {-9999.0, -999.0, -99.0, -200.0, -99999.0, -1.0, 999.0, 9999.0, 99999.0, 999999.0}
FAR = 2.0  # ranges of all other values
Steps = dict[str, tuple[int, str]]  # by usual step as text: the number of series with it, and the name of one


def time_notes(series: Sequence[Series], source: DatasetSource, begins: Sequence[bool] | None = None) -> list[str]:
    """Return one warning of each kind, about the first series it applies to; about steps only if series are whole.

    If series are cut, `begins` says which stretches begin one.
    """
    settings, whole = source.settings, begins is None
    notes: dict[str, str] = {}
    for number, each in enumerate(series):
        if each.times is None or not len(each):
            continue
        looks = None
        if each.times.kind == "number" and settings.time_unit != AS_NUMBERS and (begins is None or begins[number]):
            looks = date_like(each.times.value)
        if looks is not None:
            notes.setdefault(
                "looks",
                f"its times, such as {each.times.show(0)}, look like dates and are taken as plain numbers: write {looks}, "
                'or time_unit = "step" if they are not dates',
            )
        if whole and settings.grid is None and (irregular := irregular_steps(each)):
            notes.setdefault("irregular", irregular)
            looks_like = usual_calendar(each.times.value) if each.times.kind == "date" else None
            if looks_like:
                notes.setdefault("months", f'its steps look like those of a calendar: write frequency = "{looks_like}"')
        if settings.grid and settings.grid.unit in LOCAL_UNITS and each.times.zoned and each.times.zone is None:
            notes.setdefault("days", 'its days are in UTC: write time_zone = "Europe/Berlin", or what it is, for local ones')
        if settings.calendar and each.times.zoned and each.times.zone is None:
            notes.setdefault("calendar", "calendar is in UTC: write time_zone for the local hour and day")
    notes |= _marks_for_missing(series, source)
    if settings.time is None and len(source.files) > 1 and settings.series != FILE_AS_SERIES:
        names = [each.name for each in series]
        shown = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
        what = "each file is one series" if settings.series is None else "a series ends where its file ends"
        notes["untimed"] = f"{len(source.files)} files without a time column: {what}, in the order {shown}"
    return list(notes.values())


def _marks_for_missing(series: Sequence[Series], source: DatasetSource) -> dict[str, str]:
    """Return a warning for each column with a repeated number, far from all others, that often means missing."""
    notes = {}
    filled = [each for each in series if len(each)]
    # Most columns have no such number as minimum or maximum and need no further look.
    ends = [of_columns(end, each.numbers) for each in filled for end in (np.fmin, np.fmax)]
    for index, name in enumerate(number_columns(source)):
        columns = [each.numbers[:, index] for each in filled if index < each.numbers.shape[1]]
        for mark in {float(each[index]) for each in ends if index < len(each)} & MARKS_FOR_MISSING:
            values = np.concatenate(columns)
            rest = values[~np.isnan(values) & (values != mark)]
            count = int((values == mark).sum())
            if count < 2 or len(rest) < 2:
                continue
            low, high = float(rest.min()), float(rest.max())
            if max(low - mark, mark - high) > FAR * (high - low):
                notes[f"mark {name}"] = (
                    f"column {name!r} is {mark:g} in {count:,} rows, far from all other values: write missing_values = "
                    f"[{mark:g}] if that means missing"
                )
    return notes


def usual_steps(series: Sequence[Series]) -> Steps:
    """Return the usual steps of time of the series, by their median."""
    steps: Steps = {}
    for each in series:
        if each.times is not None and len(each) > 2:
            step = show_step(int(np.median(np.diff(each.times.value))), each.times.kind)
            count, name = steps.get(step, (0, each.name))
            steps[step] = count + 1, name
    return steps


def mixed_steps(parts: Sequence[Steps]) -> str | None:
    """Return a warning if the series of a dataset have different usual steps, or None."""
    every: Steps = {}
    for part in parts:
        for step, (count, name) in part.items():
            every[step] = every.get(step, (0, name))[0] + count, every.get(step, (0, name))[1]
    if len(every) < 2 or any(step.startswith("about") for step in every):
        return None
    ranked = sorted(every.items(), key=lambda item: -item[1][0])[:FEW]
    shown = ", ".join(f"{step} in {count} ({name!r}{' ...' if count > 1 else ''})" for step, (count, name) in ranked)
    return (
        f"its series have different steps of time: {shown}; a window of as many rows then means another length of time: "
        "make a dataset of each, or write frequency"
    )
