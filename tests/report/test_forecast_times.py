"""Forecast axes show dates only where the date of every row is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import prepare_frame
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workflows.report.forecast_pictures import date_axis
from workflows.report.forecasts import row_times
from workflows.results.picture import HEIGHT, WIDTH


def frame(frequency: str, rows: int = 60) -> pd.DataFrame:
    times = pd.date_range("2024-03-30 22:00", periods=rows, freq=frequency)
    return pd.DataFrame({"t": times, "a": np.sin(np.arange(rows)), "s": ["x"] * rows})


@pytest.mark.parametrize(("frequency", "pandas_frequency"), [("1h", "1h"), ("15min", "15min"), ("1d", "1D")])
def test_times_are_those_of_the_file_with_inserted_rows(tmp_path: Path, frequency: str, pandas_frequency: str) -> None:
    whole = frame(pandas_frequency)
    prepared = prepare_frame(whole.drop(index=[20, 21, 40]), tmp_path, time="t", frequency=frequency)
    times = row_times(prepared.manifest, 0)
    assert times is not None
    assert pd.DatetimeIndex(times).equals(pd.DatetimeIndex(whole["t"].astype("datetime64[us]")))


def test_no_times_without_a_grid_or_with_several_series(tmp_path: Path) -> None:
    whole = frame("1h")
    without_frequency = prepare_frame(whole, tmp_path / "one", time="t")
    assert row_times(without_frequency.manifest, 0) is None
    two = pd.concat([whole, whole.assign(s="y")])
    assert row_times(prepare_frame(two, tmp_path / "two", time="t", series="s", frequency="1h").manifest, 0) is None
    numbered = whole.assign(t=np.arange(len(whole)))
    assert row_times(prepare_frame(numbered, tmp_path / "three", time="t", frequency=1).manifest, 0) is None
    assert row_times(prepare_frame(whole.drop(columns="t"), tmp_path / "four").manifest, 0) is None


@pytest.mark.parametrize("frequency", ["15min", "1h", "1D"])
def test_all_labels_of_dates_lie_inside_the_picture(frequency: str) -> None:
    for start in range(24):  # the last label comes near the edge in some of them
        times = pd.date_range("2026-01-30", periods=60, freq=frequency) + start * pd.Timedelta(frequency)
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot(times.to_numpy(), np.arange(60))
        date_axis(axes)
        figure.subplots_adjust(left=0.17, right=0.98, bottom=0.19, top=0.9)
        figure.draw_without_rendering()
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        assert len(labels) >= 2
        assert max(label.get_window_extent().x1 for label in labels) <= figure.bbox.x1
