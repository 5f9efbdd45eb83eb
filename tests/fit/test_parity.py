"""The relay against a plain torch loop over the datasets, and against a stored Keras run of the same loop."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import epochs_of, outcome, plan_of, prepare_arrays, prepare_in_process, state_at, walk
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from data.built_in import make_built_in
from data.prepared.encoding import EncodedDataset, make_encodings
from data.reading.files import FileNotes
from data.samples.splits import split_by_series
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import Recipe, find_recipe, load_recipe
from workflows.relay.plan import Plan, make_plan
from workflows.store.kept import EpochRecord
from workflows.store.store import State, Store

Samples = tuple[Tensor, Tensor, Tensor]  # inputs (samples, steps, 5) zero-padded, lengths, targets (samples, 2)
KERAS = Path(__file__).parents[3] / "shared/data/keras_tutorial/programs.npz"
NAMES = {
    "forward_layers.0.weight_ih_l0": "weight_ih_l0",
    "forward_layers.0.weight_hh_l0": "weight_hh_l0",
    "forward_layers.0.bias_ih_l0": "bias_ih_l0",
    "forward_layers.0.bias_hh_l0": "bias_hh_l0",
}


class PlainLoop:
    """torch's LSTM, a linear layer, Adam and MSE, over batches of 32 in the order of the samples."""

    def __init__(self, weights: dict[str, Tensor]):
        self.lstm, self.head = nn.LSTM(5, 64, batch_first=True), nn.Linear(64, 2)
        self.lstm.load_state_dict({torch_name: weights[name] for name, torch_name in NAMES.items()})
        self.head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.adam = self.new_adam()

    def new_adam(self) -> torch.optim.Adam:
        return torch.optim.Adam([p for p in [*self.lstm.parameters(), *self.head.parameters()] if p.requires_grad])

    def outputs(self, samples: Samples) -> Tensor:
        packed = pack_padded_sequence(samples[0], samples[1], batch_first=True, enforce_sorted=False)
        return self.head(self.lstm(packed)[1][0][-1])

    def loss(self, samples: Samples) -> Tensor:
        return F.mse_loss(self.outputs(samples), samples[2])

    def fit_epoch(self, samples: Samples, rate: float) -> float:
        self.adam.param_groups[0]["lr"], total = rate, 0.0
        for start in range(0, len(samples[0]), 32):
            batch = tuple(each[start : start + 32] for each in samples)
            loss = self.loss(batch)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            total += float(loss.detach()) * len(batch[0])
        return total / len(samples[0])


def read_samples(path: Path) -> dict[str, Samples]:
    """Return the sequences of a CSV file by pandas: all of them, and those of each split as in program (b)."""
    groups = dict(list(pd.read_csv(path).groupby("sequence")))
    dealt = split_by_series(list(groups), [0.8, 0.2, 0.0])

    def stack(part: str) -> Samples:
        chosen = [rows for name, rows in groups.items() if part in ("all", dealt[name])]
        inputs = [torch.tensor(rows[[f"x{column}" for column in range(5)]].to_numpy(np.float32)) for rows in chosen]
        targets = [rows[["y0", "y1"]].to_numpy(np.float32)[-1] for rows in chosen]
        lengths = torch.tensor([len(each) for each in inputs])
        return pad_sequence(inputs, batch_first=True), lengths, torch.from_numpy(np.array(targets))

    return {part: stack(part) for part in ("all", "train", "validation")}


def run_recipe(name: str, folder: Path, *overrides: str) -> tuple[Plan, list[dict[str, Samples]]]:
    """Walk a built-in recipe to its last checkpoint; return the plan and the samples of its files."""
    recipe: Recipe = load_recipe(find_recipe(name), ["training.shuffle=false", *overrides])
    for made in ("tutorial", "tutorial_varied"):
        make_built_in(made, folder)
    sources, epochs = find_datasets(recipe, FileNotes(folder / "facts"), folder)
    datasets = prepare_in_process(sources, folder / "prepared")
    plan = make_plan(recipe.seed, recipe.model, recipe.training, datasets, epochs)
    walk(plan, datasets, folder)
    return plan, [read_samples(Path(source.files[0])) for source in sources]


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("program", ["tutorial_a", "tutorial_c"])
def test_every_epochs_loss_is_that_of_the_plain_loop(program: str, carry: bool, tmp_path: Path) -> None:
    plan, files = run_recipe(program, tmp_path, f"training.carry_optimizer={str(carry).lower()}")
    loop, expected = PlainLoop(state_at(plan.root, tmp_path).model), []
    for number, file in enumerate(files):
        if not carry:
            loop.adam = loop.new_adam()
        expected += [(loop.fit_epoch(file["all"], 1e-3 * 0.8**number), 1e-3 * 0.8**number) for _ in range(5)]
    losses = [(epoch.train_loss, epoch.learning_rate) for epoch in epochs_of(plan, tmp_path)]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-6)
    lengths = {int(length) for file in files for length in file["all"][1]}
    assert lengths == ({10} if program == "tutorial_a" else set(range(5, 15)))


def test_the_best_epoch_of_each_dataset_is_handed_on_as_in_the_plain_loop(tmp_path: Path) -> None:
    plan, files = run_recipe("tutorial_b", tmp_path)
    loop, losses, errors, best = PlainLoop(state_at(plan.root, tmp_path).model), [], [], []
    for number, file in enumerate(files):
        states, stage_errors = [], []
        for _ in range(5):
            losses.append(loop.fit_epoch(file["train"], 1e-3 * 0.8**number))
            with torch.no_grad():
                stage_errors.append(float(loop.loss(file["validation"])))
            states.append(copy.deepcopy(loop))
        errors.append(stage_errors)
        best.append(int(np.argmin(stage_errors)))
        loop = states[best[-1]]
    stages = outcome(plan, tmp_path).stages
    assert [stage.handed_over for stage in stages] == best
    assert best[0] < 4  # the best epoch is not the last, so the loop had to go back
    np.testing.assert_allclose([epoch.train_loss for epoch in epochs_of(plan, tmp_path)], losses, rtol=0, atol=1e-6)
    np.testing.assert_allclose([stage.errors for stage in stages], errors, rtol=0, atol=1e-6)


def keras_run(program: str) -> dict[str, Any]:
    """Return the arrays of a Keras run of the tutorial, by their names without the program's prefix."""
    with np.load(KERAS) as file:
        return {name.removeprefix(f"{program}_"): file[name] for name in file.files if name.startswith(program)}


def keras_weights(arrays: Any, prefix: str) -> dict[str, Tensor]:
    """Return Keras's kernel, recurrent kernel, bias and dense layer by our names."""
    kernel, recurrent, bias, dense, dense_bias = (torch.from_numpy(arrays[f"{prefix}{index}"]) for index in range(5))
    layer = [kernel.T, recurrent.T, bias, torch.zeros_like(bias)]
    weights = {name: value.contiguous() for name, value in zip(NAMES, layer, strict=True)}
    return weights | {"head.weight": dense.T.contiguous(), "head.bias": dense_bias}


PLAIN: dict[str, Any] = {"batch_size": 32, "shuffle": False, "handover": "last"}


def run_from(weights: dict[str, Tensor], samples: Sequence[tuple[Any, Any]], folder: Path) -> Plan:
    """Walk the tutorial's plan over arrays (X, y) from these weights, committed as its untrained state."""
    prepared = [prepare_arrays(f"dataset {number}", *each, folder / "prepared") for number, each in enumerate(samples)]
    encodings = make_encodings(prepared, [each.settings for each in prepared])
    datasets = [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]
    plan = plan_of(datasets, [5, 5, 5], {"head": "shared"}, learning_rate=1e-3, decay_rate=0.8, **PLAIN)
    Store(str(folder)).commit(plan.root, State(weights, {}), EpochRecord(plan.root, None))
    walk(plan, datasets, folder)
    return plan


@pytest.mark.skipif(not KERAS.exists(), reason=f"Keras's run of the tutorial is not there: {KERAS}")
@pytest.mark.parametrize("program", ["equal", "padded"])
def test_every_epochs_loss_and_rate_is_that_of_keras(program: str, tmp_path: Path) -> None:
    keras = keras_run(program)
    samples = [(keras[f"X{number}"], keras[f"y{number}"]) for number in range(3)]
    plan = run_from(keras_weights(keras, "init"), samples, tmp_path)
    stages = outcome(plan, tmp_path).stages
    losses = [[epoch.train_loss for epoch in stage.epochs] for stage in stages]
    np.testing.assert_allclose(losses, keras["losses"], rtol=1e-3)
    rates = [[epoch.learning_rate for epoch in stage.epochs] for stage in stages]
    np.testing.assert_allclose(rates, np.repeat(keras["lrs"][:, None], 5, axis=1), rtol=1e-6)
    final = state_at(stages[-1].key, tmp_path).model
    last = torch.from_numpy(keras["X2"]), torch.full((100,), keras["X2"].shape[1]), torch.from_numpy(keras["y2"])
    with torch.no_grad():
        outputs, expected = (PlainLoop(weights).outputs(last) for weights in (final, keras_weights(keras, "final")))
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(not KERAS.exists(), reason=f"Keras's run of the tutorial is not there: {KERAS}")
def test_sequences_read_at_their_own_last_step_differ_from_keras_which_reads_the_padding(tmp_path: Path) -> None:
    keras = keras_run("padded")
    samples = []
    for number in range(3):
        lengths = keras[f"len{number}"]
        inputs = [rows[:length] for rows, length in zip(keras[f"X{number}"], lengths, strict=True)]
        samples.append((inputs, keras[f"y{number}"]))
    plan = run_from(keras_weights(keras, "init"), samples, tmp_path)
    losses = np.array([epoch.train_loss for epoch in epochs_of(plan, tmp_path)])
    assert (np.abs(losses / keras["losses"].flatten() - 1) > 0.01).mean() > 0.5
