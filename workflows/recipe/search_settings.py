"""The recipe's [search] section: its spaces, checked and turned into values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator, model_validator

from workflows.recipe.checks import suggest

EXAMPLE = "write a list of choices, such as [1, 2, 4], or a range, such as {low = 0.3, high = 1.0, step = 0.1}"
LARGEST = 1e15  # largest number in a range
MAX_VALUES = 1_000_000  # values of a range with steps
RANGE_KEYS = ("low", "high", "step", "log")
Objective = Literal["mean_scaled_error", "forgetting"]


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; with a step low, low + step, ...; `log`: evenly in its logarithm."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def values(self) -> tuple[float, ...] | None:
        """Return all values; None without a step, because they cannot be listed."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        # Without rounding 0.3 + 3 * 0.1 would differ from 0.6, and so would its address.
        return tuple(round(self.low + step_number * self.step, 12) for step_number in range(count))


Space = Choices | Range


def parse_space(value: Any, key: str) -> Space:
    """Parse a space of a recipe; raises ValueError with what to write instead."""
    if isinstance(value, list):
        if not value:
            raise ValueError(f"{key} = []: the space is empty: {EXAMPLE}")
        return Choices(tuple(each for index, each in enumerate(value) if each not in value[:index]))
    if not isinstance(value, dict):
        raise ValueError(f"{key} = {value!r} is a single value, not a space: {EXAMPLE}")
    for name in value:
        if name not in RANGE_KEYS:
            hint = suggest(str(name), RANGE_KEYS)
            raise ValueError(f"{key}: the key {name!r} of a range is unknown: {hint}")
    log, step = value.get("log", False), value.get("step")
    low: Any = value.get("low")
    high: Any = value.get("high")
    for name, number in (("low", low), ("high", high), *([("step", step)] if "step" in value else [])):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) <= LARGEST:
            raise ValueError(f"{key}: {name} = {number!r} is not a number up to {LARGEST:g}: {EXAMPLE}")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise ValueError(f"{key}: log = {log!r}: write true or false; true needs low above 0 and no step")
    if low > high:
        raise ValueError(f"{key}: the space is empty: low = {low} is above high = {high}")
    if step is None and isinstance(low, int) and isinstance(high, int):
        step = 1
    if step is not None and step <= 0:
        raise ValueError(f"{key}: step = {step} is not positive: write a number above 0")
    if step is not None and (high - low) / step >= MAX_VALUES:
        raise ValueError(f"{key}: low = {low} to high = {high} in steps of {step} has more than {MAX_VALUES:,} values")
    return Range(low, high, step, log)


def _space(value: Any, info: ValidationInfo) -> Space:
    return parse_space(value, str(info.field_name))


def _one_or_each(value: Any, info: ValidationInfo) -> Space | tuple[Space, ...]:
    key = str(info.field_name)
    if isinstance(value, list) and value and all(isinstance(each, (list, dict)) for each in value):
        return tuple(parse_space(each, f"{key}, change {number}") for number, each in enumerate(value, 1))
    return parse_space(value, key)


def _by_dotted_name(value: Any, info: ValidationInfo) -> dict[str, Space]:
    """Return spaces by dotted names; TOML reads an unquoted dotted name as nested tables, which is the same here."""
    if not isinstance(value, dict):
        raise ValueError(f'{info.field_name} = {value!r}: write a table such as {{"training.batch_size" = [32, 64]}}')
    spaces: dict[str, Space] = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and not set(inner) & set(RANGE_KEYS):
            spaces |= {f"{name}.{rest}": space for rest, space in _by_dotted_name(inner, info).items()}
        else:
            spaces[name] = parse_space(inner, f"{info.field_name}.{name}")
    return spaces


class DatasetSpace(BaseModel):
    """The spaces of one dataset; default the spaces of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[Any, PlainValidator(_space)] = Field(None, description="a list of choices or a range")
    decay_rate: Annotated[Any, PlainValidator(_space)] = Field(
        None, description="of the change to this dataset: a list of choices or a range"
    )


class SearchSettings(BaseModel):
    """The spaces, the algorithm and the resources of a search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decay_rate: Annotated[Any, PlainValidator(_one_or_each)] = Field(
        None,
        description="a list of choices, a range, or a list of them: one for each change of dataset (beam: a single space is "
        "searched at each change)",
    )
    epochs: Annotated[Any, PlainValidator(_space)] = Field(None, description="of each dataset: a list of choices or a range")
    datasets: dict[str, DatasetSpace] = Field(
        {}, description="epochs and decay rate of single datasets: [search.datasets.NAME]"
    )
    values: Annotated[Any, PlainValidator(_by_dotted_name)] = Field(
        {}, description="any other value by its dotted name: [search.values]"
    )
    num_samples: int = Field(20, ge=1, le=1_000_000, description="number of trials of random and optuna")
    algorithm: Literal["grid", "random", "optuna", "beam"] = Field(
        "grid",
        description="search algorithm; beam: after each dataset the best prefixes are extended by every choice for "
        "the next one",
    )
    beam_width: int = Field(4, ge=1, description="prefixes that a beam keeps after each dataset")
    scheduler: Literal["none", "asha"] = Field(
        "none", description="asha stops trials that are behind after a dataset; not with beam"
    )
    objectives: list[Objective] = Field(
        ["mean_scaled_error"], min_length=1, description="what to minimise: mean_scaled_error, forgetting, or both"
    )
    trials_per_gpu: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="trials that share a GPU, where a trial is one process; auto: up to 8, by the size of a step"
    )
    workers_per_trial: int = Field(0, ge=0, description="data-parallel workers of a trial; 0: the trial's own process")

    @model_validator(mode="after")
    def _beam_stops_by_itself(self) -> SearchSettings:
        if self.algorithm == "beam" and self.scheduler != "none":
            raise ValueError(
                f'scheduler = "{self.scheduler}": a beam itself decides which trials continue: write scheduler = "none"'
            )
        return self

    @field_validator("objectives")
    @classmethod
    def _once_each(cls, objectives: list[Objective]) -> list[Objective]:
        return list(dict.fromkeys(objectives))
