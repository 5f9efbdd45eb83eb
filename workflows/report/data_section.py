"""The report section on the data: the rows and windows of each dataset, used and left out."""

from __future__ import annotations

from collections.abc import Sequence

from data.prepared.encoding import EncodedDataset
from data.samples.counts import show_reasons
from workflows.report.page import Cell, Paragraph, Part, Section, Table

ROWS = ["dataset", "rows read", "used", "inserted", "duplicates", "cells filled"]
WINDOWS = ["dataset", "train", "validation", "test", "left out"]


def data_section(datasets: Sequence[EncodedDataset]) -> Section:
    """Return the section with the counts in each dataset's manifest, and the warnings of preparation."""
    rows: list[Sequence[Cell]] = []
    windows: list[Sequence[Cell]] = []
    for dataset in datasets:
        facts, counts = dataset.prepared.manifest, dataset.prepared.manifest.counts
        if counts is not None:
            numbers = (
                counts.rows_read, counts.rows_used, counts.rows_inserted, counts.rows_duplicate, counts.cells_filled,
            )  # fmt: skip
            rows.append([dataset.name, *(f"{number:,}" for number in numbers)])
        left_out = None if counts is None else show_reasons(counts.windows_left_out)
        windows.append([dataset.name, *(f"{facts.samples[split]:,}" for split in WINDOWS[1:4]), left_out])
    parts: list[Part] = [Table(ROWS, rows, "Rows of the files")] if rows else []
    parts.append(Table(WINDOWS, windows, "Windows made, and left out by reason"))
    parts += [Paragraph(f"{dataset.name}: {text}", "warning") for dataset in datasets for text in dataset.warnings]
    return Section("Data", parts)
