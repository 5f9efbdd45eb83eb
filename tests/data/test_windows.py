"""Samples are the windows of a NumPy loop; they do not cross series, and train windows do not cross splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_frame, prepare_one, samples_of, settings_of, write_csv
from hypothesis import given
from hypothesis import strategies as st

from data.samples.windows import Marks, find_windows

BOUNDS = ((0, 36), (36, 48), (48, 60))
SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(("lookback", "horizon", "stride"), [(1, 1, 1), (5, 1, 1), (5, 3, 1), (4, 2, 3), (8, 5, 2)])
def test_forecast_windows_are_those_of_a_loop(tmp_path: Path, lookback: int, horizon: int, stride: int) -> None:
    frame = noise(60, "ab")
    settings = {"lookback": lookback, "horizon": horizon, "stride": stride, "scaling": "none"}
    prepared = prepare_frame(frame, tmp_path, features=["a", "b"], targets=["b"], **settings)
    values = frame.to_numpy()
    for split, (first, stop) in zip(SPLITS, BOUNDS, strict=True):
        begin = max(first, lookback)  # the first predicted row: a validation window may look back into train
        steps = range(begin, stop - horizon + 1, stride)
        batch = samples_of(prepared, split)
        np.testing.assert_array_equal(batch.inputs, np.stack([values[at - lookback : at] for at in steps]))
        np.testing.assert_array_equal(batch.targets, np.stack([values[at : at + horizon, 1:] for at in steps]))
        np.testing.assert_array_equal(batch.lengths, lookback)


@pytest.mark.parametrize(("min_lookback", "stride"), [(None, 1), (1, 1), (3, 2)])
def test_label_windows_end_at_their_label_and_short_histories_are_padded(
    tmp_path: Path, min_lookback: int | None, stride: int
) -> None:
    frame = noise(30, "ab").assign(engine=np.repeat(["x", "y", "z"], [4, 20, 6]))
    settings = {"lookback": 6, "min_lookback": min_lookback, "horizon": 0, "stride": stride, "scaling": "none"}
    prepared = prepare_frame(frame, tmp_path, features=["a"], targets=["b"], series="engine", split=[1, 0, 0], **settings)
    expected = []
    for _, engine in frame.groupby("engine"):
        for end in range((min_lookback or 6) - 1, len(engine), stride):
            rows = engine["a"].to_numpy()[max(end - 5, 0) : end + 1]
            expected.append((np.pad(rows, (0, 6 - len(rows))), len(rows), engine["b"].iloc[end]))
    batch = samples_of(prepared, "train")
    np.testing.assert_array_equal(batch.inputs[..., 0], [rows for rows, _, _ in expected])
    np.testing.assert_array_equal(batch.lengths, [length for _, length, _ in expected])
    np.testing.assert_array_equal(batch.targets[:, 0, 0], [label for _, _, label in expected])


def test_one_sample_a_series_holds_all_of_it_padded_with_zeros(tmp_path: Path) -> None:
    lengths = {"s1": 3, "s2": 1, "s3": 7, "s4": 5}
    frame = noise(16, "abc").assign(key=np.repeat(list(lengths), list(lengths.values())))
    settings = {"lookback": "all", "horizon": 0, "split_by": "series", "split": [1, 0, 0], "scaling": "minmax"}
    prepared = prepare_frame(frame, tmp_path, features=["a", "b"], targets=["c"], series="key", **settings)
    batch = samples_of(prepared, "train")
    low, high = frame[["a", "b", "c"]].min().to_numpy(), frame[["a", "b", "c"]].max().to_numpy()
    assert batch.inputs.shape == (4, 7, 2)
    for sample, (_, rows) in enumerate(frame.groupby("key")):
        scaled = (rows[["a", "b", "c"]].to_numpy() - low) / (high - low)
        np.testing.assert_allclose(batch.inputs[sample, : len(rows)], scaled[:, :2], atol=1e-6)
        assert not batch.inputs[sample, len(rows) :].any()
        np.testing.assert_allclose(batch.targets[sample, 0], scaled[-1, 2:], atol=1e-6)
    np.testing.assert_array_equal(batch.lengths, list(lengths.values()))


def test_a_batch_holds_the_samples_asked_for_in_their_order_from_any_part(tmp_path: Path) -> None:
    files = [write_csv(noise(size, "ab", size).assign(key=f"k{size}"), tmp_path / f"{size}.csv") for size in (9, 14, 20)]
    settings = {"lookback": 5, "min_lookback": 1, "horizon": 0, "series": "key", "scaling": "none", "split": [1, 0, 0]}
    prepared = prepare_one(files, tmp_path, features=["a"], targets=["b"], **settings)
    assert len(prepared.parts) == 3
    whole = samples_of(prepared, "train")
    (dataset,) = encoded(prepared)
    chosen = np.array([40, 0, 9, 8, 22, 23, 0])
    batch = dataset.batch("train", chosen)
    np.testing.assert_array_equal(batch.inputs, whole.inputs[chosen])
    np.testing.assert_array_equal(batch.lengths, whole.lengths[chosen])
    np.testing.assert_array_equal(batch.targets, whole.targets[chosen])
    np.testing.assert_array_equal(dataset.lengths("train"), whole.lengths)
    short = dataset.batch("train", np.array([9, 0]))  # padded to the longest of the batch only
    assert short.inputs.shape == (2, 1, 1)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_of_no_sample_is_empty(tmp_path: Path, parts: int) -> None:
    files = [write_csv(noise(9).assign(key=k), tmp_path / f"{k}.csv") for k in range(parts)]
    (dataset,) = encoded(prepare_one(files, tmp_path, series="key", split=[1, 0, 0]))
    batch = dataset.batch("train", np.empty(0, np.int64))
    assert (len(batch.inputs), batch.inputs.shape[2], batch.lengths.shape, batch.targets.shape) == (0, 1, (0,), (0, 1, 1))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    rows = draw(st.integers(0, 24))
    cuts = sorted(draw(st.lists(st.integers(0, rows), min_size=3, max_size=3)))
    lookback = draw(st.integers(1, 8))
    flags = st.lists(st.sampled_from([False, False, False, True]), min_size=rows, max_size=rows)
    return {
        "bounds": (0, *cuts),
        "lookback": lookback,
        "min_lookback": draw(st.one_of(st.none(), st.integers(1, lookback))),
        "horizon": draw(st.integers(0, 4)),
        "stride": draw(st.integers(1, 4)),
        "bad_target": np.array(draw(flags), bool),
        "bad_input": np.array(draw(flags), bool) if draw(st.booleans()) else None,
    }


@given(cases(), st.sampled_from([0, 1, 2]))
def test_the_windows_are_exactly_the_allowed_ones(case: dict[str, Any], part: int) -> None:
    first, stop = case["bounds"][part : part + 2]
    settings = settings_of(
        features=["a"], targets=["b"], **{key: case[key] for key in ("lookback", "min_lookback", "horizon", "stride")}
    )
    windows = find_windows(case["bounds"], part, settings, Marks(case["bad_target"], case["bad_input"]))
    starts, lengths = windows.starts, windows.lengths
    allowed = []
    for end in range(len(case["bad_target"])):  # the last input row
        predicted = range(end + 1, end + 1 + case["horizon"]) if case["horizon"] else [end]
        length = min(end + 1, case["lookback"])
        if all(first <= row < stop for row in predicted) and length >= settings.shortest_history:
            allowed.append((end + 1 - length, length, predicted))
    expected = [
        (start, length)
        for start, length, predicted in allowed[:: case["stride"]]
        if not case["bad_target"][list(predicted)].any()
        and (case["bad_input"] is None or not case["bad_input"][start : start + length].any())
    ]
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == expected


@given(st.lists(st.integers(1, 15), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 3), st.integers(1, 3))
def test_no_sample_has_rows_of_two_series_or_after_its_split(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], lookback: int, horizon: int, stride: int
) -> None:
    sizes = [30, *sizes]
    keys = np.repeat(np.arange(len(sizes)), sizes)
    step = np.concatenate([np.arange(size) for size in sizes])
    frame = pd.DataFrame({"key": keys, "series_in": keys, "step_in": step, "series_out": keys, "step_out": step})
    columns = {"features": ["series_in", "step_in"], "targets": ["series_out", "step_out"], "series": "key"}
    settings = {"lookback": lookback, "min_lookback": 1, "horizon": horizon, "stride": stride, "scaling": "none"}
    prepared = prepare_frame(frame, tmp_path_factory.mktemp("d"), **columns, **settings)
    for part, split in enumerate(SPLITS):
        batch = samples_of(prepared, split)
        for inputs, length, targets in zip(batch.inputs, batch.lengths, batch.targets, strict=True):
            (key,) = {*inputs[:length, 0], *targets[:, 0]}
            rows = sizes[int(key)]
            bounds = [0, int(rows * 0.6 + 1e-9), int(rows * 0.8 + 1e-9), rows]
            assert bounds[part] <= targets[:, 1].min() <= targets[:, 1].max() < bounds[part + 1]
            np.testing.assert_array_equal(np.diff(inputs[:length, 1]), 1)
            assert inputs[length - 1, 1] + (horizon > 0) == targets[0, 1]
