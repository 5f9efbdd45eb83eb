"""The exported model against `predict` on the same raw rows, loaded by torch.export and by onnxruntime."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from commands import invoke
from sites import Opened, predict, train_sites

from data.errors import InputError
from models.gaps import carry, filled_forward, interpolated
from models.scans import scanned_carry
from workflows.results.export import export_model, raw_model
from workflows.results.raw_model import RawModel, calendar_waves

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
EVERYTHING: dict[str, Any] = {
    "data": {"calendar": ["hour", "weekday", "month", "day_of_year"], "lookback": 8, "min_lookback": 3},
    "model": {"loss": "quantile", "bidirectional": True, "window_normalization": "instance"},
}
PLAIN: dict[str, Any] = {
    "data": {
        "categorical": [],
        "calendar": [],
        "missing_flags": False,
        "missing": "interpolate",
        "features": ["power", "flow"],
    },
    "model": {"channel_independent": True, "window_normalization": "last", "head": "shared"},
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("everything"), **EVERYTHING)


def new_rows(folder: Path, steps: int, pumps: int = 5) -> pd.DataFrame:
    """Write rows of some pumps at the end of a leap year, with gaps and a label that no train row has."""
    random = np.random.default_rng(steps)
    frames = []
    for pump in range(pumps):
        frame = pd.DataFrame(
            {
                "time": pd.date_range("2024-12-31 19:00", periods=steps, freq="h"),
                "pump": f"p{pump}",
                "power": 50 + 5 * random.normal(size=steps),
                "flow": 3 + random.normal(size=steps),
                "mode": random.choice(["idle", "low", "new"], steps),
            }
        )
        frame.loc[random.random(steps) < 0.3, "mode"] = None
        frame.loc[[0, *range(2, min(2 + pump, steps))], "flow"] = np.nan
        frame.loc[steps - 2, "power"] = np.nan
        frames.append(frame)
    rows = pd.concat(frames)
    rows.to_csv(folder / "new.csv", index=False)
    return rows


def inputs_of(rows: pd.DataFrame, model: RawModel) -> dict[str, np.ndarray]:
    """Return the same rows as inputs of the module."""
    pumps = [window for _, window in rows.groupby("pump")]
    inputs = {"values": np.stack([window[model.features].to_numpy(np.float32) for window in pumps])}
    if model.labels:
        (labels,) = model.labels.values()
        codes = [[[labels.index(x) if x in labels else -1] for x in window["mode"]] for window in pumps]
        inputs["codes"] = np.array(codes, np.int64)
    if model.calendar:
        inputs["times"] = np.stack([window["time"].to_numpy("datetime64[us]").astype(np.int64) for window in pumps])
    return inputs


def as_tensors(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(each) for name, each in inputs.items()}


def run_onnx(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    assert [each.name for each in session.get_inputs()] == list(inputs)
    return session.run(None, inputs)


def check_files(opened: Opened, dataset: str, columns: list[str]) -> None:
    """Check that the module, the .pt2 file and the .onnx file of a run agree with `predict` and with each other."""
    store, run, folder = opened
    module = raw_model(store, run, dataset)
    rows = new_rows(folder, 8)
    wanted = predict(opened, dataset, "new.csv")[columns].to_numpy()
    made = export_model(store, run, str(folder / "model.onnx"), dataset).content
    words = ("--dataset", dataset, "--output", str(folder / "model.pt2"), "--storage", str(folder / "runs"))
    code, output, _ = invoke("export", "sites", *words)
    assert (code, ", ".join(each["name"] for each in made["inputs"]) in output) == (0, True)
    program = torch.export.load(folder / "model.pt2").module()
    for steps, pumps in ((8, 5), (3, 1), (5, 7)):
        inputs = inputs_of(rows if steps == 8 else new_rows(folder, steps, pumps), module)
        with torch.inference_mode():
            outputs = [
                made if isinstance(made, tuple) else (made,)
                for made in (module(**as_tensors(inputs)), program(**as_tensors(inputs)))
            ]
        for eager, exported, onnx in zip(*outputs, run_onnx(folder / "model.onnx", inputs), strict=True):
            np.testing.assert_allclose(exported, eager, **CLOSE)
            np.testing.assert_allclose(onnx, eager, **CLOSE)
        if steps == 8:
            flat = [each.reshape(pumps * module.horizon, -1).numpy() for each in outputs[0]]
            np.testing.assert_allclose(np.concatenate(flat, axis=1), wanted, **CLOSE)
    described = json.loads((folder / "model.json").read_text())
    assert {name: made[name] for name in described} == described
    assert [each["name"] for each in described["inputs"]] == list(inputs)


def test_a_model_with_all_kinds_of_columns_gives_what_predict_writes(everything: Opened) -> None:
    store, run, folder = everything
    module = raw_model(store, run, "a")
    inputs = inputs_of(new_rows(folder, 8), module)
    with torch.inference_mode():
        point, levels = module(**as_tensors(inputs))
    written = predict(everything, "a", "new.csv")
    np.testing.assert_allclose(point.reshape(-1, 2).numpy(), written[["power", "flow"]].to_numpy(), **CLOSE)
    columns = [f"{name}_q{level}" for name in ("power", "flow") for level in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(levels.reshape(-1, 6).numpy(), written[columns].to_numpy(), **CLOSE)


@pytest.mark.long
def test_a_model_with_all_kinds_of_columns_is_the_same_in_torch_and_onnx(everything: Opened) -> None:
    levels = [f"{name}_q{level}" for name in ("power", "flow") for level in (0.1, 0.5, 0.9)]
    check_files(everything, "a", ["power", "flow", *levels])
    described = json.loads((everything[2] / "model.json").read_text())
    assert (described["dataset"], described["length"]) == ("a", {"shortest": 3, "longest": 8})
    assert described["inputs"][1]["labels"] == {"mode": ["high", "idle", "low"]}
    assert described["outputs"][1]["levels"] == [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("plain"), **PLAIN)


def test_a_model_of_windows_by_themselves_gives_what_predict_writes(plain: Opened) -> None:
    store, run, folder = plain
    module = raw_model(store, run, "b")
    inputs = inputs_of(new_rows(folder, 8), module)
    with torch.inference_mode():
        forecasts = module(**as_tensors(inputs)).reshape(-1, 2).numpy()
    np.testing.assert_allclose(forecasts, predict(plain, "b", "new.csv")[["power", "flow"]].to_numpy(), **CLOSE)


def test_a_program_of_torch_export_takes_any_batch_and_any_length(plain: Opened) -> None:
    store, run, folder = plain
    module = raw_model(store, run, "b")
    warned: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    serializing = logging.getLogger("torch._export.serde.serialize")
    serializing.addHandler(handler)
    export_model(store, run, str(folder / "b.pt2"), "b")
    serializing.removeHandler(handler)
    assert warned == []  # torch's warnings about its internals do not concern the user's model
    program = torch.export.load(folder / "b.pt2").module()
    for steps, pumps in ((8, 5), (3, 1)):
        inputs = as_tensors(inputs_of(new_rows(folder, steps, pumps), module))
        with torch.inference_mode():
            np.testing.assert_allclose(program(**inputs), module(**inputs), **CLOSE)


@pytest.mark.long
def test_a_model_of_windows_by_themselves_is_the_same_in_torch_and_onnx(plain: Opened) -> None:
    check_files(plain, "b", ["power", "flow"])


def test_where_heads_or_scalings_differ_the_dataset_is_named(everything: Opened) -> None:
    store, run, folder = everything
    with pytest.raises(InputError, match="2 datasets: name the one"):
        raw_model(store, run)
    with pytest.raises(InputError, match=r"write a name that ends in \.pt2 or \.onnx"):
        export_model(store, run, str(folder / "model.pkl"), "a")
    assert not (folder / "model.pkl").exists()
    code, _, error = invoke("export", "sites", "--output", "x.pt2", "--storage", str(folder / "runs"))
    assert code == 2
    assert "name the one" in error


def test_gaps_are_filled_as_pandas_fills_them_by_steps_and_by_scan() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(4, 9, 3)).astype(np.float32)
    values[random.random(values.shape) < 0.4] = np.nan
    values[0, :, 0] = np.nan
    for way in (carry, scanned_carry):
        forward, line = filled_forward(torch.from_numpy(values), way), interpolated(torch.from_numpy(values), way)
        for window in range(4):
            frame = pd.DataFrame(values[window])
            np.testing.assert_allclose(forward[window], frame.ffill().to_numpy(), rtol=1e-6)
            expected = frame.interpolate(limit_direction="both").to_numpy()
            np.testing.assert_allclose(line[window], expected, rtol=1e-5, atol=1e-6)


def test_calendar_features_are_those_of_pandas_over_centuries() -> None:
    times = pd.date_range("1896-01-01", "2105-01-01", freq="31h").astype("datetime64[us]")
    hour = times.hour.to_numpy()
    phases = [
        hour / 24,
        (times.day_of_week + hour / 24) / 7,
        (times.month - 1) / 12,
        (times.day_of_year - 1 + hour / 24) / 365.25,
    ]
    waves = calendar_waves(
        torch.from_numpy(times.to_numpy().astype(np.int64))[None], ["hour", "weekday", "month", "day_of_year"]
    )
    expected = np.stack([wave(2 * np.pi * np.asarray(phase)) for phase in phases for wave in (np.sin, np.cos)], axis=1)
    np.testing.assert_allclose(waves[0], expected, atol=1e-6)
