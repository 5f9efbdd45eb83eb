"""The settings that decide the samples of a dataset: the recipe's [data] section."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import model_validator

from data.reading.data_keys import DataKeys
from data.reading.data_keys import Scaling as Scaling
from data.reading.file_format import FileFormat
from data.reading.frequency import Frequency, parse_frequency, usual_season
from data.reading.setting_checks import fixed_features_last, missing_marks, settings_problems
from data.reading.split_dates import SplitDates as SplitDates
from data.reading.times import TimeForm

CALENDAR_PERIODS = {"hour": 24, "weekday": 7, "month": 12, "day_of_year": 365.25}
SPLITS = ("train", "validation", "test")
# Keys of every fingerprint. Keys added later enter it only if they are set: see `decisive`.
FIRST_KEYS = frozenset(
    [
        "time",
        "time_format",
        "delimiter",
        "series",
        "features",
        "targets",
        "categorical",
        "calendar",
        "frequency",
        "lookback",
        "min_lookback",
        "horizon",
        "stride",
        "missing",
        "missing_flags",
        "split",
        "split_by",
    ]
)


class DataSettings(DataKeys):
    """How files become samples: `lookback` input rows and `horizon` target rows each."""

    @model_validator(mode="before")
    @classmethod
    def _fixed_features_last(cls, values: Any) -> Any:
        return fixed_features_last(values)

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        problems = settings_problems(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def file_format(self) -> FileFormat:
        """Return the keys that describe the bytes of a file."""
        words, numbers = missing_marks(self.missing_values)
        return FileFormat(
            self.format,
            self.delimiter,
            self.decimal,
            self.thousands,
            self.encoding,
            None if self.column_names is None else tuple(self.column_names),
            self.skip_rows,
            words,
            numbers,
            tuple(self.rename.items()),
        )

    @property
    def time_form(self) -> TimeForm:
        """Return the keys that describe how times are written."""
        return TimeForm(self.time_format, self.time_unit, self.time_zone)

    @property
    def grid(self) -> Frequency | None:
        """Return the frequency as a time step."""
        return None if self.frequency is None else parse_frequency(self.frequency)

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide the prepared rows and samples: no scaling, no season; later keys only if set."""
        values = self.model_dump(mode="json", exclude={"scaling", "scaling_scope", "season"})
        defaults = {name: each.default for name, each in DataSettings.model_fields.items()}
        return {key: value for key, value in values.items() if key in FIRST_KEYS or value != defaults[key]}

    @property
    def season_rows(self) -> int | None:
        """Return the rows of a season: `season`, default by frequency; None without a forecast or a known season."""
        if self.horizon == 0:
            return None
        return self.season or usual_season(self.grid)

    @property
    def shortest_history(self) -> int:
        """Return the smallest number of input rows of a sample."""
        if self.lookback == "all":
            return self.min_lookback or 1
        return self.min_lookback or self.lookback

    def expected_parts(self) -> list[str]:
        """Return the splits that are requested; one without samples is an error."""
        if isinstance(self.split, SplitDates):
            return ["train", "validation"] + (["test"] if self.split.test else [])
        return [name for name, share in zip(SPLITS, self.split, strict=True) if share > 0]


@dataclass(frozen=True)
class DatasetSource:
    """A dataset to prepare: its name, files (absolute paths or URIs) and settings.

    `where` keeps only the rows with these values; `classes` reads the target as a class label.
    """

    name: str
    files: tuple[str, ...]
    settings: DataSettings
    test_files: tuple[str, ...] = ()
    where: dict[str, str] = field(default_factory=dict)
    classes: bool = False
