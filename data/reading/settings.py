"""The settings that decide what the samples of a dataset are: the recipe's [data] section."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from data.reading.times import parse_time

CALENDAR_PERIODS = {"hour": 24, "weekday": 7, "month": 12, "day_of_year": 365.25}
MICROSECONDS = {
    "ms": 10**3,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
    "w": 7 * 86400 * 10**6,
}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_iso(value: object) -> object:
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]
IsoTime = Annotated[str, BeforeValidator(_as_iso)]


MOST_ROWS = 10**9  # of one sample: beyond it a number was mistyped


class SplitDates(BaseModel):
    """Where validation and test begin, and optionally where the test part ends (exclusive), in ISO 8601."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    validation: IsoTime
    test: IsoTime | None = None
    end: IsoTime | None = None

    def problems(self) -> list[str]:
        """What is wrong with the dates: they must be times, each later than the one before it."""
        found, before = [], ("", -(2**63))
        for name in ("validation", "test", "end"):
            text = getattr(self, name)
            try:
                moment = before[1] + 1 if text is None else parse_time(text)
            except ValueError as error:
                found.append(f"split.{name}: {error}")
                continue
            if moment <= before[1]:
                found.append(f"split.{name} = {text} is not after {before[0]}: write the dates in the order of time")
            before = (f"split.{name} = {text}", moment) if text is not None else before
        return found


class DataSettings(BaseModel):
    """How files become samples. One sample is `lookback` rows of the features in and `horizon` rows of the targets out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    time: Annotated[
        list[str] | None,
        BeforeValidator(_as_list),
        Field(description="a column, or the columns year, month, day, hour, ... of a date; absent: the order of the rows"),
    ] = None
    time_format: str | None = Field(None, description="strptime format of `time` where it is not ISO 8601")
    delimiter: str = Field(",", pattern=r"^[\x01-\x7f]$", description="what separates the columns of a CSV file")
    series: str | None = Field(
        None, description='the column that tells series apart, or "{file}": each file is one; absent: all rows are one'
    )
    features: Names = Field(min_length=1, description="numeric columns that go in")
    targets: Names = Field(
        min_length=1, description="columns that are predicted; a sample that would predict a missing value is left out"
    )
    categorical: Names = Field(
        [],
        description="columns that go in one-hot, by the categories seen in train (at most 32); zeros where missing or new",
    )
    calendar: list[Literal["hour", "weekday", "month", "day_of_year"]] = Field(
        [], description="sine and cosine of these, from the time, go in too"
    )
    frequency: str | int | None = Field(
        None, description='the step of time, as "15min", "1h", "1d", or a whole number; absent steps are then inserted'
    )
    lookback: Annotated[int, Field(ge=1, le=MOST_ROWS)] | Literal["all"] = Field(
        description="rows that go in; all: the whole series"
    )
    min_lookback: int | None = Field(None, ge=1, description="shortest history that still makes a sample; absent: lookback")
    horizon: int = Field(
        ge=0, le=MOST_ROWS, description="rows that are predicted; 0: the label at the last row that goes in"
    )
    stride: int = Field(1, ge=1, le=MOST_ROWS, description="rows from one sample to the next")
    missing: Literal["interpolate", "forward", "mean", "zero", "drop"] = Field(
        "interpolate",
        description="what stands in for missing values of the numeric features; drop: samples that touch one are out",
    )
    missing_flags: bool = Field(False, description="one more column a feature that goes in: 1 where it was missing")
    scaling: Literal["standard", "robust", "minmax", "none"] = Field("standard", description="of features and targets")
    scaling_scope: Literal["dataset", "shared", "primary"] = Field(
        "dataset", description="whose train rows scale: each its own, all pooled, or the first dataset's"
    )
    split: list[Annotated[float, Field(ge=0, le=1)]] | SplitDates = Field(
        [0.7, 0.1, 0.2], description="fractions of train, validation and test, or the dates where the last two begin"
    )
    split_by: Literal["time", "series"] = Field("time", description="cut each series in time, or deal out whole series")

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        problems = [*self._sample_problems(), *self._split_problems(), *self._column_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _sample_problems(self) -> list[str]:
        found = []
        if self.lookback == "all" and self.horizon != 0:
            found.append(f'lookback = "all" makes one sample a series and needs horizon = 0, got {self.horizon}')
        if self.lookback == "all" and self.split_by != "series":
            found.append('lookback = "all" makes one sample a series and needs split_by = "series", got "time"')
        if isinstance(self.lookback, int) and (self.min_lookback or 0) > self.lookback:
            found.append(f"min_lookback = {self.min_lookback} is more than lookback = {self.lookback}: write at most that")
        frequency = str(self.frequency)
        if self.frequency is not None and not re.fullmatch(r"0*[1-9]\d*(ms|s|min|h|d|w)?", frequency):
            found.append(f'frequency = {self.frequency!r} is not a step of time: write one like "15min", "1h", "1d" or 1')
        elif isinstance(self.frequency, str) and frequency.isdigit():
            found.append(
                f'frequency = "{frequency}" has no unit: write "{frequency}min", or {frequency} where times are numbers'
            )
        if self.time is not None and not 1 <= len(self.time) <= 6:
            found.append(f"time = {self.time} must be one column, or the columns year, month, day, hour, minute, second")
        if self.frequency is not None and self.time is None:
            found.append("frequency needs a time column: name it in time, or leave frequency out")
        if self.calendar and self.time is None:
            found.append("calendar needs a time column: name it in time, or leave calendar out")
        return found

    def _split_problems(self) -> list[str]:
        if isinstance(self.split, SplitDates):
            if self.split_by == "series":
                return ['split by dates cuts in time: write fractions with split_by = "series"']
            if not self.time:
                return ["split by dates needs a time column: name it in time, or write fractions"]
            return self.split.problems()
        if len(self.split) != 3 or abs(sum(self.split) - 1) > 1e-9 or self.split[0] == 0:
            return [f"split = {self.split} must be three fractions (train, validation, test) that sum to 1, train above 0"]
        return []

    def _column_problems(self) -> list[str]:
        found = []
        if self.series == "":
            found.append('series is empty: name a column, write "{file}", or leave it out')
        if self.split_by == "series" and self.series is None:
            found.append('split_by = "series" needs series: name the column that tells them apart, or "{file}"')
        for key in ("features", "targets", "categorical"):
            names = getattr(self, key)
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                found.append(f"{key} names {twice[0]!r} twice: name each column once")
        both = sorted(set(self.features) & set(self.categorical))
        if both:
            found.append(f"{both[0]!r} is in features and in categorical: keep it in one of them")
        for key in ("features", "categorical"):
            leaked = sorted(set(getattr(self, key)) & set(self.targets)) if self.horizon == 0 else []
            if leaked:
                found.append(f"{leaked[0]!r} is in {key} and in targets with horizon = 0: the answer would be in the input")
        return found

    @property
    def step(self) -> int | None:
        """The frequency as a number in the units of the time column: microseconds for dates, itself for numbers."""
        if not isinstance(self.frequency, str):
            return self.frequency
        number, unit = re.fullmatch(r"(\d+)(\w+)", self.frequency).groups()  # type: ignore[union-attr]
        return int(number) * MICROSECONDS[unit]

    @property
    def shortest_history(self) -> int:
        """Rows that a sample needs at least before its label or its first predicted row."""
        if self.lookback == "all":
            return self.min_lookback or 1
        return self.min_lookback or self.lookback

    def expected_parts(self) -> list[str]:
        """The splits that are asked for, so that one that ends without a sample is an error."""
        if isinstance(self.split, SplitDates):
            return ["train", "validation"] + (["test"] if self.split.test else [])
        return [name for name, share in zip(SPLITS, self.split, strict=True) if share > 0]


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetSource:
    """One dataset as it is to be prepared: its name, its files (absolute paths or URIs) and its settings.

    `where` keeps only the rows that hold these values; `classes` reads the target as a class label.
    """

    name: str
    files: tuple[str, ...]
    settings: DataSettings
    test_files: tuple[str, ...] = ()
    where: dict[str, str] = field(default_factory=dict)
    classes: bool = False
