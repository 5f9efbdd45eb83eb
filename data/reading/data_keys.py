"""The keys of the recipe's [data] section, with their types, limits and descriptions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from data.reading.split_dates import SplitDates

MOST_ROWS = 10**9  # of one sample; more is probably a typing error


def as_list(value: object) -> object:
    """Return a single name as a list; other values unchanged."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
Scaling = Literal["standard", "robust", "minmax", "none"]


class DataKeys(BaseModel):
    """The keys of [data], each checked by itself; see DataSettings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal["csv", "parquet", "arrow"] | None = Field(
        None, description="file format; default by suffix, then by content"
    )
    delimiter: str = Field(
        ",",
        pattern=r"^([\x01-\x7f]|whitespace)$",
        description='column delimiter of CSV files; "whitespace": any number of blanks',
    )
    decimal: str = Field(".", pattern=r"^[.,]$", description="decimal mark of the numbers in CSV files and in text columns")
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(None, description="thousands separator")
    encoding: str = Field("utf-8", description='encoding of CSV files, such as "latin-1", "cp1252" or "utf-16"')
    column_names: list[str] | None = Field(
        None, min_length=1, description="names of all columns of CSV files without a header"
    )
    skip_rows: int = Field(
        0, ge=0, le=10**6, description="lines skipped before the header, or before the first row if there is no header"
    )
    missing_values: list[str | int | float] = Field(
        [],
        description='values that mean missing in number columns, such as ["?", -200], beside empty cells, NA, NaN and null',
    )
    rename: dict[str, str] = Field(
        {}, description="name in the files = name in the recipe, for files that name a column otherwise"
    )
    time: Annotated[
        list[str] | None,
        BeforeValidator(as_list, json_schema_input_type=str | list[str]),
        Field(
            description="time column; or a date and a time column; or columns for year, month, day, ...; default the "
            "order of the rows, with one series per file"
        ),
    ] = None
    time_format: str | None = Field(
        None, description='strptime format of `time` where it is not ISO 8601; of whole numbers too, as "%Y%m%d"'
    )
    time_unit: Literal["s", "ms", "us", "ns", "step"] | None = Field(
        None, description='whole numbers are Unix time in this unit; "step": they count steps, even if they look like dates'
    )
    time_zone: str | None = Field(
        None,
        description='IANA zone of times without an offset, as "Europe/Berlin": calendar, split dates and days are local; an '
        "hour repeated in autumn is resolved by the order of the rows",
    )
    duplicates: Literal["error", "first", "last", "mean"] = Field(
        "error", description="what to do with rows of one series that have the same time"
    )
    series: str | None = Field(
        None,
        description='column with the name of the series, or "{file}": one series per file; default: all rows are one series',
    )
    features: Names = Field(min_length=1, description="numeric input columns")
    targets: Names = Field(min_length=1, description="columns to predict; samples with a missing target are left out")
    static: Names = Field(
        [],
        description="numeric columns that are constant within a series, such as an area or a capacity: features that window "
        "normalization does not change; two values in one series are an error",
    )
    known_future: Names = Field(
        [],
        description="numeric columns with known values over the horizon, such as a price, a planned load or a holiday (0 or "
        "1): features that the head also sees at the predicted rows",
    )
    categorical: Names = Field(
        [],
        description="one-hot encoded columns, by the categories in the train rows (at most 32); zeros if missing or unseen",
    )
    optional: Names = Field(
        [],
        description="columns of features and categorical that files may lack: missing throughout there, with a warning",
    )
    calendar: list[Literal["hour", "weekday", "month", "day_of_year"]] = Field(
        [], description="calendar features: sine and cosine of these parts of the time"
    )
    frequency: str | int | None = Field(
        None,
        description='time step, such as "15min", "1h", "1d", "1mo", "1q", "1y", "1b" (business days), or a whole number; '
        "missing steps are inserted, times off by up to a tenth of a step are rounded",
    )
    lookback: Annotated[int, Field(ge=1, le=MOST_ROWS)] | Literal["all"] = Field(
        description="input rows of a sample; all: the whole series"
    )
    min_lookback: int | None = Field(None, ge=1, description="smallest number of input rows of a sample; default lookback")
    horizon: int = Field(ge=0, le=MOST_ROWS, description="rows to predict; 0: the label at the last input row")
    stride: int = Field(1, ge=1, le=MOST_ROWS, description="rows between the starts of consecutive samples")
    season: int | None = Field(
        None,
        ge=1,
        le=MOST_ROWS,
        description="rows of one season, for the seasonal naive forecast and MASE; default by frequency: a day for steps "
        "below one, 7 days, 52 weeks, 12 months, 4 quarters, 5 business days",
    )
    weight: str | None = Field(
        None,
        min_length=1,
        description="column with the weight of a sample in the loss and in the weighted errors: the value at its last input "
        "row, divided by the mean over the dataset's train samples. 2 counts as the sample twice; 0, and a row that "
        "frequency inserted, leave it out",
    )
    missing: Literal["interpolate", "forward", "mean", "zero", "drop"] = Field(
        "interpolate",
        description="how missing values of numeric features are filled; drop: leave out samples that contain one",
    )
    missing_flags: bool = Field(False, description="add an input column for each feature: 1 where it was missing")
    scaling: Scaling = Field("standard", description="scaling of features and targets, fitted on train rows")
    scaling_scope: Literal["dataset", "shared", "primary"] = Field(
        "dataset",
        description="rows the scaler is fitted on: each dataset's own train rows, all pooled, or the first dataset's",
    )
    split: list[Annotated[float, Field(ge=0, le=1)]] | SplitDates = Field(
        [0.7, 0.1, 0.2], description="fractions of train, validation and test, or the dates where validation and test begin"
    )
    split_by: Literal["time", "series"] = Field(
        "time", description="split each series in time, or assign whole series to the parts"
    )
