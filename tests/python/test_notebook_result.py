"""The result of a training in a notebook: predictions, text and HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_notebook import PAIRS, random_pair

from data.errors import InputError
from workflows import train
from workflows.store.store import Store

RANDOM = np.random.default_rng(0)


def test_scaled_arrays_are_predicted_in_their_own_units(tmp_path: Path) -> None:
    pairs = {"here": random_pair(1), "there": random_pair(2)}
    result = train(pairs, storage=tmp_path, scaling="standard", epochs=1, hidden_size=4, head="shared")
    loop = torch.nn.LSTM(3, 4, batch_first=True)
    head = torch.nn.Linear(4, 2)
    weights = Store(str(tmp_path)).load(result.key).model
    loop.load_state_dict({name.split(".")[-1]: value for name, value in weights.items() if name.startswith("forward")})
    head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
    for name, (inputs, targets) in pairs.items():
        rows = inputs.reshape(-1, 3).astype(np.float64)
        scaled = ((inputs - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32)
        with torch.no_grad():
            outputs = head(loop(torch.from_numpy(scaled))[0][:, -1]).numpy()
        expected = outputs * targets.std(axis=0) + targets.mean(axis=0)
        np.testing.assert_allclose(result.predict(inputs, name), expected, rtol=1e-5)
    with pytest.raises(InputError, match="has 2 datasets: name the one to predict for, write one of here, there"):
        result.predict(PAIRS[0][0])
    gap = PAIRS[0][0].copy()
    gap[0, 2] = np.nan
    np.testing.assert_array_equal(result.predict(gap, "here")[1:], result.predict(PAIRS[0][0], "here")[1:])
    assert np.isfinite(result.predict(gap, "here")).all()


@pytest.mark.parametrize("kind", [int, str, bool])
def test_classes_are_predicted_in_their_type(kind: Any, tmp_path: Path) -> None:
    inputs = RANDOM.normal(size=(60, 5, 2)).astype(np.float32)
    classes = np.array([kind(value) for value in (inputs[:, -1, 0] > 0).astype(int) * (11 if kind is int else 1)])
    keys: dict[str, Any] = {"loss": "cross_entropy", "epochs": 12, "hidden_size": 8, "learning_rate": 0.02, "batch_size": 16}
    result = train([(inputs, classes)], validation=[(inputs[:30], classes[:30])], storage=tmp_path, **keys)
    predicted = result.predict(inputs[:30])
    assert predicted.dtype == classes.dtype
    errors = result.evaluate()["datasets"]["dataset_1"]
    assert errors["accuracy"] == pytest.approx((predicted == classes[:30]).mean())
    assert errors["accuracy"] > 0.8


def test_a_result_does_not_change_when_its_name_is_trained_again(tmp_path: Path) -> None:
    first = train(PAIRS, storage=tmp_path, epochs=1, hidden_size=4)
    before = first.predict(PAIRS[0][0])
    second = train(PAIRS, storage=tmp_path, epochs=2, hidden_size=4)
    assert second.key != first.key
    np.testing.assert_array_equal(first.predict(PAIRS[0][0]), before)


def test_a_result_shows_itself_as_text_and_as_html(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"storage": tmp_path, "epochs": 1, "hidden_size": 4}
    plain = train(PAIRS, **keys)
    assert str(plain).splitlines()[1].startswith("last train losses: dataset_1 ")
    assert "<table>" not in plain._repr_html_()
    assert repr(plain) == f"Result('relay': 2 datasets, key {plain.key[:12]})"
    named = {"<b>": PAIRS[0], "two": PAIRS[1]}
    result = train(named, validation={"<b>": PAIRS[1], "two": PAIRS[0]}, name="shown", **keys)
    head, *guard_and_table = str(result).splitlines()
    table = "\n".join(guard_and_table[-4:])
    assert all(line.startswith("guard: ") for line in guard_and_table[:-4])
    assert len(guard_and_table) - 4 == len(result.document["guard"])
    assert head.startswith(
        f"run 'shown': 2 datasets, key {result.key[:12]}, mean scaled error {result.mean_scaled_error:.3f}"
    )
    assert table.startswith("validation MSE")
    assert f"{result.error_matrix.values[2, 1]:.4f}" in table
    html = result._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((2, 6, 2)), "X has 2 features, the model 3 (x0, x1, x2)"),
        (np.zeros((2, 6)), "X has the shape (2, 6)"),
        ([], "X is empty"),
    ],
)
def test_inputs_that_the_model_cannot_take_are_refused(inputs: Any, message: str, tmp_path: Path) -> None:
    result = train(PAIRS[:1], storage=tmp_path, epochs=1, hidden_size=2)
    with pytest.raises(InputError) as raised:
        result.predict(inputs)
    assert message in str(raised.value)


def test_missing_values_need_a_dataset_if_each_fills_them_differently(tmp_path: Path) -> None:
    result = train({"here": PAIRS[0], "there": PAIRS[1]}, storage=tmp_path, epochs=1, hidden_size=2)
    gap = PAIRS[0][0].copy()
    gap[0, 2] = np.nan
    assert result.predict(PAIRS[0][0]).shape == (40, 2)
    with pytest.raises(InputError, match=r"X has missing values, .* \(dataset=...\), write one of here, there"):
        result.predict(gap)
    assert np.isfinite(result.predict(gap, "there")).all()


def test_quantiles_come_with_the_forecast_in_their_order(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"storage": tmp_path, "epochs": 1, "hidden_size": 4}
    levels = [0.1, 0.5, 0.9]
    result = train(PAIRS[:1], loss="quantile", quantiles=levels, scaling="standard", name="levels", **keys)
    inputs, targets = PAIRS[0]
    forecasts = result.predict_quantiles(inputs)
    assert forecasts.shape == (*targets.shape, 3)
    np.testing.assert_array_equal(forecasts[..., 1], result.predict(inputs))
    assert abs(forecasts.mean() - targets.mean()) < 3 * targets.std()  # in the targets' own units
    with pytest.raises(InputError, match='loss = "mse" has no quantiles: train with loss="quantile"'):
        train(PAIRS[:1], name="plain", **keys).predict_quantiles(inputs)


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_a_constant_column_gives_a_warning_at_the_line_that_trains(scaling: str, tmp_path: Path) -> None:
    inputs, targets = PAIRS[0][0].copy(), PAIRS[0][1]
    inputs[..., 1] = 4.0
    with pytest.warns(UserWarning, match="'x1' is constant in the train rows") as caught:
        train([(inputs, targets)], storage=tmp_path, epochs=1, hidden_size=2, scaling=scaling)
    assert all("scaling" not in str(each.message) for each in caught)
    assert {each.filename for each in caught} == {__file__}
