"""Every usual form of y for classes is read correctly, or refused with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import prepare_in_process

from data.errors import InputError
from data.reading.files import FileNotes
from workflows import train
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import check_recipe

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 4, 2)).astype(np.float32)
Y = (X[:, :, 0].mean(axis=1) > 0).astype(int)
X[:, :, 1] += 3 * Y[:, None]
SETTINGS: dict[str, Any] = {"loss": "cross_entropy", "epochs": 1, "hidden_size": 4}

RIGHT: dict[str, Any] = {
    "integers": Y,
    "unsigned": Y.astype(np.uint8),
    "list": Y.tolist(),
    "booleans": Y.astype(bool),
    "strings": np.array(["no", "yes"])[Y],
    "bytes": np.array([b"no", b"yes"])[Y],
    "objects": np.array(["no", "yes"], object)[Y],
    "object integers": Y.astype(object),
    "floats": Y.astype(float),
    "column": Y[:, None],
    "float column": Y[:, None].astype(np.float32),
    "tensor": torch.from_numpy(Y),
    "float tensor": torch.from_numpy(Y).float().requires_grad_(),
    "bfloat16 tensor": torch.from_numpy(Y).to(torch.bfloat16),
    "list of tensors": [torch.tensor(int(each)) for each in Y],
    "series": pd.Series(Y, index=np.arange(12) + 5),
    "categorical": pd.Series(np.array(["no", "yes"])[Y]).astype("category"),
    "nullable": pd.Series(Y).astype("Int64"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_form_of_classes_is_read_correctly_and_predicted_in_its_type(kind: str, tmp_path: Path) -> None:
    labels = RIGHT[kind]
    result = train([(X, labels)], validation=[(X, labels)], storage=tmp_path, **SETTINGS)
    (dataset,) = result.run.datasets
    np.testing.assert_array_equal(dataset.batch("train", np.arange(12)).targets, Y)
    np.testing.assert_array_equal(dataset.batch("validation", np.arange(12)).targets, Y)
    plain = [labels.tolist()[n] if hasattr(labels, "tolist") else labels[n] for n in range(12)]
    flat = [each[0] if isinstance(each, list) else each for each in plain]
    assert set(result.predict(X).tolist()) <= {each.item() if isinstance(each, torch.Tensor) else each for each in flat}


def test_a_sure_classifier_gives_the_labels_back(tmp_path: Path) -> None:
    for number, labels in enumerate((Y.astype(float), np.array(["no", "yes"])[Y], Y.astype(bool), Y[:, None])):
        keys = {**SETTINGS, "epochs": 40, "learning_rate": 0.05}
        result = train([(X, labels)], storage=tmp_path / str(number), **keys)
        predicted = result.predict(X)
        np.testing.assert_array_equal(predicted, labels.ravel())
        assert predicted.dtype == labels.dtype


REFUSED: dict[str, tuple[Any, str]] = {
    "fractions": (Y + 0.5, r"sample 0 of y is [01].5, which is not a class: .*loss = \"mse\""),
    "missing": (np.where(np.arange(12) == 4, np.nan, Y), "sample 4 of y is nan, which is not a class"),
    "none": ([None if n == 3 else "a" for n in range(12)], "sample 3 of y is None, which is not a class"),
    "nullable": (pd.Series([1, None] * 6).astype("Int64"), "sample 1 of y is (<NA>|nan), which is not a class"),
    "one-hot": (np.eye(2)[Y], r"y has the shape \(12, 2\), .*y.argmax\(axis=1\)"),
    "one-hot integers": (np.eye(2, dtype=int)[Y], r"y has the shape \(12, 2\), .*y.argmax\(axis=1\)"),
    "cube": (Y.reshape(12, 1, 1), r"y has the shape \(12, 1, 1\)"),
    "complex": (Y.astype(complex), "which is not a class"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_classes_are_refused(kind: str, tmp_path: Path) -> None:
    labels, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        train([(X, labels)], storage=tmp_path / "runs", **SETTINGS)
    assert not (tmp_path / "runs").exists()


WHOLE = ["integers", "unsigned", "list", "booleans", "object integers", "column", "tensor", "series", "nullable"]
TEXTS = ["strings", "objects", "categorical"]


@pytest.mark.parametrize("loss", ["mse", "quantile", None])
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_with_a_loss_for_numbers_are_refused_with_both_ways_out(
    kind: str, loss: str | None, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {} if loss is None else {"model": {"loss": loss}}
    with pytest.raises(InputError) as raised:
        train([(X, RIGHT[kind])], storage=tmp_path / "runs", epochs=1, **keys)
    assert 'loss = "cross_entropy"' in str(raised.value)
    assert "y.astype(float)" in str(raised.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", TEXTS)
def test_text_with_a_loss_for_numbers_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='add loss = "cross_entropy"'):
        train([(X, RIGHT[kind])], storage=tmp_path / "runs", epochs=1)


@pytest.mark.parametrize("kind", ["floats", "float column", "float tensor", "object floats", "counts"])
def test_numbers_stay_numbers(kind: str, tmp_path: Path) -> None:
    others = {"object floats": Y.astype(float).astype(object), "counts": np.stack([Y, Y + 10], axis=1)}
    labels = others[kind] if kind in others else RIGHT[kind]
    result = train([(X, labels)], storage=tmp_path, epochs=1, hidden_size=4)
    targets = result.run.datasets[0].batch("train", np.arange(12)).targets[:, 0]
    np.testing.assert_array_equal(targets[:, 0], Y)
    assert result.predict(X).shape == targets.shape


def test_one_number_written_in_two_ways_is_no_second_class(tmp_path: Path) -> None:
    """Refuse 1 and 1.0 as two classes: a CSV writer writes 1.0 for 1 if the column has a gap."""
    for name, labels in (("a", ["0", "1"]), ("b", ["0.0", "1.0"])):
        rows = [f"{name}{n},{t},{n * t},{labels[n % 2]}" for n in range(8) for t in range(3)]
        (tmp_path / f"{name}.csv").write_text("s,t,x,y\n" + "\n".join(rows) + "\n")
    data = {"series": "s", "time": "t", "features": ["x"], "targets": ["y"], "lookback": "all", "horizon": 0}
    entries = [{"name": name, "path": str(tmp_path / f"{name}.csv")} for name in "ab"]
    document = {
        "data": {**data, "split_by": "series", "split": [1, 0, 0]},
        "datasets": entries,
        "model": {"loss": "cross_entropy"},
    }
    sources, _ = find_datasets(check_recipe(document, tmp_path), FileNotes(tmp_path / "facts"), tmp_path)
    with pytest.raises(InputError, match=r"the classes '0' and '0[.]0', one number"):
        prepare_in_process(sources, tmp_path / "prepared")


def few_positives(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.04).astype(int)
    inputs = random.standard_normal((count, 8, 2)).astype(np.float32)
    inputs[:, :, 0] += 1.2 * labels[:, None]
    return inputs, labels


@pytest.mark.parametrize("keys", [{"patience": 3, "handover": "best"}, {"schedule": "plateau"}], ids=["patience", "plateau"])
def test_with_few_positives_training_continues_while_the_loss_falls(keys: dict[str, Any], tmp_path: Path) -> None:
    """Repeat cases/training/imbalanced_stop: by the share of wrong classes, training stopped after 6 epochs at recall 0."""
    validation = few_positives(400, 2)
    result = train(
        {"A": few_positives(600, 1)},
        validation={"A": validation},
        loss="cross_entropy",
        epochs=40,
        hidden_size=16,
        learning_rate=0.001,
        storage=tmp_path,
        **keys,
    )
    (stage,) = result.document["stages"]
    assert stage["epochs"] == 40
    assert len(stage["validation_loss"]) == 40
    assert stage["validation_loss"][-1] < 0.5 * stage["validation_loss"][0]
    assert (result.predict(validation[0])[validation[1] == 1] == 1).mean() > 0.6
