"""What a person should know about the times of some series: steps that differ, numbers that look like dates, zones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.reading.looks import date_like
from data.reading.read import FILE_AS_SERIES
from data.reading.settings import DatasetSource
from data.reading.times import AS_NUMBERS, show_step
from data.samples.series import Series, irregular_steps

FEW = 5  # names in a sentence
Steps = dict[str, tuple[int, str]]  # how many series have a usual step, and the name of one of them, by the step as text


def time_notes(series: Sequence[Series], source: DatasetSource, whole: bool = True) -> list[str]:
    """A sentence for each kind of thing, told of the first series that has it; of steps only where series are whole."""
    settings = source.settings
    found: dict[str, str] = {}
    for each in series:
        if each.times is None or not len(each):
            continue
        looks = date_like(each.times.value) if each.times.kind == "number" and settings.time_unit != AS_NUMBERS else None
        if looks is not None:
            found.setdefault(
                "looks",
                f"its times, such as {each.times.show(0)}, look like dates and are taken as plain numbers: write {looks}, "
                'or time_unit = "step" if they are no dates',
            )
        if whole and settings.grid is None and (irregular := irregular_steps(each)):
            found.setdefault("irregular", irregular)
        if settings.calendar and each.times.zoned and each.times.zone is None:
            found.setdefault("calendar", "calendar is that of UTC: write time_zone for the local hour and day")
    if settings.time is None and len(source.files) > 1 and settings.series != FILE_AS_SERIES:
        names = [each.name for each in series]
        shown = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
        what = "each is a series of its own" if settings.series is None else "a series ends where its file ends"
        found["untimed"] = f"{len(source.files)} files without a time column: {what}, in the order {shown}"
    return list(found.values())


def usual_steps(series: Sequence[Series]) -> Steps:
    """The usual steps of time of the series, by their median."""
    found: Steps = {}
    for each in series:
        if each.times is not None and len(each) > 2:
            step = show_step(int(np.median(np.diff(each.times.value))), each.times.kind)
            count, name = found.get(step, (0, each.name))
            found[step] = count + 1, name
    return found


def mixed_steps(parts: Sequence[Steps]) -> str | None:
    """A warning where the series of one dataset have different usual steps, or None."""
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
