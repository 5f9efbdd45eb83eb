"""The scaler is fitted on the train rows only, with the statistics of pandas and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_all, prepare_frame, samples_of, source_of, write_csv
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from data.errors import InputError
from data.prepared.encoding import make_encodings
from data.samples.statistics import Statistics

COLUMNS = {"features": ["a", "b"], "targets": ["b", "c"], "horizon": 2}
NUMERIC = ["a", "b", "b", "c"]
SCALERS = {"standard": StandardScaler(), "robust": RobustScaler(), "minmax": MinMaxScaler()}


def scaler_of(scaling: str, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return center and scale by scikit-learn, which also skips missing values."""
    if scaling == "none":
        return np.zeros(len(NUMERIC)), np.ones(len(NUMERIC))
    scaler = SCALERS[scaling].fit(rows[NUMERIC].to_numpy(np.float64))
    if scaling == "minmax":
        return scaler.data_min_, scaler.data_range_
    return (scaler.center_ if scaling == "robust" else scaler.mean_), scaler.scale_


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax", "none"])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_center_and_scale_are_those_of_scikit_learn_on_the_train_rows(tmp_path: Path, scaling: str, gaps: float) -> None:
    frame = noise(200, "abc", gaps=gaps)
    prepared = prepare_frame(frame, tmp_path, **COLUMNS, scaling=scaling, missing="mean")
    (encoding,) = make_encodings([prepared], [prepared.settings])
    center, scale = scaler_of(scaling, frame[:120])
    np.testing.assert_allclose(encoding.center, center, rtol=1e-6)
    np.testing.assert_allclose(encoding.scale, scale, rtol=1e-6)


def test_quartiles_are_taken_after_gaps_are_filled(tmp_path: Path) -> None:
    frame = noise(200, "abc", gaps=0.2)
    prepared = prepare_frame(frame, tmp_path, **COLUMNS, scaling="robust", missing="forward")
    filled = frame[:120].copy()
    filled[["a", "b"]] = filled[["a", "b"]].ffill()
    expected = filled[["a", "b"]].quantile([0.25, 0.5, 0.75]).to_numpy()
    np.testing.assert_allclose(prepared.quartiles[:, :2], expected, rtol=1e-6)
    np.testing.assert_allclose(prepared.quartiles[:, 3], frame["c"][:120].quantile([0.25, 0.5, 0.75]), rtol=1e-6)


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax"])
def test_the_train_rows_of_all_series_scale_together(tmp_path: Path, scaling: str) -> None:
    frame = noise(100, "abc").assign(key=np.repeat(["x", "y", "z"], [50, 30, 20]))
    prepared = prepare_frame(frame, tmp_path, **COLUMNS, scaling=scaling, series="key")
    train = pd.concat([rows[: int(len(rows) * 0.6)] for _, rows in frame.groupby("key")])
    (encoding,) = make_encodings([prepared], [prepared.settings])
    center, scale = scaler_of(scaling, train)
    np.testing.assert_allclose(encoding.center, center, rtol=1e-6)
    np.testing.assert_allclose(encoding.scale, scale, rtol=1e-6)


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax"])
@pytest.mark.parametrize("scope", ["dataset", "shared", "primary"])
def test_the_scope_chooses_the_train_rows_that_the_scaler_is_fitted_on(tmp_path: Path, scaling: str, scope: str) -> None:
    frames = [noise(50, "abc", 1), noise(100, "abc", 2) * 10, noise(80, "abc", 3) - 40]
    sources = [
        source_of(write_csv(frame, tmp_path / f"{k}.csv"), name=str(k), **COLUMNS, scaling=scaling, scaling_scope=scope)
        for k, frame in enumerate(frames)
    ]
    prepared = prepare_all(sources, tmp_path)
    train = [frame[: int(len(frame) * 0.6)] for frame in frames]
    fitted_on = {"dataset": train, "shared": [pd.concat(train)] * 3, "primary": [train[0]] * 3}[scope]
    for encoding, rows in zip(make_encodings(prepared, [p.settings for p in prepared]), fitted_on, strict=True):
        center, scale = scaler_of(scaling, rows)
        np.testing.assert_allclose(encoding.center, center, rtol=1e-5)
        np.testing.assert_allclose(encoding.scale, scale, rtol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax"])
def test_batches_hold_features_and_targets_scaled_apart(tmp_path: Path, scaling: str) -> None:
    frame = noise(60, "abc")
    prepared = prepare_frame(frame, tmp_path, **COLUMNS, scaling=scaling)
    center, scale = scaler_of(scaling, frame[:36])
    scaled = (frame[NUMERIC].to_numpy() - center) / scale
    batch = samples_of(prepared, "train")
    for sample in range(len(batch.inputs)):  # lookback 3, horizon 2
        np.testing.assert_allclose(batch.inputs[sample], scaled[sample : sample + 3, :2], rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(batch.targets[sample], scaled[sample + 3 : sample + 5, 2:], rtol=2e-5, atol=1e-5)
    (dataset,) = encoded(prepared)
    np.testing.assert_allclose(dataset.target_scale, scale[2:], rtol=1e-6)


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax"])
def test_a_constant_column_becomes_zero_with_a_warning(tmp_path: Path, scaling: str) -> None:
    frame = noise(50, "ab").assign(b=np.float32(0.1))
    prepared = prepare_frame(frame, tmp_path, features=["a", "b"], targets=["a"], scaling=scaling)
    assert [text for text in prepared.manifest.warnings if "'b' is constant" in text]
    batch = samples_of(prepared, "train")
    assert np.all(batch.inputs[..., 1] == 0.0)
    assert np.all(batch.inputs[..., 0] != 0.0) or scaling != "standard"


def test_a_missing_value_that_nothing_fills_is_the_mean_of_the_datasets_own_train_rows(tmp_path: Path) -> None:
    sources = [
        source_of(write_csv(frame, tmp_path / f"{k}.csv"), name=str(k), missing="mean", scaling_scope="primary")
        for k, frame in enumerate([noise(40, gaps=0.2), noise(40, seed=1, gaps=0.2) + 100])
    ]
    prepared = prepare_all(sources, tmp_path)
    first, second = encoded(prepared)
    column = pd.read_csv(tmp_path / "1.csv")["a"]
    holes = np.isnan(np.lib.stride_tricks.sliding_window_view(column[:23].to_numpy(), 3))
    keep = ~column[3:24].isna().to_numpy()
    batch = second.batch("train", np.arange(second.num_samples("train")))
    center, scale = first.encoding.center[0], first.encoding.scale[0]
    np.testing.assert_allclose(batch.inputs[..., 0][holes[keep]], (column[:24].mean() - center) / scale, rtol=1e-5)


ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.just(2)),
    elements=st.one_of(st.floats(-1e4, 1e4, width=32), st.just(float("nan"))),
)


@given(ROWS, st.lists(st.integers(0, 40), max_size=4))
def test_statistics_of_pieces_add_up_to_those_of_the_whole(rows: np.ndarray, cuts: list[int]) -> None:
    pieces = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
    pooled = Statistics.from_json(Statistics.pooled((Statistics.of(piece) for piece in pieces), 2).to_json())
    frame = pd.DataFrame(rows.astype(np.float64))
    seen = frame.count().to_numpy() > 0
    np.testing.assert_array_equal(pooled.count, frame.count())
    np.testing.assert_allclose(pooled.mean[seen], frame.mean()[seen], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(pooled.deviation[seen], frame.std(ddof=0)[seen], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(pooled.low[seen], frame.min()[seen])
    np.testing.assert_array_equal(pooled.high[seen], frame.max()[seen])


def test_statistics_in_blocks_are_those_of_numpy_far_from_zero() -> None:
    rows = (1e4 + np.random.default_rng(0).normal(size=(150_000, 1))).astype(np.float32)
    statistics = Statistics.of(rows)
    np.testing.assert_allclose(statistics.deviation, rows.astype(np.float64).std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)


def test_more_than_32_categories_over_all_datasets_are_refused(tmp_path: Path) -> None:
    sources = []
    for k in range(2):
        frame = noise(100).assign(c=[f"{k}-{row % 20}" for row in range(100)])
        sources.append(source_of(write_csv(frame, tmp_path / f"{k}.csv"), name=str(k), categorical=["c"]))
    prepared = prepare_all(sources, tmp_path)
    with pytest.raises(InputError, match="column 'c': the train rows of all 2 datasets together have 40 categories"):
        make_encodings(prepared, [p.settings for p in prepared])


def test_robust_scaling_of_mostly_equal_values_is_by_the_standard_deviation(tmp_path: Path) -> None:  # case 09
    random = np.random.default_rng(0)
    frame = noise(200, "ab").assign(a=np.where(random.random(200) < 0.1, random.random(200) * 8000, 0.0))
    prepared = prepare_frame(frame, tmp_path, scaling="robust", features=["a", "b"], targets=["a"])
    (dataset,) = encoded(prepared)
    train = frame["a"][:120].astype(np.float32)
    assert dataset.encoding.center[0] == 0
    assert dataset.encoding.scale[0] == pytest.approx(train.std(ddof=0), rel=1e-6)
    quartiles = frame["b"][:120].quantile([0.25, 0.75]).to_numpy()
    assert dataset.encoding.scale[1] == pytest.approx(quartiles[1] - quartiles[0], rel=1e-6)
    assert np.abs(dataset.batch("train", np.arange(dataset.num_samples("train"))).inputs).max() < 12
    (warning,) = [text for text in dataset.warnings if "interquartile range of 0" in text]
    assert warning.startswith("column 'a'")
