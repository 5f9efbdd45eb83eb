"""Tables of what is in a storage: prepared datasets, runs, and the chain of epochs of one run."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from data.encoding import EncodedDataset
from workflows.screen import show
from workflows.store import Store

Facts = dict[str, Any]


def prepared_table(datasets: Sequence[EncodedDataset]) -> Table:
    """Rows, series, samples and missing cells of prepared datasets."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(
        ("dataset", "rows", "series", "train", "validation", "test", "missing cells", "fingerprint")
    ):
        table.add_column(column, justify="left" if number in (0, 7) else "right")
    for dataset in datasets:
        facts = dataset.prepared.manifest
        samples = [f"{facts['samples'][split]:,}" for split in ("train", "validation", "test")]
        missing = f"{sum(facts['missing'].values()):,}"
        table.add_row(
            Text(dataset.name),
            f"{facts['rows']:,}",
            f"{facts['num_series']:,}",
            *samples,
            missing,
            facts["fingerprint"][:12],
        )
    return table


def runs_table(runs: Mapping[str, Facts]) -> Table:
    """One line for each run."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(("run", "status", "datasets", "epochs", "mean scaled error", "forgetting", "key")):
        table.add_column(column, justify="right" if 2 <= number <= 5 else "left")
    for name, result in runs.items():
        table.add_row(
            Text(name),
            result["status"],
            str(len(result["datasets"])),
            str(result["epochs_requested"]),
            show(result["mean_scaled_error"], 3),
            show(result["forgetting"], 3),
            result["key"][:12],
        )
    return table


def log_table(store: Store, result: Facts) -> Table:
    """The chain of a run, an epoch a line."""
    table = Table(title=f"{result['name']}", title_justify="left", box=box.SIMPLE_HEAD)
    columns = ("dataset", "epoch", "rate", "train loss", f"validation {result['error']}", "address", "when", "seconds")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in (0, 5, 6) else "right")
    for stage in result["stages"]:
        for number, key in enumerate(stage["keys"]):
            facts = store.facts(key)
            handed = number + 1 == stage["handed_over"] and len(stage["keys"]) > 1
            table.add_row(
                Text(stage["dataset"]),
                f"{'→ ' if handed else ''}{number + 1}",
                f"{stage['learning_rates_used'][number]:.3g}",
                show(stage["train_loss"][number]),
                show(stage["validation_error"][number]),
                key[:12],
                "-" if facts is None else f"{datetime.datetime.fromtimestamp(facts['when']):%m-%d %H:%M:%S}",
                "-" if facts is None else f"{facts['seconds']:.2f}",
            )
    return table
