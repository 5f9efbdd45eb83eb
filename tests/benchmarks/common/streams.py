"""Four streams of datasets: plants with opposite weather, transformers, new speakers, and air quality at four stations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from data.built_in import make_built_in
from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepare import prepare
from data.prepared.running import run_here
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource, DataSettings

ETT_COLUMNS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]


@dataclass(frozen=True)
class Stream:
    """Datasets in their order, the model's and the training's settings, and the epochs of each dataset."""

    name: str
    datasets: list[EncodedDataset]
    model: dict[str, Any]
    training: dict[str, Any]
    epochs: int


def prepared_in(sources: list[DatasetSource], folder: Path) -> list[EncodedDataset]:
    prepared = prepare(
        sources,
        folder,
        FileNotes(folder / "sources"),
        run_here,
    )
    encodings = make_encodings(prepared, [source.settings for source in sources])
    return [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]


def plants(home: Path) -> Stream:
    """Prepare the demo's four plants as its recipe does."""
    make_built_in("plants", home / "built_in")
    settings = DataSettings(
        time="time", features=["power", "wind", "temperature"], targets=["power"], frequency="1h", lookback=48, horizon=12,
        split=[0.7, 0.15, 0.15],
    )  # fmt: skip
    paths = sorted((home / "built_in" / "plants").glob("*.csv"))
    sources = [DatasetSource(path.stem, (str(path),), settings) for path in paths]
    training = {"learning_rate": 1e-2, "batch_size": 64, "schedule": "one_cycle"}
    return Stream("plants", prepared_in(sources, home / "prepared"), {"hidden_size": 32}, training, 4)


def ett(home: Path, data: Path) -> Stream:
    """Prepare ETT h1, h2, m1, m2 with the published split and a window every two hours."""
    sources = []
    for name in ("ETTh1", "ETTh2", "ETTm1", "ETTm2"):
        quarter = name.startswith("ETTm")
        settings = DataSettings(
            time="date", features=ETT_COLUMNS, targets=ETT_COLUMNS, frequency="15min" if quarter else "1h", lookback=96,
            horizon=24, stride=8 if quarter else 2,
            split={"validation": "2017-06-26", "test": "2017-10-24", "end": "2018-02-21"},
        )  # fmt: skip
        sources.append(DatasetSource(name, (str(data / "ett" / f"{name}.csv"),), settings))
    training = {"learning_rate": 4e-3, "batch_size": 64, "schedule": "one_cycle"}
    model = {"hidden_size": 64, "window_normalization": "instance"}
    return Stream("ETT", prepared_in(sources, home / "prepared"), model, training, 3)


def beijing(home: Path, data: Path) -> Stream:
    """Prepare PM2.5 at the first four of Beijing's stations as the built-in recipe does; two epochs, a constant rate.

    The settings were fixed before anything was trained on it here.
    """
    settings = DataSettings(
        time=["year", "month", "day", "hour"],
        features=["PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"],
        targets=["PM2.5"], categorical=["wd"], calendar=["hour"], frequency="1h", lookback=96, horizon=24, stride=7,
    )  # fmt: skip
    paths = sorted((data / "beijing").glob("PRSA_Data_*.csv"))[:4]
    sources = [DatasetSource(path.stem.split("_")[2], (str(path),), settings) for path in paths]
    training = {"learning_rate": 3e-3, "batch_size": 32}
    return Stream("Beijing", prepared_in(sources, home / "prepared"), {"hidden_size": 64}, training, 2)


def vowels(home: Path, data: Path) -> Stream:
    """Prepare Japanese Vowels as three datasets of three speakers each: each adds classes; sequences of 7 to 29 steps."""
    folder = home / "vowels"
    folder.mkdir(parents=True, exist_ok=True)
    settings = DataSettings(
        time="step", series="sequence", features=[f"c{n}" for n in range(12)], targets=["speaker"], lookback="all",
        horizon=0, split=[0.7, 0.3, 0.0], split_by="series",
    )  # fmt: skip
    sources = []
    for number, speakers in enumerate((("1", "2", "3"), ("4", "5", "6"), ("7", "8", "9"))):
        paths = {}
        for part in ("TRAIN", "TEST"):
            paths[part] = folder / f"speakers_{number + 1}_{part}.csv"
            _write_speakers(data / "japanese_vowels" / f"JapaneseVowels_{part}.ts", speakers, paths[part])
        name = f"speakers {speakers[0]} to {speakers[-1]}"
        sources.append(DatasetSource(name, (str(paths["TRAIN"]),), settings, test_files=(str(paths["TEST"]),), classes=True))
    model = {"hidden_size": 32, "loss": "cross_entropy"}
    return Stream(
        "vowels",
        prepared_in(sources, home / "prepared"),
        model,
        {"learning_rate": 1e-2, "batch_size": 16, "schedule": "one_cycle"},
        30,
    )


def _write_speakers(source: Path, speakers: tuple[str, ...], path: Path) -> None:
    """Write the sequences of some speakers, one row a step."""
    rows: dict[str, list[Any]] = {name: [] for name in ("sequence", "step", *(f"c{n}" for n in range(12)), "speaker")}
    body = re.split(r"@data\n", source.read_text(), flags=re.IGNORECASE)[1]
    for number, line in enumerate(body.strip().splitlines()):
        *channels, speaker = line.split(":")
        if speaker not in speakers:
            continue
        values = np.array([[float(value) for value in channel.split(",")] for channel in channels])
        for step, column in enumerate(values.T):
            rows["sequence"].append(f"{source.stem[-5:]}{number:04d}")
            rows["step"].append(step)
            rows["speaker"].append(f"speaker {speaker}")
            for channel_number, value in enumerate(column):
                rows[f"c{channel_number}"].append(value)
    pacsv.write_csv(pa.table(rows), path)
