"""Check the settings of a dataset for contradictions; messages name the keys and what to write."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Sequence
from typing import Any

from data.reading.data_keys import DataKeys, as_list
from data.reading.frequency import parse_frequency
from data.reading.split_dates import SplitDates
from data.reading.zones import zone_problem

DIRECTIVES = set("YmdHMSyBbAaIpzjT%eDFRfZsGVuwUWcxXh")


def fixed_features_last(settings: Any) -> Any:
    """Return settings with the features that no window normalization changes last: known_future, then static ones."""
    if not isinstance(settings, dict) or not (settings.get("static") or settings.get("known_future")):
        return settings
    static, known, features = (as_list(settings.get(key, [])) for key in ("static", "known_future", "features"))
    if not (isinstance(static, list) and isinstance(known, list) and isinstance(features, list)):
        return settings  # reported by the type check
    last = [*(name for name in known if name not in static), *static]
    return {**settings, "features": [*(name for name in features if name not in last), *last]}


def settings_problems(settings: DataKeys) -> list[str]:
    """Return all contradictions between settings."""
    return [
        *_sample_problems(settings),
        *_time_problems(settings),
        *_split_problems(settings),
        *_column_problems(settings),
        *_file_problems(settings),
    ]


def missing_marks(values: Sequence[str | int | float]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the texts and the numbers that mean missing; a text that is a number is both."""
    texts = tuple(value.strip() for value in values if isinstance(value, str))
    numbers = [value for value in values if not isinstance(value, str)]
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return texts, tuple(float(number) for number in numbers)


def _sample_problems(settings: DataKeys) -> list[str]:
    problems = []
    if settings.lookback == "all" and settings.horizon != 0:
        problems.append(f'lookback = "all" makes one sample a series and needs horizon = 0, got {settings.horizon}')
    if settings.lookback == "all" and settings.split_by != "series":
        problems.append('lookback = "all" makes one sample a series and needs split_by = "series", got "time"')
    if isinstance(settings.lookback, int) and (settings.min_lookback or 0) > settings.lookback:
        problems.append(
            f"min_lookback = {settings.min_lookback} is more than lookback = {settings.lookback}: write at most that"
        )
    if settings.frequency is not None:
        try:
            parse_frequency(settings.frequency)
        except ValueError as error:
            problems.append(str(error))
    if settings.time is not None and not 1 <= len(settings.time) <= 6:
        problems.append(f"time = {settings.time} must be one column, or the columns year, month, day, hour, minute, second")
    if settings.season is not None and settings.horizon == 0:
        problems.append(f"season = {settings.season} measures forecasts and needs horizon >= 1: leave season out")
    if settings.frequency is not None and settings.time is None:
        problems.append("frequency needs a time column: name it in time, or leave frequency out")
    if settings.calendar and settings.time is None:
        problems.append("calendar needs a time column: name it in time, or leave calendar out")
    return problems


def _split_problems(settings: DataKeys) -> list[str]:
    if isinstance(settings.split, SplitDates):
        if settings.split_by == "series":
            return ['split by dates cuts in time: write fractions with split_by = "series"']
        if not settings.time:
            return ["split by dates needs a time column: name it in time, or write fractions"]
        return settings.split.problems()
    if len(settings.split) != 3 or abs(sum(settings.split) - 1) > 1e-9 or settings.split[0] == 0:
        return [f"split = {settings.split} must be three fractions (train, validation, test) that sum to 1, train above 0"]
    return []


def _column_problems(settings: DataKeys) -> list[str]:
    problems = []
    if settings.series == "":
        problems.append('series is empty: name a column, write "{file}", or leave it out')
    if settings.split_by == "series" and settings.series is None:
        problems.append('split_by = "series" needs series: name the column with their names, or "{file}"')
    for key in ("features", "targets", "categorical", "optional", "static", "known_future"):
        names = getattr(settings, key)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"{key} names {twice[0]!r} twice: name each column once")
    moving = sorted(set(settings.static) & set(settings.targets))
    if moving:
        problems.append(
            f"{moving[0]!r} is in static and in targets: what is predicted is not constant: keep it in one of them"
        )
    if settings.static and set(settings.features) == set(settings.static):
        problems.append("all features are static: name one in features that changes within a series")
    problems += _known_problems(settings)
    if settings.weight in settings.targets:
        problems.append(f"{settings.weight!r} is in weight and in targets: a sample weight cannot be a target: name another")
    both = sorted(set(settings.features) & set(settings.categorical) - set(settings.known_future))
    if both:
        problems.append(f"{both[0]!r} is in features and in categorical: keep it in one of them")
    for name in settings.optional:
        if name not in (*settings.features, *settings.categorical):
            near = difflib.get_close_matches(name, [*settings.features, *settings.categorical], 1, 0.5)
            hint = f": did you mean {near[0]!r}?" if near else ": name it there, or leave it out"
            problems.append(f"optional names {name!r}, which is not in features or categorical{hint}")
        elif name in settings.targets:
            problems.append(
                f"optional names {name!r}, which is a target, and a sample without its target cannot be trained on"
            )
    if settings.optional and settings.missing == "drop":
        problems.append(
            'missing = "drop" would leave out every sample of files that lack an optional column: write missing = '
            '"interpolate", "forward", "mean" or "zero"'
        )
    for key in ("features", "categorical"):
        leaked = sorted(set(getattr(settings, key)) & set(settings.targets)) if settings.horizon == 0 else []
        if leaked:
            problems.append(f"{leaked[0]!r} is in {key} and in targets with horizon = 0: the answer would be in the input")
    return problems


def _known_problems(settings: DataKeys) -> list[str]:
    known, problems = settings.known_future, []
    if known and settings.horizon == 0:
        problems.append("known_future describes the predicted rows and needs horizon >= 1: leave it out")
    for name in known:
        if name in settings.targets:
            problems.append(
                f"{name!r} is in known_future and in targets: what is predicted is not known: keep it in one of them"
            )
        if name in settings.static:
            problems.append(
                f"{name!r} is in known_future and in static: what is constant is known anyway: keep it in static"
            )
        if name in settings.categorical:
            problems.append(
                f"{name!r} is in known_future and in categorical: known columns are numbers: write a column of 0 and 1 for "
                "each category"
            )
    if known and set(settings.features) == {*known, *settings.static}:
        problems.append(
            "all features are known_future or static: name one in features that is not known before, as the targets"
        )
    return problems


def _time_problems(settings: DataKeys) -> list[str]:
    problems = [
        f"{key} needs a time column: name it in time, or leave {key} out"
        for key in ("time_unit", "time_zone")
        if getattr(settings, key) is not None and settings.time is None
    ]
    if settings.duplicates != "error" and settings.time is None:
        problems.append("duplicates needs a time column to compare rows: name it in time")
    if settings.time_zone is not None and (problem := zone_problem(settings.time_zone)):
        problems.append(problem)
    if settings.time_format is not None:
        unknown = [each for each in re.findall(r"%(.?)", settings.time_format) if each not in DIRECTIVES]
        if unknown or "%" not in settings.time_format:
            odd = f"the directive %{unknown[0]}" if unknown else "no directive such as %Y"
            problems.append(
                f'time_format = {settings.time_format!r} has {odd}: write it as strptime does, as "%d.%m.%Y %H:%M"'
            )
        if settings.time_unit is not None:
            problems.append("time_format and time_unit say how times are written: leave one of them out")
    return problems


def _file_problems(settings: DataKeys) -> list[str]:
    problems = []
    try:
        codecs.lookup(settings.encoding)
        "".encode(settings.encoding)
    except (LookupError, ValueError):
        problems.append(f'encoding = {settings.encoding!r} is not known: write one such as "utf-8", "latin-1", "cp1252"')
    if settings.thousands == settings.decimal:
        problems.append(f"decimal and thousands are both {settings.decimal!r}: write the decimal mark and the other one")
    if settings.delimiter in ("\n", "\r", '"') or (settings.delimiter == settings.decimal and settings.decimal != ","):
        problems.append(f'delimiter = {settings.delimiter!r} is not a delimiter: write one such as "," or ";"')
    for key, names in (("column_names", settings.column_names or []), ("rename", list(settings.rename))):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"{key} has {twice[0]!r} twice: give each column its own name")
    return problems
