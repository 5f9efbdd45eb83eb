"""A long series with rows off its grid, calendar steps or repeated times is cut, with the same rows as in one piece."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import prepare_one, source_of, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import PANEL, panel, prepare_cut, row_groups, same

from data.errors import InputError
from data.prepared.prepared import PreparedDataset
from data.reading.frequency import parse_frequency
from data.reading.times import Times
from data.samples.grid import grid_of
from data.sharding import runs, tidy
from data.sharding.tasks import PartTask, TidyTask, run_task

PLAIN: dict[str, Any] = {**PANEL, "calendar": [], "lookback": 4, "min_lookback": 2, "horizon": 1, "stride": 1}


def check(frame: pd.DataFrame, folder: Path, most_rows: int = 40, words: bool = True, **changes: Any) -> None:
    """Check that the frame, in files with a share of its rows each, is prepared in parts as in one piece.

    With two errors in a frame, the two ways may report different ones; then `words` are not compared.
    """
    chosen = {**PLAIN, **changes}
    third = len(frame) // 3 + 1
    shares = [frame[start : start + third] for start in range(0, len(frame), third)]
    files = [write_csv(share, folder / "in" / f"{number}.csv") for number, share in enumerate(shares)]
    whole = refused_or(lambda: prepare_one(write_csv(frame, folder / "all.csv"), folder / "whole", **chosen))
    if isinstance(whole, str):
        cut = refused_or(lambda: prepare_cut(source_of(files, **chosen), folder / "cut", most_rows, 2500))
        assert isinstance(cut, str)
        assert not words or cut == whole
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MARK_ROWS", 8)
        patch.setattr(tidy, "MARK_ROWS", 8)
        patch.setattr(tidy, "MOST_STRETCHES", 1000)
        same(prepare_cut(source_of(files, **chosen), folder / "cut", most_rows, 2500), whole)


def refused_or(work: Callable[[], PreparedDataset]) -> PreparedDataset | str:
    """Return the prepared dataset, or the message about a series without the names of its files."""
    try:
        return work()
    except InputError as error:
        return error.messages[0].partition(", series")[2].partition(" is already in ")[0] or error.messages[0][-60:]


def jittered(rows: int, seed: int, step: str, off: str) -> pd.DataFrame:
    """Return two shuffled series with times slightly off their grid."""
    random, frames = np.random.default_rng(seed), []
    for name in ("n", "s"):
        times = pd.date_range("2024-01-01", periods=rows, freq=step.replace("d", "D"))
        late = pd.to_timedelta(np.round(random.uniform(-1, 1, rows) * pd.Timedelta(off).total_seconds()), unit="s")
        values = random.normal(size=(rows, 2)).round(3)
        values[random.random(values.shape) < 0.1] = np.nan
        values[0] = 0
        frame = pd.DataFrame(values, columns=["a", "b"]).assign(t=times + late, site=name)
        frames.append(frame.assign(kind=random.choice(["x", "y"], rows))[random.random(rows) > 0.05])
    return pd.concat(frames).sample(frac=1, random_state=seed)


@pytest.mark.parametrize("off", ["3min", "1s"])
def test_rows_off_their_grid_are_put_on_it_in_stretches(tmp_path: Path, off: str) -> None:
    check(jittered(160, 0, "1h", off), tmp_path, frequency="1h")


@pytest.mark.parametrize(
    ("frequency", "rule"),
    [
        *((None, "first"), (None, "last"), (None, "mean"), ("1h", "mean"), ("1h", "last"), ("2h", "mean")),
        *(("1mo", "first"), ("1mo", "last"), ("1mo", "mean"), ("1b", "last"), ("1b", "mean")),
    ],
)
def test_rows_of_one_time_or_step_are_merged_in_stretches(tmp_path: Path, frequency: str | None, rule: str) -> None:
    frame = jittered(200, 1, "1h", "0s")
    if frequency == "1b":
        frame = frame[frame["t"].dt.day_of_week < 5]
    if frequency == "1mo":
        frame["t"] = frame["t"].min() + (frame["t"] - frame["t"].min()) * 20
    again = frame.sample(frac=0.2, random_state=2).assign(a=7.0)
    check(pd.concat([frame, again]), tmp_path, frequency=frequency, duplicates=rule)


@pytest.mark.parametrize("frequency", ["1h", "1d"])
@pytest.mark.parametrize("rule", ["error", "mean"])
def test_local_days_are_cut_between_days(tmp_path: Path, frequency: str, rule: str) -> None:
    times = pd.date_range(
        "2024-03-20", "2024-04-10", freq="1h" if rule == "mean" else frequency.replace("d", "D"), tz="Europe/Berlin"
    )
    frame = pd.DataFrame({"t": times.strftime("%Y-%m-%dT%H:%M%z"), "a": np.arange(len(times)) % 7.0, "kind": "x"})
    frame["b"], frame["site"] = frame["a"] ** 2, "n"
    check(frame, tmp_path, 9, frequency=frequency, duplicates=rule, time_zone="Europe/Berlin", calendar=["hour"])


def test_whole_numbers_that_look_like_unix_time_are_cut_with_one_warning(tmp_path: Path) -> None:
    frame = panel(2)
    frame["t"] = frame["t"].astype("int64") // 10**9
    check(frame, tmp_path, frequency=3600, calendar=[])
    check(frame, tmp_path / "free", frequency=None, calendar=[])


@pytest.mark.parametrize("frequency", ["1h", "1mo", "1b"])
def test_times_on_no_grid_are_refused_with_the_message_of_one_piece(tmp_path: Path, frequency: str) -> None:
    frame = jittered(200, 3, "1h", "20min").sort_values("t")
    if frequency == "1mo":
        frame["t"] = frame["t"].min() + (frame["t"] - frame["t"].min()) * 40
    check(frame[frame["site"] == "n"], tmp_path, frequency="3mo" if frequency == "1mo" else frequency)


def test_no_task_has_all_rows_of_a_series_that_is_longer_than_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, rows_by_task = jittered(4000, 4, "1min", "2s"), []
    source = source_of(row_groups(frame[frame["site"] == "n"], tmp_path), **{**PLAIN, "frequency": "1min"})

    def count(task: Any) -> Any:
        outcome = run_task(task)
        rows_by_task.append((type(task), getattr(outcome.result, "rows", None) or 0))
        return outcome

    monkeypatch.setattr("panels.run_task", count)
    monkeypatch.setattr(runs, "MARK_ROWS", 16)
    prepare_cut(source, tmp_path / "cut", 200)
    assert sum(kind is TidyTask for kind, _ in rows_by_task) > 5
    assert sum(kind is PartTask for kind, _ in rows_by_task) > 5
    assert max(rows for kind, rows in rows_by_task if kind is PartTask) <= 200 + 5


def test_a_step_with_more_rows_than_a_task_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MARK_ROWS", 8)
    monkeypatch.setattr(tidy, "MARK_ROWS", 8)
    frame = jittered(900, 5, "1min", "0s")
    file = write_csv(frame[frame["site"] == "n"], tmp_path / "f.csv")
    with pytest.raises(InputError, match="rows have the same or neighbouring steps of time, too many to be merged at once"):
        prepare_cut(source_of(file, **{**PLAIN, "frequency": "1mo", "duplicates": "mean"}), tmp_path / "cut", 20)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_grid_of_times_in_any_order_is_that_of_sorted_times(data: st.DataObject) -> None:
    """Compare with the rule on all times at once: the median of all distances."""
    size = data.draw(st.sampled_from([60, 3600, 86400])) * 10**6
    off = data.draw(st.lists(st.integers(-size // 25, size // 25), min_size=2, max_size=40))
    steps = np.cumsum(data.draw(st.lists(st.integers(1, 3), min_size=len(off), max_size=len(off))))
    start = data.draw(st.integers(0, 10**15))
    values = np.sort(start + steps * size + np.array(off))
    near = (values - values[0] + size // 2) % size - size // 2
    middle = values[0] + int(np.median(near))
    whole = (middle + size // 2) // size * size
    distance = np.abs((values - whole + size // 2) % size - size // 2)
    expected = whole if distance.max() <= size // 10 else middle
    shuffled = np.random.default_rng(0).permutation(values)
    unit = {60: "1min", 3600: "1h", 86400: "1d"}[size // 10**6]
    parts = np.array_split(shuffled, data.draw(st.integers(1, 5)))
    grid = grid_of(lambda: parts, Times(values[:1], "date"), parse_frequency(unit))
    if near.any():
        assert (grid.origin - expected) % size == 0
        assert grid.steps(values)[0] == 0
    else:
        assert grid.origin == values[0]


def random_frame(random: np.random.Generator, step: str, rows: int) -> pd.DataFrame:
    frame = jittered(rows, int(random.integers(1 << 30)), step, "0s")
    late = random.choice([0, 0, 0, 1, 2], len(frame)) * pd.Timedelta(step.replace("d", "D")) / 24
    frame["t"] += pd.to_timedelta(late)
    again = frame.sample(frac=float(random.choice([0, 0.3])), random_state=1)
    return pd.concat([frame, again.assign(a=1.0, kind=None)]).sample(frac=1, random_state=2)


def any_series(seed: int) -> None:
    random = np.random.default_rng(seed)
    step = str(random.choice(["1min", "1h", "6h", "1d"]))
    frame = random_frame(random, step, int(random.integers(30, 200)))
    frequency = random.choice([None, step, "1d", "1w", "1mo", "1q"])
    rule = str(random.choice(["error", "first", "last", "mean"]))
    with tempfile.TemporaryDirectory() as folder:
        check(frame, Path(folder), int(random.integers(5, 90)), words=False, frequency=frequency, duplicates=rule)


@pytest.mark.parametrize("seed", range(6))
def test_any_series_is_prepared_in_parts_as_in_one_piece(seed: int) -> None:
    any_series(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_300_more_series_are_prepared_in_parts_as_in_one_piece(seed: int) -> None:
    any_series(seed)
