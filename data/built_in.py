"""Write the built-in data: four plants that conflict, and the sequences of the Keras tutorial."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from data.reading.files import make_folder

Float64 = npt.NDArray[np.float64]

# Name, hours, level and spread of the power in kW, its response to the weather, the delay of this response in hours, the
# hour of the daily peak, noise. The same weather raises power in one plant and lowers it in the next, and their daily peaks
# differ: the plants conflict, so a plain sequence forgets.
PLANTS = [
    ("plant_alder", 7000, 120.0, 30.0, 1.0, 6, 8.0, 0.15),
    ("plant_birch", 5000, 900.0, 250.0, -1.0, 6, 20.0, 0.20),
    ("plant_cedar", 6000, 14.0, 4.0, 0.8, 3, 14.0, 0.10),
    ("plant_dogwood", 4000, 45.0, 9.0, -0.7, 9, 2.0, 0.25),
]


def write_plants(folder: Path) -> None:
    """Write four hourly CSV files with the columns time, power, wind, temperature; some rows and cells are missing."""
    for number, (name, hours, level, spread, answer, delay, peak, noise) in enumerate(PLANTS):
        random = np.random.default_rng([2024, number])
        hour = np.arange(hours)
        wind = _weather(random, hours + delay, 0.93)
        season = np.cos(2 * np.pi * (hour / 8766 - 0.05 * number))
        day = np.cos(2 * np.pi * (hour - peak) / 24)
        power = answer * wind[:hours] + 0.6 * day + 0.4 * season + noise * random.normal(size=hours)
        columns = {
            "power": level + spread * power,
            "wind": 6.0 + 2.5 * wind[delay:],
            "temperature": 10.0 - 9.0 * season + 3.0 * day + _weather(random, hours, 0.98),
        }
        start = np.datetime64("2022-01-01T00:00") + np.timedelta64(37 * number, "D")
        present = random.random(hours) > 0.004
        outage = int(hours * 0.4)
        present[outage : outage + 10] = False
        text = {name: np.round(values, 3) for name, values in columns.items()}
        for values in text.values():
            values[random.random(hours) < 0.01] = np.nan
        table = pa.table(
            {
                "time": pa.array(np.datetime_as_string(start + hour[present].astype("timedelta64[h]"))),
                **{name: pa.array(values[present], from_pandas=True) for name, values in text.items()},
            }
        )
        pacsv.write_csv(table, folder / f"{name}.csv", pacsv.WriteOptions(quoting_style="none"))


def _weather(random: np.random.Generator, steps: int, memory: float) -> Float64:
    """Return a first-order autoregressive series of variance 1."""
    shocks = random.normal(size=steps) * np.sqrt(1 - memory**2)
    level = np.empty(steps)
    level[0] = random.normal()
    for step in range(1, steps):
        level[step] = memory * level[step - 1] + shocks[step]
    return level


def write_tutorial(folder: Path, varied: bool) -> None:
    """Write three CSV files of 100 sequences with 5 features and 2 targets, of 10 steps, or 5 to 14 if `varied`.

    The targets of a sequence are the means of its first two features, shifted a little from dataset to dataset.
    """
    for number in range(3):
        random = np.random.default_rng([7, number])
        lengths = random.integers(5, 15, 100) if varied else np.full(100, 10)
        inputs = random.random((int(lengths.sum()), 5))
        sequence = np.repeat(np.arange(100), lengths)
        sums = np.zeros((100, 2))
        np.add.at(sums, sequence, inputs[:, :2])
        targets = sums / lengths[:, None] + 0.1 * number
        table = pa.table(
            {
                "sequence": [f"s{index:03d}" for index in sequence],
                "step": np.concatenate([np.arange(length) for length in lengths]),
                **{f"x{index}": np.round(inputs[:, index], 6) for index in range(5)},
                **{f"y{index}": np.round(targets[sequence, index], 6) for index in range(2)},
            }
        )
        pacsv.write_csv(table, folder / f"dataset_{number + 1}.csv", pacsv.WriteOptions(quoting_style="none"))


MAKERS: dict[str, Callable[[Path], None]] = {
    "plants": write_plants,
    "tutorial": lambda folder: write_tutorial(folder, varied=False),
    "tutorial_varied": lambda folder: write_tutorial(folder, varied=True),
}


def make_built_in(name: str, folder: Path) -> None:
    """Write the built-in data `name` into folder/name, unless it exists."""
    if (folder / name).exists():
        return
    scratch = folder / f".{name}-{uuid.uuid4().hex[:8]}"
    make_folder(scratch)
    try:
        MAKERS[name](scratch)
        scratch.rename(folder / name)
    except OSError:
        if not (folder / name).exists():  # unless another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
