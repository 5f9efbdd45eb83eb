"""A series that is cut into parts anywhere is prepared to the same bits as in one piece."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_cases import source_of
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading.settings import SPLITS, DatasetSource
from data.reading.times import Times
from data.samples import statistics, stretch
from data.samples.part import Cut, Part
from data.samples.part_files import samples_in
from data.samples.part_writer import write_part
from data.samples.series import Series, irregular_steps
from data.samples.splits import split_in_time
from data.samples.stretch import Edge, Stretch
from data.sharding.totals import irregular_warning, longest_gaps, total_statistics

LABELS = {"kind": np.array(["x", "y", None, "z"], object)}


def edge_of(numbers: np.ndarray, rows: range) -> Edge:
    """Return the first observed value of each column in these rows, searched row by row."""
    first_rows, values = np.zeros(numbers.shape[1], np.int64), np.full(numbers.shape[1], np.nan, np.float32)
    for column in range(numbers.shape[1]):
        for row in rows:
            if not np.isnan(numbers[row, column]):
                first_rows[column], values[column] = row, numbers[row, column]
                break
    return Edge(first_rows, values)


def cut_at(series: Series, borders: list[int], source: DatasetSource) -> list[tuple[Series, Stretch]]:
    bounds, pieces = split_in_time(series, source), []
    reach = source.settings.lookback + source.settings.horizon - 1  # type: ignore[operator]
    for first, stop in pairwise(borders):
        kept, start = max(first - reach, 0), max(first - reach - 1, 0)
        made = Stretch(len(series), bounds, first, stop, kept, start)
        rows = slice(start, made.ends_at())
        made = Stretch(
            *(len(series), bounds, first, stop, kept, start),
            edge_of(series.numbers, range(start - 1, -1, -1)),
            edge_of(series.numbers, range(rows.stop, len(series))),
        )
        labels = {name: values[rows] for name, values in series.labels.items()}
        times = Times(series.times.value[rows], "date") if series.times else None
        pieces.append((Series(series.name, series.numbers[rows], labels, times), made))
    return pieces


def read_part(folder: Path, number: int) -> tuple[np.ndarray, dict[str, list[tuple[int, int]]]]:
    column = pa.ipc.open_file(folder / f"values-{number:05d}.arrow").get_batch(0).column(0)
    values = np.asarray(column.values).reshape(-1, column.type.list_size)
    batches = pa.ipc.open_file(folder / f"samples-{number:05d}.arrow")
    samples = {
        split: list(zip(listed.starts.tolist(), listed.lengths.tolist(), strict=True))
        for split, listed in ((split, samples_in(batches.get_batch(index))) for index, split in enumerate(SPLITS))
    }
    return values, samples


def windows_of(folder: Path, parts: list[Part], split: str, horizon: int) -> list[bytes]:
    """Return all rows that each sample sees, in order."""
    windows = []
    for number in range(len(parts)):
        values, samples = read_part(folder, number)
        windows += [values[start : start + length + horizon].tobytes() for start, length in samples[split]]
    return windows


@given(st.data())
@settings(max_examples=40)
def test_any_cut_gives_the_rows_samples_and_statistics_of_one_piece(data: Any) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    length, horizon = data.draw(st.integers(30, 150)), data.draw(st.integers(0, 3))
    numbers = random.normal(3, 2, (length, 2)).astype(np.float32)
    for _ in range(data.draw(st.integers(0, 3))):
        begin = int(random.integers(length))
        numbers[begin : begin + int(random.integers(1, 60)), int(random.integers(2))] = np.nan
    numbers[random.random(numbers.shape) < data.draw(st.sampled_from([0, 0.1, 0.5]))] = np.nan
    source = source_of(
        [],
        features=["a"],
        targets=["b"],
        categorical=["kind"],
        lookback=data.draw(st.integers(1, 12)),
        min_lookback=1,
        horizon=horizon,
        stride=data.draw(st.integers(1, 5)),
        missing=data.draw(st.sampled_from(["interpolate", "forward", "mean", "drop"])),
        missing_flags=True,
        time="t",
        calendar=["hour"],
        split=data.draw(st.sampled_from([[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])),
    )
    labels = {"kind": LABELS["kind"][random.integers(0, 4, length)]}
    steps = random.choice([1, 1, 1, 2, 5], length) * 3_600_000_000
    series = Series("s", numbers, labels, Times(np.cumsum(steps), "date"))
    borders = sorted({0, length, *data.draw(st.lists(st.integers(1, length - 1), max_size=5))})
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
        for module in (statistics, stretch):
            patch.setattr(module, "ROWS_AT_A_TIME", 16)
        expected = write_part([series], source, Path(whole), 0)
        pieces = cut_at(series, borders, source)
        parts = [
            write_part([each], source, Path(cut), number, cut=Cut([made], expected.train_categories, expected.categories))
            for number, (each, made) in enumerate(pieces)
        ]
        values, _ = read_part(Path(whole), 0)
        stored = [read_part(Path(cut), number)[0][made.first - made.kept :] for number, (_, made) in enumerate(pieces)]
        assert np.concatenate(stored).tobytes() == values.tobytes()
        for split in SPLITS:
            assert windows_of(Path(cut), parts, split, horizon) == windows_of(Path(whole), [expected], split, horizon)
    assert sum(part.counts.windows_left_out.get("missing target", 0) for part in parts) == (
        expected.counts.windows_left_out.get("missing target", 0)
    )
    statistics_of_parts = total_statistics(parts, 2)
    assert statistics_of_parts.to_json() == expected.statistics
    assert longest_gaps(parts, ["a", "b"]) == expected.longest_gap
    assert irregular_warning(parts) == irregular_steps(series)
    for name in ("used_rows", "num_series", "num_short"):
        assert sum(getattr(part, name) for part in parts) == getattr(expected, name)
    assert {name: sum(part.missing[name] for part in parts) for name in "ab"} == expected.missing
    assert sum(part.counts.cells_filled for part in parts) == expected.counts.cells_filled
    spans = [part.time_span for part in parts if part.time_span]
    assert (min(s for s, _ in spans), max(s for _, s in spans)) == expected.time_span
    for split in ("validation", "test") if horizon else ():
        for name, sums in expected.naive[split].to_json().items():
            cut_sums = np.sum([getattr(part.naive[split], name) for part in parts], axis=0)
            assert cut_sums == pytest.approx(sums, rel=1e-12, abs=1e-12)
    if len(parts) == 1:
        assert parts[0].sha256 == expected.sha256
