"""Missing values are filled as by pandas, never with values after a split."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import noise, prepare_frame, samples_of
from hypothesis import given
from hypothesis import strategies as st

from data.samples.gaps import fill_gaps, last_observed

nan = np.nan


def interpolated(values: np.ndarray, bounds: tuple[int, ...]) -> np.ndarray:
    """Interpolate with pandas split by split; the last row of the previous split is a neighbour."""
    filled = np.array(values, np.float64)
    for start, stop in pairwise(bounds):
        part = pd.Series(filled[max(start - 1, 0) : stop]).interpolate(limit_direction="both")
        filled[start:stop] = part[len(part) - (stop - start) :]
    return filled


@given(
    st.lists(st.one_of(st.integers(-100, 100), st.just(nan)), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), min_size=2, max_size=2),
)
def test_interpolate_is_that_of_pandas_split_by_split(values: list[float], cuts: list[int]) -> None:
    validation, test = sorted(min(cut, len(values)) for cut in cuts)
    bounds = (0, validation, test, len(values))
    column = np.array(values, np.float32)
    filled = fill_gaps(column[:, None], bounds, "interpolate")[:, 0]
    np.testing.assert_allclose(filled, interpolated(column, bounds), rtol=1e-6, atol=1e-6)


@given(st.lists(st.one_of(st.integers(-9, 9), st.just(nan)), min_size=1, max_size=30))
def test_forward_is_that_of_pandas(values: list[float]) -> None:
    column = np.array(values, np.float32)
    filled = fill_gaps(column[:, None], (0, 0, 0, len(values)), "forward")[:, 0]
    np.testing.assert_array_equal(filled, pd.Series(column).ffill())
    np.testing.assert_array_equal(last_observed(column), filled)


@given(
    st.sampled_from(["interpolate", "forward"]),
    st.lists(st.one_of(st.integers(-9, 9), st.just(nan)), min_size=2, max_size=20),
    st.data(),
)
def test_values_before_a_split_do_not_depend_on_values_after_it(
    method: str, values: list[float], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    other = data.draw(st.lists(st.one_of(st.integers(-9, 9), st.just(nan)), min_size=1, max_size=20))
    before = [
        fill_gaps(np.array([*values[:cut], *rest], np.float32)[:, None], (0, cut, cut + len(rest), cut + len(rest)), method)
        for rest in (values[cut:], other)
    ]
    assert before[0][:cut].tobytes() == before[1][:cut].tobytes()


def test_a_gap_at_the_end_of_train_keeps_the_last_value_and_one_after_it_begins_there() -> None:
    column = np.array([1, nan, 3, nan, nan, 9, nan], np.float32)[:, None]
    filled = fill_gaps(column, (0, 4, 7, 7), "interpolate")[:, 0]
    np.testing.assert_array_equal(filled, [1, 2, 3, 3, 6, 9, 9])


def test_a_column_without_gaps_is_not_copied() -> None:
    column = np.arange(4, dtype=np.float32)[:, None]
    assert fill_gaps(column, (0, 2, 3, 4), "interpolate") is column


@pytest.mark.parametrize("missing", ["interpolate", "forward", "mean", "zero"])
def test_inputs_are_filled_by_each_method(tmp_path: Path, missing: str) -> None:
    frame = noise(40, "ab", gaps=0.25)
    frame.loc[:2, "a"] = nan  # nothing before it
    frame["b"] = frame["b"].fillna(1.0)
    prepared = prepare_frame(frame, tmp_path, features=["a"], targets=["b"], horizon=0, scaling="none", missing=missing)
    a, mean = frame["a"], frame["a"][:24].mean()
    filled = {
        "interpolate": pd.Series(interpolated(a.to_numpy(), (0, 24, 32, 40))),
        "forward": a.ffill().fillna(mean),
        "mean": a.fillna(mean),
        "zero": a.fillna(0),
    }[missing]
    windows = np.lib.stride_tricks.sliding_window_view(filled.to_numpy(np.float32), 3)
    for split, first, stop in (("train", 0, 22), ("validation", 22, 30), ("test", 30, 38)):
        np.testing.assert_allclose(samples_of(prepared, split).inputs[..., 0], windows[first:stop], rtol=1e-6)
    assert prepared.manifest.missing == {"a": int(a.isna().sum()), "b": 0}


def test_drop_leaves_out_the_samples_that_touch_a_gap_and_only_those(tmp_path: Path) -> None:
    frame = noise(60, "ab", gaps=0.1).assign(b=np.arange(60.0))
    prepared = prepare_frame(frame, tmp_path, features=["a"], targets=["b"], horizon=1, missing="drop", scaling="none")
    whole = [end for end in range(3, 36) if not frame["a"][end - 3 : end].isna().any()]
    assert 0 < len(whole) < 33
    np.testing.assert_array_equal(samples_of(prepared, "train").targets[:, 0, 0], whole)


@pytest.mark.parametrize("missing", ["interpolate", "zero"])
def test_a_missing_target_is_never_invented(tmp_path: Path, missing: str) -> None:
    frame = noise(60, "ab").assign(b=np.arange(60.0))
    frame.loc[[10, 20, 45], "b"] = nan
    settings = {"features": ["a", "b"], "targets": ["b"], "horizon": 2, "missing": missing, "scaling": "none"}
    prepared = prepare_frame(frame, tmp_path, **settings)
    steps = samples_of(prepared, "train").targets[..., 0]
    expected = [(end, end + 1) for end in range(3, 35) if not {end, end + 1} & {10, 20}]
    np.testing.assert_array_equal(steps, expected)


def test_flags_say_where_a_feature_was_missing(tmp_path: Path) -> None:
    frame = noise(40, "abc", gaps=0.2)
    prepared = prepare_frame(
        frame, tmp_path, features=["a", "b"], targets=["c"], horizon=0, missing_flags=True, scaling="none"
    )
    ends = [end for end in range(2, 24) if not np.isnan(frame["c"][end])]
    inputs = samples_of(prepared, "train").inputs
    for sample, end in enumerate(ends):
        np.testing.assert_array_equal(inputs[sample, :, 2:], frame[["a", "b"]][end - 2 : end + 1].isna())


def test_missing_values_are_counted_once_for_a_column_that_is_feature_and_target(tmp_path: Path) -> None:
    frame = noise(40, gaps=0.2)
    assert prepare_frame(frame, tmp_path).manifest.missing == {"a": int(frame["a"].isna().sum())}
