"""The results of each loss, retention method, schedule and normalization are pinned, so that no number changes silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from helpers import epochs_of, prepare_in_process, walk

from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.loss_table import LOSSES
from models.retention_methods import RETENTION_METHODS
from models.schedules import SCHEDULES
from models.settings import ModelSettings, WindowNormalization
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan

TOLERANCE = 1e-5  # relative, of a loss; without oneDNN, as another CPU computes, the largest difference is 2e-7
CLASSES = {"loss": "cross_entropy"}

# model, training, retention; the address of the last state and its train loss
GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, float]] = {
    "mse": ({}, {}, {}, "5ff050ed6314f1d04b49f3cecd228d06", 0.977225968),
    "mae": ({"loss": "mae"}, {}, {}, "1f5eda4562bd1be7dd2bcc219a449bad", 0.835756642),
    "huber": ({"loss": "huber"}, {}, {}, "fb0a6f1a477fd7a83a157c1c5f76176c", 0.453085244),
    "quantile": ({"loss": "quantile"}, {}, {}, "ac6ecd23d7ba556b2138502ebecd6463", 0.335059622),
    "cross_entropy": (CLASSES, {}, {}, "5966d7f08c5fb459d253bab009134a2b", 1.09824818),
    "cosine": ({}, {"schedule": "cosine"}, {}, "c70c1beca6ed417477b1b617683a4918", 0.975913499),
    "cyclical": ({}, {"schedule": "cyclical"}, {}, "9a5d661d424b0f6eb52d01671de10029", 0.979556927),
    "one_cycle": ({}, {"schedule": "one_cycle"}, {}, "d6a8ffd253547cab10f8ff90e7d2d6e0", 0.976823296),
    "plateau": (
        {},
        {"schedule": "plateau", "plateau_patience": 0, "learning_rate": 0.5},
        {},
        "d5cb741e8b609cfb52286e21616e660b",
        1.06505357,
    ),
    "replay": ({}, {}, {"method": "replay"}, "bbd384727dbcd1a80ba6360b73b50700", 0.98151585),
    "replay, replaced": ({}, {}, {"method": "replay", "mix": "replaced"}, "3aac8e500f63c2c7dcc373e1cf219356", 0.967913823),
    "replay+distill": ({}, {}, {"method": "replay+distill"}, "3cfd4af8d28ee081a17aa84e7d97c66c", 0.981353913),
    "distill": ({}, {}, {"method": "distill"}, "1c453046a08a9f84de451b6f6d9d3611", 0.977139226),
    "distill of classes": (CLASSES, {}, {"method": "distill"}, "17e63f8785caa2fa58dc6d25356ceff2", 1.09826633),
    "ewc": ({}, {}, {"method": "ewc", "strength": 100.0}, "da51f1087c52c6946d34a4f45cae4d23", 0.979118381),
    "l2": ({}, {}, {"method": "l2", "strength": 0.1}, "5f438e34a27143b8ff2e2e47b32b42d6", 0.977969451),
    "last": ({"window_normalization": "last"}, {}, {}, "0e4fe5312775b38048134cebf9aa94d1", 1.89078535),
    "instance": ({"window_normalization": "instance"}, {}, {}, "2833f4976e09ad7bd605b9a9ee25f044", 1.2096219),
    "channel_independent": ({"channel_independent": True}, {}, {}, "ef6270d4bbc2595fb23e8f3600cdaadc", 0.982777017),
    "shared head": ({"head": "shared"}, {}, {}, "1ca6b4af2e22123e06d39bade5354ae8", 0.988498952),
    "last weights": ({}, {"handover": "last"}, {}, "4c927b42ddbc15bc84458eaae72df28f", 0.979844025),
}


# settings of the data; the address of the last state and its train loss
OF_DATA: dict[str, tuple[dict[str, Any], str, float]] = {
    "known_future": ({"targets": ["b"], "known_future": ["a"]}, "2a194ab86b36ca6f785a4cb6df9e4f64", 0.981572696),
    "weight": ({"targets": ["b"], "weight": "a"}, "06d4cf1cee4e8eb71cbab879ae5dcfbd", 0.956104737),
}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    """Return two datasets with a forecast of both columns."""
    return datasets_of(tmp_path_factory.mktemp("numbers"))


def datasets_of(folder: Path, **changes: Any) -> list[EncodedDataset]:
    """Return two datasets with the columns a and b, without random numbers, so that every NumPy writes the same files."""
    sources = []
    for number, name in enumerate(("first", "second")):
        lines = [f"{t},{(t * (5 + 3 * number)) % 17},{(t * t + number) % 13}" for t in range(90)]
        (folder / f"{name}.csv").write_text("\n".join(["t,a,b", *lines]) + "\n")
        data = {"time": "t", "features": ["a", "b"], "targets": ["a", "b"], "frequency": 1, "lookback": 6, "horizon": 2}
        settings = DataSettings(**{**data, **changes})
        sources.append(DatasetSource(name, (str(folder / f"{name}.csv"),), settings))
    return prepare_in_process(sources, folder / "prepared")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    """Return two datasets of sequences of 3 to 5 steps with three classes."""
    folder = tmp_path_factory.mktemp("classes")
    sources = []
    for number, name in enumerate(("first", "second")):
        lines = [
            f"s{s:02d},{t},{(s * 7 + t * (3 + number)) % 11},{(s + number) % 3}" for s in range(40) for t in range(3 + s % 3)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["s,t,x,y", *lines]) + "\n")
        settings = DataSettings(
            time="t", series="s", features=["x"], targets=["y"], lookback="all", horizon=0, split_by="series"
        )
        sources.append(DatasetSource(name, (str(folder / f"{name}.csv"),), settings, classes=True))
    return prepare_in_process(sources, folder / "prepared")


def last_epoch(
    datasets: list[EncodedDataset], folder: Path, model: dict[str, Any], training: dict[str, Any], retention: dict[str, Any]
) -> tuple[str, float]:
    settings = TrainingSettings(**{"learning_rate": 0.02, "batch_size": 16, **training})
    plan: Plan = make_plan(
        0, ModelSettings(**{"hidden_size": 4, **model}), settings, datasets, [2, 2], RetentionSettings(**retention)
    )
    walk(plan, datasets, folder)
    last = epochs_of(plan, folder)[-1]
    return last.key, last.train_loss


@pytest.mark.parametrize("name", GOLDEN)
def test_the_last_epoch_of_two_datasets_has_not_changed(
    name: str, numbers: list[EncodedDataset], classes: list[EncodedDataset], tmp_path: Path
) -> None:
    model, training, retention, key, loss = GOLDEN[name]
    address, measured = last_epoch(classes if model == CLASSES else numbers, tmp_path, model, training, retention)
    assert measured == pytest.approx(loss, rel=TOLERANCE)
    assert address == key


@pytest.mark.parametrize("name", OF_DATA)
def test_the_last_epoch_with_known_or_weight_columns_has_not_changed(name: str, tmp_path: Path) -> None:
    data, key, loss = OF_DATA[name]
    address, measured = last_epoch(datasets_of(tmp_path, **data), tmp_path / "store", {}, {}, {})
    assert measured == pytest.approx(loss, rel=TOLERANCE)
    assert address == key


def test_each_case_computes_something_else() -> None:
    losses = [round(loss, 7) for *_, loss in GOLDEN.values()]
    assert len(set(losses)) == len(losses)
    assert len({key for *_, key, _ in GOLDEN.values()}) == len(GOLDEN)


def test_every_loss_retention_method_schedule_and_normalization_is_pinned() -> None:
    settings: dict[str, set[Any]] = {"loss": {"mse"}, "method": {"none"}, "schedule": {"constant"}}
    settings["window_normalization"] = {"none"}
    for model, training, retention, *_ in GOLDEN.values():
        for key, value in {**model, **training, **retention}.items():
            settings.setdefault(key, set()).add(value)
    assert settings["loss"] == set(LOSSES)
    assert settings["method"] == set(RETENTION_METHODS)
    assert settings["schedule"] == set(SCHEDULES)
    assert settings["window_normalization"] == set(get_args(WindowNormalization))
