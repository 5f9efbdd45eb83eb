"""Read and write compare.json: a run beside joint training, separate training and the naive forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from data.errors import InputError
from data.records import DamagedRecordError, from_json, to_json
from data.signed import signed
from workflows.relay.metrics import mean_of
from workflows.results.number_format import empty_table
from workflows.store.run_record import read_record
from workflows.store.store import Store

COMPARISON = "compare.json"
FORMAT = 1


@dataclass(frozen=True)
class Compared:
    """Test errors relative to the last-value naive forecast's (1.00 = equal); None where a split has no samples.

    `joint` is one model trained on all datasets at once, `separate` one model for each dataset alone. `seasonal_naive`
    is None where no season is known (see `season` in [data]), and for labels.
    """

    sequence: float | None
    joint: float | None
    separate: float | None
    naive: float | None
    seasonal_naive: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A run beside joint and separate training. `samples` are gradient samples of each, `keys` their final states."""

    name: str
    key: str
    datasets: Mapping[str, Compared]
    mean: Compared
    samples: Mapping[str, int]
    epochs: Mapping[str, int]
    keys: Mapping[str, tuple[str, ...]]
    epochs_trained: int = 0
    when: float = 0.0
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the content of compare.json."""
        return to_json(self)


def mean_comparison(compared: Mapping[str, Compared]) -> Compared:
    """Return the mean over the datasets of each column."""
    columns = ("sequence", "joint", "separate", "naive", "seasonal_naive")
    return Compared(*(mean_of([getattr(each, column) for each in compared.values()]) for column in columns))


def read_comparison(store: Store, name: str) -> Comparison | None:
    """Return the comparison of a run; None if it has none. Raises InputError if the file cannot be read."""
    path = f"runs/{name}/{COMPARISON}"
    try:
        content = read_record(store.storage, path)
        return None if content is None else from_json(Comparison, content)
    except DamagedRecordError as error:
        raise InputError(f"run {name!r}: {store.address}/{path}: {error}: run compare again, or remove it") from None


def write_comparison(store: Store, comparison: Comparison) -> None:
    """Write compare.json beside the run's result."""
    store.write_run(comparison.name, COMPARISON, signed(comparison.to_json()))


def comparison_table(comparison: Comparison) -> Table:
    """Return one row for each dataset and one for the mean, then the cost in gradient samples."""
    table = empty_table(["test error / naive", "sequence", "joint", "separate", "naive", "seasonal naive"])
    for name, each in [*comparison.datasets.items(), ("mean", comparison.mean)]:
        table.add_row(Text(name), *map(_cell, (each.sequence, each.joint, each.separate, each.naive, each.seasonal_naive)))
    samples = comparison.samples
    table.add_row(Text("gradient samples"), *(f"{samples[kind]:,}" for kind in ("sequence", "joint", "separate")), "0", "0")
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
