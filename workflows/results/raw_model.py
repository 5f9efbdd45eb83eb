"""A torch module from raw units to raw units, with scaling, categories, calendar and the dataset's head inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.prepared.encoding import EncodedDataset
from data.reading.settings import CALENDAR_PERIODS
from models.gaps import Carry, carry, filled_forward, interpolated
from models.losses import forecast
from models.lstm import LSTM

DAY = 86_400_000_000  # microseconds
HOUR = DAY // 24


class RawModel(nn.Module):
    """The model of one dataset, for rows in the units of its files.

    `forward` takes `values` (batch, steps, features), NaN where missing; `codes` (batch, steps, categorical columns), the
    index of each label in `labels`, -1 if it is missing or new; `times` (batch, steps), microseconds since 1970 on the
    clock of the recipe's time zone; `future` (batch, horizon, known columns), the known_future columns of the predicted
    rows, without gaps. The last three are for models with such columns. All windows of a batch have the same number of
    steps. Gaps are filled by the method of `data.missing`, from the window alone.

    It returns forecasts (batch, horizon, targets) in the targets' units, (batch, targets) if the horizon is 0; a quantile
    model also all levels, with one more axis at the end; a classifier the probabilities (batch, classes).
    """

    center: Tensor
    scale: Tensor
    fill: Tensor
    known_center: Tensor
    known_scale: Tensor
    target_center: Tensor
    target_scale: Tensor
    carry: Carry

    def __init__(self, model: LSTM, dataset: EncodedDataset, head: int | None):
        super().__init__()
        prepared, encoding = dataset.prepared, dataset.encoding
        kinds = [column.kind for column in prepared.columns]
        numbers = kinds.count("number")
        wide = any(part.bits == 64 for part in prepared.manifest.parts)
        self.dtype = torch.float64 if wide else torch.float32
        self.model, self.head, self.settings = model.eval(), head, model.settings
        self.features, self.targets = list(prepared.settings.features), list(prepared.targets)
        self.labels = {name: encoding.categories[name] for name in prepared.settings.categorical}
        self.classes, self.horizon = list(encoding.classes), prepared.horizon
        self.calendar, self.flags = list(prepared.settings.calendar), prepared.settings.missing_flags
        self.missing, self.carry = prepared.settings.missing, carry
        self.known = list(prepared.settings.known_future)
        known = list(dataset.known)
        for name in ("center", "scale", "fill"):
            self.register_buffer(name, torch.tensor(getattr(encoding, name)[:numbers], dtype=self.dtype))
        for name in ("center", "scale"):
            values = torch.tensor(getattr(encoding, name), dtype=self.dtype)[known]
            self.register_buffer(f"known_{name}", values)
        # Entries after the features are the scaling of numeric targets; classes have none.
        for name in ("center", "scale"):
            self.register_buffer(f"target_{name}", torch.tensor(getattr(encoding, name)[numbers:], dtype=torch.float64))

    @property
    def input_names(self) -> list[str]:
        """Return the inputs of this model, in the order of `forward`."""
        optional = {"codes": self.labels, "times": self.calendar, "future": self.known}
        return ["values", *(name for name, used in optional.items() if used)]

    @property
    def output_names(self) -> list[str]:
        """Return the outputs in their order."""
        if self.classes:
            return ["probabilities"]
        return ["forecast", *(["quantiles"] if self.settings.predicts_quantiles else [])]

    def example(self, batch: int, steps: int) -> dict[str, Tensor]:
        """Return inputs of the right shapes, by name."""
        inputs = {"values": torch.zeros(batch, steps, len(self.features), dtype=self.dtype)}
        if self.labels:
            inputs["codes"] = torch.zeros(batch, steps, len(self.labels), dtype=torch.int64)
        if self.calendar:
            inputs["times"] = torch.zeros(batch, steps, dtype=torch.int64)
        if self.known:
            inputs["future"] = torch.zeros(batch, self.horizon, len(self.known), dtype=self.dtype)
        return inputs

    def forward(
        self, values: Tensor, codes: Tensor | None = None, times: Tensor | None = None, future: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        known = None
        if future is not None and self.known:
            known = ((future.to(self.dtype) - self.known_center) / self.known_scale).float()
        outputs: Tensor = self.model(self.encoded(values, codes, times), None, None, self.head, known)
        outputs = outputs.float()
        if self.classes:
            return outputs.softmax(dim=1)
        shape = (max(self.horizon, 1), len(self.targets))
        point = self._in_units(forecast(outputs, shape, self.settings), (len(self.targets),))
        if not self.settings.predicts_quantiles:
            return point
        levels = outputs.view(outputs.shape[0], *shape, self.settings.num_levels)
        return point, self._in_units(levels, (len(self.targets), 1))

    def encoded(self, values: Tensor, codes: Tensor | None, times: Tensor | None) -> Tensor:
        """Return the network's input: (batch, steps, features)."""
        values = values.to(self.dtype)
        is_missing = values.isnan()
        if self.missing in ("interpolate", "forward"):
            values = (interpolated if self.missing == "interpolate" else filled_forward)(values, self.carry)
        values = torch.where(values.isnan(), self.fill, values)
        columns = [((values - self.center) / self.scale).float()]
        for column, labels in enumerate(self.labels.values()):
            assert codes is not None
            columns.append((codes[..., column, None] == torch.arange(len(labels))).float())
        if self.calendar:
            assert times is not None
            columns.append(calendar_waves(times, self.calendar))
        if self.flags:
            columns.append(is_missing.float())
        return torch.cat(columns, dim=2)

    def _in_units(self, scaled: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return scaled targets in the targets' units, without the step axis if the horizon is 0."""
        values = scaled * self.target_scale.view(shape) + self.target_center.view(shape)
        return (values if self.horizon else values[:, 0]).to(self.dtype)

    def describe(self) -> dict[str, Any]:
        """Return a description of the inputs and outputs for programs without lstm-relay."""
        width, count = str(self.dtype).removeprefix("torch."), len(self.targets)
        inputs: list[Mapping[str, Any]] = [
            {
                "name": "values",
                "dtype": width,
                "shape": ["batch", "length", len(self.features)],
                "columns": self.features,
                "missing": "NaN is not allowed" if self.missing == "drop" else "NaN",
            }
        ]
        if self.labels:
            shape = ["batch", "length", len(self.labels)]
            details = {"labels": self.labels, "missing": -1, "meaning": "index of the label in its list"}
            inputs.append({"name": "codes", "dtype": "int64", "shape": shape, "columns": list(self.labels), **details})
        if self.calendar:
            unit = "microseconds since 1970-01-01T00:00:00 of each row, on the clock of time_zone"
            inputs.append({"name": "times", "dtype": "int64", "shape": ["batch", "length"], "unit": unit})
        if self.known:
            shape = ["batch", self.horizon, len(self.known)]
            details = {"columns": self.known, "missing": "NaN is not allowed", "meaning": "the rows that are predicted"}
            inputs.append({"name": "future", "dtype": width, "shape": shape, **details})
        if self.classes:
            shape = ["batch", len(self.classes)]
            return {
                "inputs": inputs,
                "outputs": [{"name": "probabilities", "dtype": "float32", "shape": shape, "classes": self.classes}],
            }
        steps = [self.horizon] if self.horizon else []
        outputs = [{"name": "forecast", "dtype": width, "shape": ["batch", *steps, count], "columns": self.targets}]
        if self.settings.predicts_quantiles:
            shape = ["batch", *steps, count, self.settings.num_levels]
            levels = self.settings.quantiles
            outputs.append({"name": "quantiles", "dtype": width, "shape": shape, "columns": self.targets, "levels": levels})
        return {"inputs": inputs, "outputs": outputs}


def calendar_waves(times: Tensor, parts: Sequence[str]) -> Tensor:
    """Return sine and cosine of each time's position in its day, week or year, as data.reading.columns does."""
    days = torch.div(times, DAY, rounding_mode="floor")
    hour = (times - days * DAY).double() / HOUR
    waves = []
    for part in parts:
        if part == "hour":
            position = hour
        elif part == "weekday":
            position = (days + 3).remainder(7) + hour / 24  # 1970-01-01 was a Thursday
        else:
            month, day_of_year = _of_the_year(days)
            position = month.double() if part == "month" else day_of_year + hour / 24
        angle = 2 * torch.pi * position / CALENDAR_PERIODS[part]
        waves += [angle.sin(), angle.cos()]
    return torch.stack(waves, dim=2).float()


def _of_the_year(days: Tensor) -> tuple[Tensor, Tensor]:
    """Return the month (January is 0) and the day of the year from 0, of days since 1970 (Hinnant's civil_from_days)."""
    shifted = days + 719_468  # since 1 March of the year 0, so that leap days end a year
    era = torch.div(shifted, 146_097, rounding_mode="floor")
    of_era = shifted - era * 146_097
    year = torch.div(
        of_era - torch.div(of_era, 1460, rounding_mode="floor") + torch.div(of_era, 36_524, rounding_mode="floor")
        - torch.div(of_era, 146_096, rounding_mode="floor"),
        365,
        rounding_mode="floor",
    )  # fmt: skip
    quarter, century = torch.div(year, 4, rounding_mode="floor"), torch.div(year, 100, rounding_mode="floor")
    since_march = of_era - (365 * year + quarter - century)
    march = torch.div(5 * since_march + 2, 153, rounding_mode="floor")  # months since March
    month = torch.where(march < 10, march + 2, march - 10)
    civil = year + era * 400 + (month < 2).long()
    leap = ((civil.remainder(4) == 0) & (civil.remainder(100) != 0)) | (civil.remainder(400) == 0)
    day = torch.where(month < 2, since_march - 306, since_march + 59 + leap.long())
    return month, day
