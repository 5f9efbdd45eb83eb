"""Arrays in memory become the train samples, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, samples_of
from helpers import prepare_arrays
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from data.errors import InputError
from data.prepared.encoding import make_encodings

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(20, 6, 3)), RANDOM.normal(size=(20, 2))


def varied(samples: int, features: int = 3, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(random.integers(1, 9), features)).astype(np.float32) for _ in range(samples)]


def test_sample_i_is_row_i_of_the_arrays(tmp_path: Path) -> None:
    prepared = prepare_arrays("a", X, Y, tmp_path)
    batch = samples_of(prepared, "train")
    np.testing.assert_array_equal(batch.inputs, X.astype(np.float32))
    np.testing.assert_array_equal(batch.targets[:, 0], Y.astype(np.float32))
    np.testing.assert_array_equal(batch.lengths, 6)
    assert prepared.manifest.samples == {"train": 20, "validation": 0, "test": 0}
    assert (prepared.name, prepared.manifest.num_series, prepared.manifest.rows) == ("a", 20, 120)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 5))
def test_samples_of_different_lengths_are_padded_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, count: int, features: int, seed: int
) -> None:
    inputs = varied(count, features, seed)
    targets = np.arange(count, dtype=float)
    batch = samples_of(prepare_arrays("a", inputs, targets, tmp_path_factory.mktemp("a")), "train")
    longest = max(len(sample) for sample in inputs)
    expected = [np.pad(sample, ((0, longest - len(sample)), (0, 0))) for sample in inputs]
    np.testing.assert_array_equal(batch.inputs, expected)
    np.testing.assert_array_equal(batch.lengths, [len(sample) for sample in inputs])
    np.testing.assert_array_equal(batch.targets[:, 0, 0], targets)


@pytest.mark.parametrize(
    "labels", [np.array([3, 10, 3, 7]), np.array(["b", "a", "b", "c"]), ["b", "a", "b", "c"], [3, 1, 3, 2]]
)
def test_integers_and_strings_are_classes(tmp_path: Path, labels: Any) -> None:
    prepared = prepare_arrays("a", varied(4), labels, tmp_path, validation=(varied(2), [labels[0], type(labels[0])("99")]))
    (dataset,) = encoded(prepared)
    classes = sorted({str(label) for label in labels})
    assert dataset.encoding.classes == classes
    np.testing.assert_array_equal(samples_of(prepared, "train").targets, [classes.index(str(label)) for label in labels])
    np.testing.assert_array_equal(samples_of(prepared, "validation").targets, [classes.index(str(labels[0])), -1])
    assert prepared.target_labels("train") == [str(label) for label in labels]


def test_validation_samples_are_kept_apart_in_their_order(tmp_path: Path) -> None:
    inputs, targets = varied(12, seed=1), RANDOM.normal(size=(12, 2))
    prepared = prepare_arrays("a", X, Y, tmp_path, validation=(inputs, targets), scaling="standard")
    alone = prepare_arrays("a", X, Y, tmp_path, scaling="standard")
    (dataset,) = encoded(prepared)
    assert dataset.encoding == encoded(alone)[0].encoding
    assert prepared.manifest.sha256["train"] == alone.manifest.sha256["train"]
    np.testing.assert_array_equal(samples_of(prepared, "train").inputs, samples_of(alone, "train").inputs)
    center, scale = np.array(dataset.encoding.center), np.array(dataset.encoding.scale)
    batch = samples_of(prepared, "validation")
    np.testing.assert_allclose(batch.targets[:, 0], (targets - center[3:]) / scale[3:], rtol=1e-4, atol=1e-5)
    for number, sample in enumerate(inputs):
        expected = (sample - center[:3]) / scale[:3]
        np.testing.assert_allclose(batch.inputs[number, : len(sample)], expected, rtol=1e-4, atol=1e-5)
    errors = (targets - Y.mean(axis=0)) ** 2
    np.testing.assert_allclose(prepared.manifest.naive["validation"].squared, errors.sum(axis=0), rtol=1e-5)


def test_scaling_is_that_of_scikit_learn_where_each_sample_has_one_target(tmp_path: Path) -> None:
    inputs = varied(20)
    prepared = prepare_arrays("a", inputs, Y, tmp_path, scaling="standard")
    (encoding,) = make_encodings([prepared], [prepared.settings])
    steps, labels = StandardScaler().fit(np.concatenate(inputs)), StandardScaler().fit(Y)
    np.testing.assert_allclose(encoding.center, [*steps.mean_, *labels.mean_], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(encoding.scale, [*steps.scale_, *labels.scale_], rtol=1e-5)


def test_a_missing_value_is_interpolated_inside_its_sample(tmp_path: Path) -> None:
    inputs = X.copy()
    inputs[4, 2:4, 1] = inputs[5, :2, 0] = np.nan
    batch = samples_of(prepare_arrays("a", inputs, Y, tmp_path), "train")
    for sample in (4, 5):
        expected = pd.DataFrame(inputs[sample]).interpolate(limit_direction="both")
        np.testing.assert_allclose(batch.inputs[sample], expected, rtol=1e-6)


def test_the_same_arrays_are_prepared_once_and_others_anew(tmp_path: Path) -> None:
    first = prepare_arrays("a", X, Y, tmp_path).folder
    stamp = (first / "manifest.json").stat().st_mtime_ns
    same = prepare_arrays("b", list(X.astype(np.float32)), Y.tolist(), tmp_path, scaling="robust")
    assert (same.folder, same.name, same.settings.scaling) == (first, "b", "robust")
    assert (first / "manifest.json").stat().st_mtime_ns == stamp
    other = X.copy()
    other[3, 2, 1] += 1
    rows = np.concatenate(X)
    folders = [
        first,
        prepare_arrays("a", other, Y, tmp_path).folder,
        prepare_arrays("a", X, Y + 1, tmp_path).folder,
        prepare_arrays("a", np.split(rows, 20), Y, tmp_path).folder,
        prepare_arrays("a", np.split(rows, [5, *range(12, 120, 6)]), Y, tmp_path).folder,
        prepare_arrays("a", X, Y, tmp_path, validation=(X, Y)).folder,
        prepare_arrays("a", X, Y[:, 0].round().astype(int), tmp_path).folder,
        prepare_arrays("a", X, Y[:, 1].round().astype(int), tmp_path).folder,
        prepare_arrays("a", X, Y[:, 0].round(), tmp_path).folder,
    ]
    assert folders.pop(3) == first  # a list of samples of one length is the whole array
    assert len(set(folders)) == len(folders)
    assert sorted(path for path in tmp_path.iterdir() if path.name != "sources") == sorted(folders)


WITH_NAN = np.where(np.arange(40).reshape(20, 2) == 13, np.nan, Y)
WITH_INF = np.where(np.arange(360).reshape(20, 6, 3) == 100, np.inf, X)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (X[0], Y, r"X has the shape \(6, 3\): write \(samples, steps, features\), or a list of \(steps, features\)"),
        (X[..., None], Y, r"X has the shape \(20, 6, 3, 1\)"),
        ([X[0], X[1, :, 0]], Y[:2], r"sample 1 of X has the shape \(6,\) and sample 0 \(6, 3\)"),
        ([X[0], X[1, :, :2]], Y[:2], r"sample 1 of X has the shape \(6, 2\) and sample 0 \(6, 3\)"),
        ([X[0], X[1, :0]], Y[:2], r"sample 1 of X has the shape \(0, 3\) .* at least one step"),
        ([[[1, 2], [3]]], [1.0], "sample 0 of X has no shape, its rows have different lengths"),
        ([], Y, "X is empty"),
        (X[:0], Y[:0], "X is empty"),
        (X.astype(str), Y, "sample 0 of X holds <U.*, not numbers"),
        (WITH_INF, Y, r"sample 5 of X holds inf: correct it, or write NaN"),
        (X, Y[:19], "X has 20 samples, y has 19: give one row of y for each of X"),
        (X, WITH_NAN, "target 1 of sample 6 of y is nan: every sample needs its targets"),
        (X, np.full(20, np.inf), "target 0 of sample 0 of y is inf"),
        (X, X, r"y has the shape \(20, 6, 3\): write \(samples, targets\) numbers, or \(samples,\) integers or strings"),
        (X, 3.0, r"y has the shape \(\)"),
        (X, Y[:, :0], r"y has the shape \(20, 0\)"),
        (X, Y.astype(str), "y holds <U.*, not numbers"),
        (X, [None] * 20, "target 0 of sample 0 of y is nan"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(tmp_path: Path, inputs: Any, targets: Any, message: str) -> None:
    folder = tmp_path / "prepared"
    with pytest.raises(InputError, match=rf"^dataset 'a': .*{message}"):
        prepare_arrays("a", inputs, targets, folder)
    with pytest.raises(InputError, match=rf"^dataset 'a', validation: .*{message}"):
        prepare_arrays("a", X, Y, folder, validation=(inputs, targets))
    assert not folder.exists()


def test_validation_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train has 3 features and 2 targets, validation 2 features and 2 targets"):
        prepare_arrays("a", X, Y, tmp_path, validation=(X[..., :2], Y))
    with pytest.raises(InputError, match="train has 3 features and 2 targets, validation 3 features and classes"):
        prepare_arrays("a", X, Y, tmp_path, validation=(X, np.arange(20)))
    with pytest.raises(InputError) as raised:
        prepare_arrays("a", X[0], Y, tmp_path, validation=(X, Y[:3]))
    assert len(raised.value.messages) == 2
    with pytest.raises(InputError, match="scaling = 'z': write one of standard, robust, minmax, none"):
        prepare_arrays("a", X, Y, tmp_path, scaling="z")  # type: ignore[arg-type]
