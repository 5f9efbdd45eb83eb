"""Categories become one-hot columns, times sines and cosines, labels class numbers; unseen categories are zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_all, prepare_frame, prepare_one, samples_of, source_of, write_csv

LABEL = {"features": ["a"], "targets": ["b"], "horizon": 0, "lookback": 1, "scaling": "none"}


def labelled(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return rows with labels x and y in train (60 %), other labels after it, and missing ones anywhere."""
    random = np.random.default_rng(seed)
    labels = np.where(np.arange(rows) < rows * 0.6, random.choice(["y", "x"], rows), random.choice(["y", "w", "z"], rows))
    return noise(rows, "ab", seed).assign(c=np.where(random.random(rows) < 0.1, None, labels))


@pytest.mark.parametrize("parquet", [False, True])
def test_one_hot_of_the_categories_of_train_with_zeros_for_all_others(tmp_path: Path, parquet: bool) -> None:
    frame = labelled(50)
    path = write_csv(frame, tmp_path / "f.csv")
    if parquet:
        path = tmp_path / "f.parquet"
        frame.astype({"c": "category"}).to_parquet(path)
    prepared = prepare_one(path, tmp_path, **LABEL, categorical=["c"])
    (dataset,) = encoded(prepared)
    assert dataset.encoding.categories == {"c": ["x", "y"]}
    assert dataset.num_features == 3
    expected = pd.get_dummies(frame["c"]).reindex(columns=["x", "y"]).to_numpy(float)
    for split, first, stop in (("train", 0, 30), ("validation", 30, 40), ("test", 40, 50)):
        np.testing.assert_array_equal(samples_of(prepared, split).inputs[:, 0, 1:], expected[first:stop])
        np.testing.assert_array_equal(samples_of(prepared, split).inputs[:, 0, 0], frame["a"][first:stop])


def test_categories_are_shared_by_all_files_and_all_datasets(tmp_path: Path) -> None:
    frames = [labelled(50, seed).assign(key=str(seed)) for seed in range(3)]
    frames[1]["c"] = frames[1]["c"].replace({"x": "v"})
    files = [write_csv(frame, tmp_path / f"{k}.csv") for k, frame in enumerate(frames)]
    sources = [
        source_of(files[:2], name="0", series="key", categorical=["c"], **LABEL),
        source_of(files[2], name="1", series="key", categorical=["c"], **LABEL),
    ]
    datasets = encoded(prepare_all(sources, tmp_path))
    for dataset, dataset_frames in zip(datasets, (frames[:2], frames[2:]), strict=True):
        assert dataset.encoding.categories == {"c": ["v", "x", "y"]}
        train = pd.concat([frame[:30] for frame in dataset_frames])["c"]
        inputs = dataset.batch("train", np.arange(len(train))).inputs[:, 0, 1:]
        np.testing.assert_array_equal(inputs, pd.get_dummies(train).reindex(columns=["v", "x", "y"], fill_value=0))


def test_several_categorical_columns_keep_their_order_before_calendar_and_flags(tmp_path: Path) -> None:
    frame = labelled(50).assign(d=[f"d{row % 4}" for row in range(50)], t=pd.date_range("2020", periods=50, freq="h"))
    frame.loc[3, "a"] = np.nan
    extra = {"time": "t", "calendar": ["hour"], "missing_flags": True}
    prepared = prepare_frame(frame, tmp_path, **LABEL, categorical=["d", "c"], **extra)
    assert [column.name for column in prepared.columns] == ["a", "d", "c", "hour_sin", "hour_cos", "a_missing", "b"]
    inputs = samples_of(prepared, "train").inputs[:, 0]
    assert inputs.shape[1] == 1 + 4 + 2 + 2 + 1
    np.testing.assert_array_equal(inputs[:, 1:5], pd.get_dummies(frame["d"][:30]))
    np.testing.assert_array_equal(inputs[:, 9], np.arange(30) == 3)


def test_calendar_is_that_of_pandas(tmp_path: Path) -> None:
    times = pd.date_range("1999-12-20 00:30", periods=400, freq="37h")
    frame = noise(400, "ab").assign(t=times)
    parts = ["hour", "weekday", "month", "day_of_year"]
    prepared = prepare_frame(frame, tmp_path, **LABEL, time="t", calendar=parts, split=[1, 0, 0])
    day = (times - times.normalize()) / pd.Timedelta("1D")
    turns = [day, (times.day_of_week + day) / 7, (times.month - 1) / 12, (times.day_of_year - 1 + day) / 365.25]
    expected = np.stack([wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)], axis=1)
    np.testing.assert_allclose(samples_of(prepared, "train").inputs[:, 0, 1:], expected, atol=1e-5)


def test_labels_of_inserted_steps_are_missing_and_all_others_stay_at_theirs(tmp_path: Path) -> None:
    frame = labelled(60).assign(c=[f"c{row % 3}" for row in range(60)], t=np.arange(60)).drop(index=[10, 11, 30])
    settings = {**LABEL, "lookback": 1, "targets": ["a"], "horizon": 1, "time": "t", "frequency": 1, "split": [1, 0, 0]}
    prepared = prepare_frame(frame, tmp_path, **settings, categorical=["c"])
    expected = pd.get_dummies(frame.set_index("t")["c"].reindex(range(60))).to_numpy(float)
    ends = [end for end in range(59) if end + 1 not in (10, 11, 30)]
    np.testing.assert_array_equal(samples_of(prepared, "train").inputs[:, 0, 1:], expected[ends])


def test_the_calendar_of_inserted_steps_continues(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=60, freq="h")
    frame = noise(60, "ab").assign(t=times).drop(index=[10, 11, 12])
    settings = {**LABEL, "targets": ["a"], "horizon": 1, "time": "t", "calendar": ["hour"]}
    prepared = prepare_frame(frame, tmp_path, **settings, frequency="1h")
    waves = prepared.parts[0].values[:, 1]
    np.testing.assert_allclose(waves, np.sin(2 * np.pi * times.hour / 24), atol=1e-6)


@pytest.mark.parametrize("numbers", [False, True])
def test_classes_are_numbered_by_train_and_an_unseen_one_is_minus_one(tmp_path: Path, numbers: bool) -> None:
    frame = labelled(50)
    if numbers:
        frame["c"] = frame["c"].map({"x": 10, "y": 9, "w": 8, "z": 7}).astype("Int64")
    settings = {**LABEL, "targets": ["c"], "classes": True}
    prepared = prepare_frame(frame, tmp_path, **settings)
    (dataset,) = encoded(prepared)
    assert dataset.encoding.classes == (["10", "9"] if numbers else ["x", "y"])
    class_number = {label: number for number, label in enumerate(dataset.encoding.classes)}
    for split, first, stop in (("train", 0, 30), ("validation", 30, 40), ("test", 40, 50)):
        labels = frame["c"][first:stop].dropna()
        batch = samples_of(prepared, split)
        assert batch.targets.dtype == np.int64
        np.testing.assert_array_equal(batch.targets, [class_number.get(str(label), -1) for label in labels])
        np.testing.assert_array_equal(batch.inputs[:, 0, 0], frame["a"][labels.index])
    assert -1 in samples_of(prepared, "validation").targets
    assert prepared.target_labels("train") == [str(label) for label in frame["c"][:30].dropna()]


def test_classes_are_shared_by_all_datasets(tmp_path: Path) -> None:
    sources = []
    for number, labels in enumerate((["p", "q"], ["q", "r"])):
        frame = noise(20).assign(c=labels * 10)
        path = write_csv(frame, tmp_path / f"{number}.csv")
        sources.append(source_of(path, name=str(number), **{**LABEL, "targets": ["c"]}, classes=True))
    first, second = encoded(prepare_all(sources, tmp_path))
    assert first.encoding.classes == second.encoding.classes == ["p", "q", "r"]
    np.testing.assert_array_equal(first.batch("train", np.arange(4)).targets, [0, 1, 0, 1])
    np.testing.assert_array_equal(second.batch("train", np.arange(4)).targets, [1, 2, 1, 2])


def test_one_class_a_series_is_that_of_its_last_row(tmp_path: Path) -> None:
    frame = noise(40).assign(key=np.repeat(np.arange(10), 4), c=[*"...x", *"...y"] * 5).replace({".": None})
    settings = {**LABEL, "targets": ["c"], "lookback": "all", "series": "key", "split_by": "series", "split": [1, 0, 0]}
    prepared = prepare_frame(frame, tmp_path, **settings, classes=True)
    batch = samples_of(prepared, "train")
    np.testing.assert_array_equal(batch.targets, [0, 1] * 5)
    np.testing.assert_array_equal(batch.lengths, 4)
