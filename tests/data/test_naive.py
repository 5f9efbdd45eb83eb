"""The error of the naive forecast, which divides every scaled error, against a loop and published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_cases import encoded, noise, prepare_frame, prepare_one

from data.samples.naive_sums import NaiveSums

COLUMNS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]


def test_repeating_the_last_value_gives_the_published_error_on_etth1(shared_data: Path, tmp_path: Path) -> None:
    prepared = prepare_one(
        shared_data / "ett" / "ETTh1.csv",
        tmp_path,
        time="date",
        features=COLUMNS,
        targets=COLUMNS,
        lookback=96,
        horizon=96,
        split={"validation": "2017-06-26", "test": "2017-10-24", "end": "2018-02-21"},
    )
    (dataset,) = encoded(prepared)
    assert prepared.manifest.samples == {"train": 8449, "validation": 2785, "test": 2785}
    sums = {name: np.array(values) for name, values in prepared.manifest.naive["test"].to_json().items()}
    count = sums["count"].sum()
    assert count == 2785 * 96 * 7
    assert (sums["squared"] / dataset.target_scale**2).sum() / count == pytest.approx(1.2944, abs=5e-5)
    assert (sums["absolute"] / dataset.target_scale).sum() / count == pytest.approx(0.7132, abs=5e-5)


@pytest.mark.parametrize("as_feature", [True, False])
def test_a_forecast_is_compared_with_the_last_value_that_is_known(tmp_path: Path, as_feature: bool) -> None:
    frame = noise(60, "ab", gaps=0.1)
    features = ["a", "b"] if as_feature else ["a"]
    settings = {"targets": ["b"], "lookback": 3, "horizon": 2, "missing": "forward"}
    prepared = prepare_frame(frame, tmp_path, features=features, **settings)
    known = frame["b"].ffill().to_numpy(np.float64)
    values = frame["b"].to_numpy(np.float64)
    for split, first, stop in (("validation", 36, 48), ("test", 48, 60)):
        gaps = [values[at : at + 2] - known[at - 1] for at in range(first, stop - 1)]
        errors = np.concatenate([gap for gap in gaps if not np.isnan(gap).any()])
        sums = prepared.manifest.naive[split]
        assert sums.count == (len(errors),)
        np.testing.assert_allclose(sums.squared, [(errors**2).sum()], rtol=1e-6)
        np.testing.assert_allclose(sums.absolute, [abs(errors).sum()], rtol=1e-6)


def test_a_missing_last_value_is_the_filled_value_of_the_input(tmp_path: Path) -> None:
    frame = noise(30)
    frame.loc[[20, 21], "a"] = np.nan
    prepared = prepare_frame(frame, tmp_path, missing="interpolate")
    values = frame["a"].to_numpy(np.float64)
    known = frame["a"].interpolate().to_numpy(np.float64)
    errors = [values[at] - known[at - 1] for at in range(18, 24) if not np.isnan(values[at])]
    np.testing.assert_allclose(prepared.manifest.naive["validation"].squared, [np.square(errors).sum()], rtol=1e-6)


@pytest.mark.parametrize("missing", ["mean", "zero"])
def test_a_missing_last_value_is_the_one_before_it_if_gaps_are_filled_with_constants(tmp_path: Path, missing: str) -> None:
    frame = noise(30)
    frame.loc[[20, 21], "a"] = np.nan
    prepared = prepare_frame(frame, tmp_path, missing=missing)
    values, known = frame["a"].to_numpy(np.float64), frame["a"].ffill().to_numpy(np.float64)
    errors = [values[at] - known[at - 1] for at in range(18, 24) if not np.isnan(values[at])]
    assert prepared.manifest.naive["validation"].count == (4,)
    np.testing.assert_allclose(prepared.manifest.naive["validation"].squared, [np.square(errors).sum()], rtol=1e-6)


def test_a_label_is_compared_with_the_mean_of_the_train_samples(tmp_path: Path) -> None:
    frame = noise(50, "ab")
    prepared = prepare_frame(frame, tmp_path, features=["a"], targets=["b"], horizon=0)
    mean = frame["b"][2:30].astype(np.float64).mean()  # lookback 3: the first label is that of row 2
    for split, first, stop in (("validation", 30, 40), ("test", 40, 50)):
        errors = frame["b"][first:stop].astype(np.float64) - mean
        sums = prepared.manifest.naive[split]
        assert sums.count == (10,)
        np.testing.assert_allclose(sums.squared, [(errors**2).sum()], rtol=1e-5)
        np.testing.assert_allclose(sums.absolute, [errors.abs().sum()], rtol=1e-5)


def test_a_class_is_compared_with_the_most_frequent_one_of_train(tmp_path: Path) -> None:
    frame = noise(20).assign(label=[*["x"] * 5, *["y"] * 7, *["x"] * 4, *["z", "y", "y", "x"]])
    prepared = prepare_frame(frame, tmp_path, features=["a"], targets=["label"], horizon=0, lookback=1, classes=True)
    assert prepared.manifest.naive == {
        "validation": NaiveSums((4,), wrong=(4,)),
        "test": NaiveSums((4,), wrong=(2,)),
    }
