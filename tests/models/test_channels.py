"""Channel-independent models give the outputs of a plain LSTM on each channel, in the order of the targets."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data_cases import encoded, noise, prepare_all, prepare_frame, source_of, write_csv
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, run_workers, walk, weights_hash
from small import small_document

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from models.channels import take_apart, width_of_a_series
from models.lstm import LSTM
from models.settings import Channels, ModelSettings
from workflows.fit.forward import MICRO_BATCH
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.recipe import check_recipe
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan

LENGTHS = torch.tensor([7, 1, 4, 9])
NAMES = "abc"
ORDER = (2, 0, 1)  # the targets are c, a, b


def independent(num_features: int, channels: Channels, steps: int = 5, **settings: Any) -> LSTM:
    torch.manual_seed(0)
    made = ModelSettings(hidden_size=4, channel_independent=True, **settings)
    return LSTM(made, num_features, made.num_outputs(len(channels.targets), steps, 0), channels).eval()


@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "bidirectional": True}, {"loss": "quantile"}])
def test_each_channel_is_read_alone_with_the_shared_columns_and_its_flag(
    flags: bool, shared: int, settings: dict[str, Any]
) -> None:
    channels, width = Channels(3, ORDER, flags), 3 + shared + 3 * flags
    model = independent(width, channels, **settings)
    levels = model.settings.num_levels
    plain = LSTM(ModelSettings(hidden_size=4, **settings), width_of_a_series(width, channels), 5 * levels)
    plain.load_state_dict(model.state_dict())
    inputs = torch.randn(len(LENGTHS), 9, width)
    outputs = model(inputs, LENGTHS).view(len(LENGTHS), 5, 3, levels)
    for target, channel in enumerate(ORDER):
        columns = [channel, *range(3, 3 + shared), *([3 + shared + channel] if flags else [])]
        expected = plain(inputs[..., columns], LENGTHS).view(len(LENGTHS), 5, levels)
        torch.testing.assert_close(outputs[:, :, target], expected)


def test_the_series_of_a_sample_are_consecutive() -> None:
    inputs = torch.arange(2 * 4 * 3.0).view(2, 4, 3)
    series = take_apart(inputs, Channels(3, ORDER))
    assert series.shape == (6, 4, 1)
    assert torch.equal(series[4, :, 0], inputs[1, :, 1])


def test_a_channel_changes_the_forecast_of_no_other() -> None:
    model, inputs = independent(3, Channels(3, ORDER), window_normalization="instance"), torch.randn(4, 9, 3)
    before = model(inputs, LENGTHS).view(4, 5, 3)
    inputs[..., 0] *= -7
    changed = (model(inputs, LENGTHS).view(4, 5, 3) != before).any(dim=1).any(dim=0)
    assert changed.tolist() == [channel == 0 for channel in ORDER]


def test_each_series_has_a_separate_dropout_mask() -> None:
    model = independent(3, Channels(3, ORDER), num_layers=2, dropout=0.5)
    assert model.mask_shape == (3, 2, 4)
    inputs, seen = torch.randn(4, 9, 3), torch.rand(4, 3, 2, 4)
    outputs = model(inputs, LENGTHS, seen).view(4, 5, 3)
    plain = LSTM(ModelSettings(hidden_size=4, num_layers=2), 1, 5)
    plain.load_state_dict(model.state_dict())
    for target, channel in enumerate(ORDER):
        torch.testing.assert_close(outputs[:, :, target], plain(inputs[..., [channel]], LENGTHS, seen[:, channel]))


def test_a_micro_batch_of_channels_has_as_many_sequences_as_a_plain_one() -> None:
    for numbers, samples in ((7, MICRO_BATCH["cpu"] // 7), (64, MICRO_BATCH["cpu"] // 64), (1000, 1)):
        model = independent(numbers, Channels(numbers, tuple(range(numbers))))
        assert Learner(model, model.settings, TrainingSettings(), Group()).micro_batch == samples
    plain = LSTM(ModelSettings(), 7, 7)
    assert Learner(plain, plain.settings, TrainingSettings(), Group()).micro_batch == MICRO_BATCH["cpu"]


# The tests below train on datasets.

DATA = {"features": ["a", "b", "c"], "targets": ["c", "a", "b"], "lookback": 8, "min_lookback": 3, "horizon": 2}
MODEL = {"hidden_size": 4, "num_layers": 2, "dropout": 0.3, "window_normalization": "instance", "channel_independent": True}


def make_datasets(folder: Path) -> list[EncodedDataset]:
    files = [folder / f"{seed}.csv" for seed in range(2)]
    for seed, file in enumerate(files):
        if not file.exists():  # another worker may be reading the file
            write_csv(noise(90 + 17 * seed, NAMES, seed, gaps=0.1), file)
    return encoded(prepare_all([source_of(file, name=file.stem, **DATA) for file in files], folder))


def plan_in(folder: Path) -> tuple[Plan, list[EncodedDataset]]:
    datasets = make_datasets(folder)
    return plan_of(datasets, [2, 1], MODEL, batch_size=7, learning_rate=1e-2), datasets


def walk_on(folder: str) -> list[float]:
    plan, datasets = plan_in(Path(folder))
    walk(plan, datasets, Path(folder) / "runs", Group.current())
    losses = [epoch.train_loss for epoch in epochs_of(plan, Path(folder) / "runs")]
    return losses + [e.error for row in outcome(plan, Path(folder) / "runs").validation for e in row if e]


@pytest.mark.slow
def test_two_workers_train_the_same_channels_as_one(tmp_path: Path) -> None:
    """Takes about 10 s, for the start of processes."""
    for size in (1, 2):
        make_datasets(tmp_path / str(size))
    alone = walk_on(str(tmp_path / "1"))
    assert len(alone) == 3 + 3 * 2
    for losses in run_workers(walk_on, 2, tmp_path / "group", str(tmp_path / "2")):
        assert losses == pytest.approx(alone, rel=1e-4)


def test_every_retention_works_with_a_model_of_channels(tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    training, model = TrainingSettings(batch_size=16), ModelSettings(**MODEL)
    ends = set()
    for method in ("none", "replay", "ewc", "distill", "l2"):
        retention = RetentionSettings(method=method, memory=5)
        plan = make_plan(0, model, training, datasets, [1, 1], retention)
        walk(plan, datasets, tmp_path / "runs")
        ends.add(weights_hash(outcome(plan, tmp_path / "runs").key, tmp_path / "runs"))
    assert len(ends) == 5


def test_a_normalised_model_works_at_another_level(tmp_path: Path) -> None:
    """Train on a sine with a validation part ten deviations higher: only a normalised model follows."""
    steps = np.arange(400)
    wave = np.sin(steps * 2 * np.pi / 12) + 0.02 * np.random.default_rng(0).normal(size=400)
    frame = pd.DataFrame({"a": wave + np.where(steps < 280, 0, 10)})
    prepared = prepare_frame(frame, tmp_path, lookback=12, horizon=6, split=[0.7, 0.3, 0.0])
    (dataset,) = encoded(prepared)
    errors = {}
    for method in ("none", "last", "instance"):
        settings = {"hidden_size": 16, "window_normalization": method}
        plan = plan_of([dataset], [12], settings, batch_size=16, learning_rate=2e-2)
        walk(plan, [dataset], tmp_path / "runs")
        last = outcome(plan, tmp_path / "runs").validation[-1][0]
        assert last is not None
        errors[method] = last.error
    # The 18 of 115 windows across the jump cannot be predicted.
    assert errors["last"] < 0.3 * errors["none"]
    assert errors["instance"] < 0.3 * errors["none"]


def test_addresses_of_plain_models_have_not_changed(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 20)}, tmp_path)
    known = {
        "2a6b5bcf3f0027ad3466d21373a3a13d": {},
        "6a6378665b9bf63acdf14d80e722a7be": {"hidden_size": 6, "num_layers": 2, "dropout": 0.3},
        "88772a61c5ccc9d3d9adca40d11a2a0f": {"loss": "quantile"},
    }
    for root, model in known.items():
        plain = {"window_normalization": "none", "channel_independent": False}
        assert plan_of(datasets, [1], {**model, **plain}, seed=3).root == root


def test_each_of_the_settings_is_part_of_the_address(tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    models = itertools.product(("none", "last", "instance"), (False, True))
    roots = [plan_of(datasets, [1, 1], {"window_normalization": m, "channel_independent": c}).root for m, c in models]
    assert len(set(roots)) == 6


def test_the_indices_of_targets_and_flags_come_from_the_columns(tmp_path: Path) -> None:
    frame = noise(60, NAMES, gaps=0.05)
    (dataset,) = encoded(prepare_frame(frame, tmp_path, **{**DATA, "missing_flags": True}))
    assert plan_of([dataset], [1], MODEL).channels == Channels(3, ORDER, True)
    assert plan_of([dataset], [1], {}).channels is None


@pytest.mark.parametrize("scaling", ["standard", "minmax", "none", "robust"])
def test_a_target_with_gaps_must_be_scaled_as_its_feature(scaling: str, tmp_path: Path) -> None:
    (dataset,) = encoded(prepare_frame(noise(60, NAMES, gaps=0.2), tmp_path, **{**DATA, "scaling": scaling}))
    if scaling != "robust":
        assert plan_of([dataset], [1], MODEL).channels == Channels(3, ORDER)
        return
    with pytest.raises(InputError, match=r"dataset 'd': 'a' has missing values.*scaling = \"standard\"") as caught:
        plan_of([dataset], [1], MODEL)
    assert len(caught.value.messages) == 3
    assert plan_of([dataset], [1], {}).channels is None


ALL = {"features": ["load", "heat"], "targets": ["heat", "load"]}
CLASSES = {"horizon": 0, "features": ["load"], "targets": ["heat"]}


@pytest.mark.parametrize(
    ("data", "model", "words"),
    [
        ({"features": ["heat"]}, {"window_normalization": "last"}, ["lack load", "write features = ['heat', 'load']"]),
        (
            {"features": ["Heat", "Leistung kw"], "targets": ["Leistung kW"]},
            {"window_normalization": "instance"},
            ["lack Leistung kW", "did you mean the feature 'Leistung kw' by 'Leistung kW'?", "If not, write features = ["],
        ),
        (
            {},
            {"channel_independent": True},
            ["lack heat", "write targets = ['load', 'heat']", "channel_independent = false"],
        ),
        (
            {**CLASSES},
            {"window_normalization": "instance"},
            ["got horizon = 0", 'window_normalization = "none"'],
        ),
        ({**CLASSES}, {"channel_independent": True}, ["channel_independent = true", "horizon = 0"]),
        ({**CLASSES}, {"window_normalization": "last", "loss": "cross_entropy"}, ["cross_entropy", "classes"]),
        ({}, {"window_normalization": "batch"}, ["'batch'", "'instance'"]),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_with_what_to_write(
    data: dict[str, Any], model: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        check_recipe(small_document(data=data, model=model), tmp_path, "r.toml")
    (message,) = caught.value.messages
    for word in words:
        assert word in message


@pytest.mark.parametrize("model", [{"hidden_size": 8, "window_normalization": "last"}, {**MODEL, "loss": "quantile"}])
def test_a_model_that_fits_the_data_is_accepted(model: dict[str, Any], tmp_path: Path) -> None:
    assert check_recipe(small_document(data=ALL, model=model), tmp_path).model == ModelSettings(**model)
