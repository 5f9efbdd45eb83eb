"""Split a dataset by dates."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from data.reading.times import parse_time


def _as_iso(value: object) -> object:
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value


IsoTime = Annotated[str, BeforeValidator(_as_iso)]


class SplitDates(BaseModel):
    """Where validation and test begin and, optionally, where test ends (exclusive), in ISO 8601."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    validation: IsoTime
    test: IsoTime | None = None
    end: IsoTime | None = None

    def problems(self) -> list[str]:
        """Return the problems of the dates: each must be a time, later than the one before it."""
        problems, before = [], ("", -(2**63))
        for name in ("validation", "test", "end"):
            text = getattr(self, name)
            try:
                moment = before[1] + 1 if text is None else parse_time(text)
            except ValueError as error:
                problems.append(f"split.{name}: {error}")
                continue
            if moment <= before[1]:
                problems.append(f"split.{name} = {text} is not after {before[0]}: write the dates in the order of time")
            before = (f"split.{name} = {text}", moment) if text is not None else before
        return problems
