"""Validation and test rows do not reach train: with other rows there, all of train has the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_all, prepare_frame, source_of, write_csv
from hypothesis import given
from hypothesis import strategies as st

from data.prepared.prepared import PreparedDataset

TRAIN = 60  # of 100 rows
METHODS = ["interpolate", "forward", "mean", "zero", "drop"]
SCALINGS = ["standard", "robust", "minmax", "none"]
SETTINGS = {"features": ["a", "b"], "targets": ["b"], "horizon": 2, "missing_flags": True, "categorical": ["c"]}


def seen_in_train(prepared: PreparedDataset) -> dict[str, Any]:
    """Return all that training on a dataset can see of it, as bytes."""
    (dataset,) = encoded(prepared)
    batch = dataset.batch("train", np.arange(dataset.num_samples("train")))
    return {
        "inputs": batch.inputs.tobytes(),
        "shape": batch.inputs.shape,
        "lengths": batch.lengths.tobytes(),
        "targets": batch.targets.tobytes(),
        "encoding": dataset.encoding.sha256(),
        "sha256": prepared.manifest.sha256["train"],
    }


def labelled(rows: int, seed: int = 0, gaps: float = 0.2) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return noise(rows, "ab", seed, gaps).assign(c=random.choice(["x", "y", None], rows), d=random.choice(["p", "q"], rows))


def changed(frame: pd.DataFrame, first: int, seed: int) -> pd.DataFrame:
    """Return other values from row `first` on: larger, missing elsewhere, in new categories that sort before and after."""
    random = np.random.default_rng(seed)
    rows = len(frame) - first
    other = noise(rows, "ab", seed, 0.08) * random.choice([1, 1000])
    other["c"] = random.choice(["a new one", "x", "zz", None], rows)
    other["d"] = random.choice(["0", "q", "z"], rows)
    return pd.concat([frame[:first], other.set_index(frame.index[first:])])


@pytest.mark.parametrize("missing", METHODS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_train_stays_the_same_to_the_byte_when_later_rows_change(tmp_path: Path, missing: str, scaling: str) -> None:
    frame = labelled(100, gaps=0.05 if missing == "drop" else 0.2)
    plain = prepare_frame(frame, tmp_path / "plain", **SETTINGS, missing=missing, scaling=scaling)
    for seed in range(3):
        other = changed(frame, TRAIN, seed)
        assert not other.equals(frame)
        prepared = prepare_frame(other, tmp_path / str(seed), **SETTINGS, missing=missing, scaling=scaling)
        assert seen_in_train(prepared) == seen_in_train(plain)
        assert prepared.manifest.sha256["test"] != plain.manifest.sha256["test"]


@pytest.mark.parametrize("missing", METHODS)
def test_validation_stays_the_same_when_test_rows_change(tmp_path: Path, missing: str) -> None:
    frame = labelled(100, gaps=0.05 if missing == "drop" else 0.2)
    hashes = [
        prepare_frame(other, tmp_path / str(k), **SETTINGS, missing=missing).manifest.sha256
        for k, other in enumerate([frame, changed(frame, 80, 1).assign(c=frame["c"], d=frame["d"])])
    ]
    assert hashes[0]["validation"] == hashes[1]["validation"]
    assert hashes[0]["test"] != hashes[1]["test"]


def test_train_stays_the_same_when_classes_of_later_rows_change(tmp_path: Path) -> None:
    frame = labelled(100, gaps=0.0)
    settings = {"features": ["a", "b"], "targets": ["d"], "horizon": 0, "classes": True}
    plain = prepare_frame(frame, tmp_path / "plain", **settings)
    other = prepare_frame(changed(frame, TRAIN, 1), tmp_path / "other", **settings)
    assert seen_in_train(other) == seen_in_train(plain)


def test_train_stays_the_same_when_other_series_change(tmp_path: Path) -> None:
    frame = labelled(120).assign(key=np.repeat([f"k{n}" for n in range(12)], 10))
    settings = {**SETTINGS, "series": "key", "split_by": "series", "split": [0.5, 0.25, 0.25]}
    plain = prepare_frame(frame, tmp_path / "plain", **settings)
    other = frame.copy()
    outside_train = []
    for key, rows in frame.groupby("key"):  # a series belongs to another split if its change does not change train
        trial = frame.copy()
        trial.loc[rows.index, "a"] = np.arange(10.0) + 1000
        if seen_in_train(prepare_frame(trial, tmp_path / str(key), **settings)) == seen_in_train(plain):
            outside_train.append(key)
            other.loc[rows.index] = changed(rows, 0, 1).assign(key=key)
    assert len(outside_train) == 6
    assert seen_in_train(prepare_frame(other, tmp_path / "other", **settings)) == seen_in_train(plain)


def test_train_of_each_dataset_stays_the_same_under_a_shared_scale_and_shared_categories(tmp_path: Path) -> None:
    seen = []
    for folder in ("plain", "other"):
        sources = []
        for k in range(3):
            frame = labelled(100, k)
            path = write_csv(frame if folder == "plain" else changed(frame, TRAIN, k), tmp_path / folder / f"{k}.csv")
            sources.append(source_of(path, name=str(k), **SETTINGS, scaling="robust", scaling_scope="shared"))
        datasets = encoded(prepare_all(sources, tmp_path / folder))
        seen.append([each.batch("train", np.arange(each.num_samples("train"))).inputs.tobytes() for each in datasets])
        seen[-1] += [each.encoding.sha256() for each in datasets]
    assert seen[0] == seen[1]


def test_a_test_file_leaves_train_the_same(tmp_path: Path) -> None:
    frame = labelled(100)
    plain = prepare_frame(frame, tmp_path / "plain", **SETTINGS)
    extra = write_csv(changed(frame, 0, 5), tmp_path / "test.csv")
    assert seen_in_train(prepare_frame(frame, tmp_path / "with", **SETTINGS, test_files=[extra])) == seen_in_train(plain)


def test_text_in_a_number_that_is_read_another_way_leaves_train_the_same_to_the_byte(tmp_path: Path) -> None:
    text = noise(100)["a"].map(repr)
    text[5] = "1.00000005960464477539062500001"  # rounded to 64 bits first, it would end at another 32-bit number
    plain = prepare_frame(pd.DataFrame({"a": [*text[:70], "", *text[71:]]}), tmp_path / "plain")
    blank = prepare_frame(pd.DataFrame({"a": [*text[:70], " NA", *text[71:]]}), tmp_path / "blank")
    assert seen_in_train(plain) == seen_in_train(blank)


VALUES = st.one_of(st.floats(-100, 100, width=32), st.just(float("nan")))


@given(st.lists(VALUES, min_size=40, max_size=40), st.lists(VALUES, min_size=40, max_size=40), st.sampled_from(METHODS))
def test_no_value_after_the_split_reaches_train(
    tmp_path_factory: pytest.TempPathFactory, one: list[float], other: list[float], missing: str
) -> None:
    """Prepare two series, of which one may have no value in train."""
    folder = tmp_path_factory.mktemp("leak")
    base = labelled(100, 3, 0.0)[["a", "b"]].assign(key="full")
    datasets = []
    for k, values in enumerate((one, other)):
        gappy = pd.DataFrame({"a": [np.nan] * TRAIN + values, "b": [1.0] * 100, "key": "gappy"})
        settings = {"features": ["a", "b"], "targets": ["b"], "series": "key", "missing": missing}
        datasets.append(prepare_frame(pd.concat([base, gappy]), folder / str(k), **settings))
    assert seen_in_train(datasets[0]) == seen_in_train(datasets[1])
