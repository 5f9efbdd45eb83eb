"""`train` for notebooks: the tutorial's programs, its result, and its refusals."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import small_document, write_small
from test_parity import KERAS, PlainLoop, Samples, keras_run, keras_weights, read_samples

from data.built_in import make_built_in
from data.errors import InputError
from workflows import train
from workflows.recipe.recipe import load_recipe
from workflows.store.kept import EpochRecord
from workflows.store.store import State, Store

ROOT = Path(__file__).parents[2]
TUTORIAL: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 1e-3,
    "decay_rate": 0.8,
    "epochs": 5,
    "shuffle": False,
    "head": "shared",
}


def random_pair(seed: int, samples: int = 40, steps: int = 6, features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(samples, steps, features)).astype(np.float32)
    return inputs, inputs[..., :2].mean(axis=1) * 3 + 10


PAIRS = [random_pair(1), random_pair(2)]


def files_of(folder: Path, name: str) -> list[dict[str, Samples]]:
    make_built_in(name, folder)
    return [read_samples(path) for path in sorted((folder / name).glob("*.csv"))]


def ragged(samples: Samples) -> tuple[list[np.ndarray], np.ndarray]:
    rows, lengths, targets = (each.numpy() for each in samples)
    return [row[:length] for row, length in zip(rows, lengths, strict=True)], targets


@pytest.fixture(autouse=True)
def no_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if arrays in this process connect to Ray, unless the test is marked `ray`."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a Ray was asked for")

    if request.node.get_closest_marker("ray") is None:
        for module in ("workflows.training.run", "workflows.training.workers"):
            monkeypatch.setattr(f"{module}.connect", refuse)


@pytest.mark.parametrize(("made", "program"), [("tutorial", "a"), ("tutorial_varied", "c")])
def test_arrays_and_lists_of_sequences_give_the_plain_loops_losses(
    made: str, program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(tmp_path, made)
    pairs = [ragged(file["all"]) for file in files]
    if program == "a":
        pairs = [(np.stack(inputs), targets) for inputs, targets in pairs]
    result = train(pairs, storage=tmp_path / "runs", handover="last", **TUTORIAL)
    assert capsys.readouterr().out == ""
    loop = PlainLoop(Store(str(tmp_path / "runs")).load(result.run.plan.root).model)
    expected = [[loop.fit_epoch(file["all"], 1e-3 * 0.8**number) for _ in range(5)] for number, file in enumerate(files)]
    assert list(result.train_loss) == ["dataset_1", "dataset_2", "dataset_3"]
    np.testing.assert_allclose(list(result.train_loss.values()), expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        outputs = loop.outputs(files[1]["all"]).numpy()
    np.testing.assert_allclose(result.predict(pairs[1][0]), outputs, rtol=0, atol=1e-5)
    again = train(pairs, storage=tmp_path / "runs", handover="last", **TUTORIAL)
    assert (again.key, again.document["epochs_trained"]) == (result.key, 0)


def test_with_validation_pairs_the_best_epoch_is_handed_on_as_in_the_plain_loop(tmp_path: Path) -> None:
    files = files_of(tmp_path, "tutorial")
    pairs, validation = ([ragged(file[part]) for file in files] for part in ("train", "validation"))
    result = train(pairs, validation=validation, storage=tmp_path / "runs", handover="best", **TUTORIAL)
    loop = PlainLoop(Store(str(tmp_path / "runs")).load(result.run.plan.root).model)
    for number, file in enumerate(files):
        states, errors = [], []
        for _ in range(5):
            loop.fit_epoch(file["train"], 1e-3 * 0.8**number)
            with torch.no_grad():
                errors.append(float(loop.loss(file["validation"])))
            states.append(copy.deepcopy(loop))
        stage = result.document["stages"][number]
        np.testing.assert_allclose(stage["validation_error"], errors, rtol=0, atol=1e-6)
        assert stage["handed_over"] == int(np.argmin(errors)) + 1
        loop = states[stage["handed_over"] - 1]
    matrix = result.error_matrix
    assert matrix.values.shape == (4, 3)
    assert matrix.values[1, 0] == min(result.document["stages"][0]["validation_error"])
    assert result.evaluate()["split"] == "validation"
    assert result.evaluate()["datasets"]["dataset_2"]["error"] == matrix.values[-1, 1]
    assert result.forgetting is not None


@pytest.mark.skipif(not KERAS.exists(), reason=f"Keras's run of the tutorial is not there: {KERAS}")
@pytest.mark.parametrize("program", ["equal", "padded"])
def test_train_gives_the_losses_of_the_keras_tutorial(program: str, tmp_path: Path) -> None:
    keras = keras_run(program)
    pairs = [(keras[f"X{number}"], keras[f"y{number}"]) for number in range(3)]
    root = train(pairs[:1], storage=tmp_path / "first", hidden_size=64, epochs=1).run.plan.root
    Store(str(tmp_path / "runs")).commit(root, State(keras_weights(keras, "init"), {}), EpochRecord(root, None))
    result = train(pairs, storage=tmp_path / "runs", hidden_size=64, handover="last", **TUTORIAL)
    np.testing.assert_allclose(list(result.train_loss.values()), keras["losses"], rtol=1e-3)


@pytest.mark.parametrize(
    ("data", "keys", "messages"),
    [
        (
            PAIRS,
            {"epoch": 5, "hiden_size": 3},
            ["'epoch' is unknown: did you mean 'epochs'?", "did you mean 'hidden_size'?"],
        ),
        (PAIRS, {"epochs": "5", "scaling": "z"}, ["training.epochs = '5'", "data.scaling = 'z'"]),
        (PAIRS, {"retention": 3}, ["retention = 3"]),
        (PAIRS, {"decay_rate": [0.5, 0.5]}, ["2 rates, but 2 datasets have 1 changes"]),
        (PAIRS, {"patience": 2}, ["dataset 'dataset_1' has no validation split, which patience requires: add one in split"]),
        (PAIRS, {"validation": PAIRS[:1]}, ["validation has 1 pairs, data 2"]),
        ({"a": PAIRS[0]}, {"validation": {"b": PAIRS[0]}}, ["validation has 'b', data have a"]),
        ({"a/b": PAIRS[0]}, {}, ["'a/b': a name has 1 to 100 letters"]),
        (PAIRS[0], {"epochs": 0}, ["dataset 'dataset_1' is ndarray, not a pair", "training.epochs = 0"]),
        ([], {}, ["write a list of (X, y)"]),
        ({}, {}, ["write a list of (X, y)"]),
        ([PAIRS[0], (PAIRS[1][0][..., :2], PAIRS[1][1])], {}, ["'dataset_2' has 2 features and 2 targets, 'dataset_1' 3"]),
        ([PAIRS[0], (PAIRS[1][0], np.arange(40))], {}, ["dataset 'dataset_2': y holds whole numbers"]),
        ("nowhere.toml", {}, ["no such file"]),
        ("demo", {"validation": PAIRS}, ["validation goes with arrays"]),
        ({"data": {}, "datasets": []}, {"epoch": 1}, ["'epoch' is unknown", "no datasets"]),
    ],
)
def test_all_errors_are_in_one_message_before_anything_is_written(
    data: Any, keys: dict[str, Any], messages: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        train(data, storage=tmp_path / "runs", **keys)
    for message in messages:
        assert message in str(raised.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_a_recipe_is_trained_by_its_path_its_document_or_itself(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_small(tmp_path)
    monkeypatch.chdir(tmp_path)
    storage = tmp_path / "runs"
    first = train(path, storage=storage, workers=0, epochs=1)
    assert first.document["epochs_requested"] == 3
    for same in (small_document(), load_recipe(path), str(path)):
        again = train(same, storage=storage, workers=0, epochs=1)
        assert (again.key, again.document["epochs_trained"]) == (first.key, 0)
    rows = np.genfromtxt(tmp_path / "anvil.csv", delimiter=",", skip_header=1)[:, 1:]
    windows = np.stack([rows[start : start + 12] for start in range(5)])
    index = first.run.index_of("anvil")
    batch = first.run.datasets[index].batch("train", np.arange(5))
    truth = batch.targets * first.run.datasets[index].target_scale + first.run.datasets[index].encoding.center[-1]
    forecasts = first.predict(windows, "anvil")
    assert forecasts.shape == truth.shape == (5, 3, 1)
    assert np.abs(forecasts - truth).mean() < 40
    with pytest.raises(InputError, match=r"sample 0 of X has 11 steps: the model takes 12$"):
        first.predict(windows[:, 1:], "anvil")


def test_importing_train_is_light() -> None:
    code = (
        "import sys, workflows; print([n for n in ('numpy', 'pydantic', 'torch', 'ray') if n in sys.modules]); "
        "from workflows import train; print([n for n in ('torch', 'ray') if n in sys.modules], train.__name__)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split("\n")[:2] == ["[]", "[] train"]
