"""Broken recipes and files end in a message that names the location, or are read with the right counts: no traceback."""

from __future__ import annotations

import copy
import csv
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w
from data_cases import prepare_all, source_of

from data.errors import InputError
from data.prepared.prepared import PreparedDataset
from data.reading.files import FileNotes
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import check_recipe, load_recipe

RECIPE: dict[str, Any] = {
    "name": "fuzz",
    "data": {
        "time": "t",
        "series": "k",
        "features": ["y", "x"],
        "targets": ["y"],
        "categorical": ["c"],
        "calendar": ["hour"],
        "frequency": "1h",
        "lookback": 4,
        "horizon": 1,
        "split": [0.6, 0.2, 0.2],
    },
    "datasets": [{"name": "{file}", "path": "*.csv"}, {"name": "{k}!", "path": "a.csv", "missing": "forward"}],
    "model": {"hidden_size": 4},
    "training": {"epochs": 1},
}
ODD = [
    None, True, -1, 0, 1, 3, 10**6, 2**63, 2**70, 1.5, -0.0, float("nan"), float("inf"), "", "t", "y", "k",
    "nope", "1h", "1mo", "%Y", "%", "whitespace", ";", ",", "\t", "\0", "utf-16", "latin-1", "all", "none",
    "mean", "{file}", "{folder}", "{", "a" * 300, [], [""], ["y"], ["y", "y"], ["t", "k"], [0.5, 0.5], [1, 0, 0],
    [[]], {}, {"a": 1}, {"y": "x"}, "Europe/Berlin", "s", "step", "..", "*", "[", "/etc/passwd", "s3://", "{}",
    "1b", "1q", "0h", "-1d", "first", "csv", "parquet",
]  # fmt: skip
KEYS = [
    "time", "time_format", "time_unit", "time_zone", "delimiter", "decimal", "thousands", "encoding",
    "column_names", "skip_rows", "missing_values", "rename", "format", "duplicates", "series", "features",
    "targets", "categorical", "calendar", "frequency", "lookback", "min_lookback", "horizon", "stride", "missing",
    "missing_flags", "scaling", "split", "split_by", "name", "path", "test_path", "epochs", "tiem",
]  # fmt: skip


def frame_of(rows: int = 40) -> pd.DataFrame:
    values = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "t": pd.date_range("2024-01-01", periods=rows, freq="h").astype(str),
                "k": key,
                "y": values.normal(size=rows).round(3),
                "x": values.integers(0, 99, rows),
                "c": values.choice(["u", "v"], rows),
            }
        )
        for key in ("north", "south")
    ]
    return pd.concat(frames, ignore_index=True)


def check_message(error: InputError, *locations: str) -> None:
    """Check that a message names one of the locations and has no traceback."""
    assert not locations or any(location in str(error) for location in locations), error
    for message in error.messages:
        assert message.strip()
        assert "Traceback" not in message
        assert len(message) < 5000


def right_counts(dataset: PreparedDataset) -> None:
    """Check that the counts of the manifest agree with each other and with the rows."""
    facts = dataset.manifest
    counts = facts.counts
    assert counts is not None
    assert (
        counts.rows_read - counts.rows_duplicate + counts.rows_inserted
        == facts.rows
        == sum(len(p.values) for p in dataset.parts)
    )
    assert counts.rows_used <= counts.rows_read
    assert sum(facts.samples.values()) == sum(len(samples) for part in dataset.parts for samples in part.samples.values())


def try_recipe(document: Any, folder: Path, number: int) -> str:
    try:
        recipe = check_recipe(document, folder)
        sources, _ = find_datasets(recipe, FileNotes(folder / "facts"), folder)
        for dataset in prepare_all(sources, folder / f"out{number % 7}"):
            right_counts(dataset)
    except InputError as error:
        check_message(error)
        return "refused"
    return "accepted"


def mutated(chance: random.Random) -> dict[str, Any]:
    document = copy.deepcopy(RECIPE)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        section = chance.choice([document["data"], document["data"], *document["datasets"], document])
        key = chance.choice([*KEYS, *section])
        action = chance.randrange(4)
        if action == 0:
            section.pop(key, None)
        elif action == 1 and isinstance(section.get(key), list):
            section[key] = [*section[key], chance.choice(ODD)][:: chance.choice([1, -1])]
        else:
            section[key] = copy.deepcopy(chance.choice(ODD))
        if not isinstance(document.get("data"), dict) or not isinstance(document.get("datasets"), list):
            break
        if not document["datasets"] or not all(isinstance(each, dict) for each in document["datasets"]):
            break
    return document


def recipes(folder: Path, rounds: range) -> None:
    frame_of().to_csv(folder / "a.csv", index=False)
    frame_of(30).to_csv(folder / "b.csv", index=False)
    outcomes = [try_recipe(mutated(random.Random(number)), folder, number) for number in rounds]
    assert outcomes.count("accepted") > len(outcomes) / 50
    assert outcomes.count("refused") > len(outcomes) / 50


def texts(folder: Path, rounds: range) -> None:
    """Change bytes of a recipe's file."""
    frame_of().to_csv(folder / "a.csv", index=False)
    whole = tomli_w.dumps(RECIPE).encode()
    for number in rounds:
        path = folder / "fuzz.toml"
        path.write_bytes(scrambled(whole, random.Random(number)))
        try:
            load_recipe(path)
        except InputError as error:
            check_message(error, str(path))


def scrambled(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a few of them changed, removed, doubled or inserted."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        position, length = chance.randrange(len(changed) + 1), chance.choice([1, 1, 2, 8, 100])
        piece = chance.choice(
            [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xc3", b";", b"\xef\xbb\xbf", b"NA", b"-", b"1e400", b"''", b"\n\n"]
        )
        action = chance.randrange(4)
        if action == 0:
            changed[position : position + len(piece)] = piece
        elif action == 1:
            del changed[position : position + length]
        elif action == 2:
            changed[position:position] = changed[position : position + length]
        else:
            changed[position:position] = piece
        if not changed:
            break
    return bytes(changed)


def files(folder: Path, rounds: range) -> None:
    """Change bytes of a CSV or Parquet file; a CSV file that is read has as many rows as Python's csv module counts."""
    frame = frame_of()
    text = frame.to_csv(index=False).encode()
    frame.to_parquet(folder / "whole.parquet")
    binary = (folder / "whole.parquet").read_bytes()
    for number in rounds:
        chance = random.Random(number)
        as_text = number % 2 == 0
        path = folder / f"f{number}.{'csv' if as_text else 'parquet'}"
        path.write_bytes(scrambled(text if as_text else binary, chance))
        settings = {
            key: value
            for key, value in RECIPE["data"].items()
            if chance.random() < 0.7 or key not in ("frequency", "calendar")
        }
        try:
            (dataset,) = prepare_all([source_of(path, **settings)], folder / f"o{number}")
        except InputError as error:
            check_message(error, str(path), "dataset 'd'")
            continue
        right_counts(dataset)
        if as_text:
            rows = [row for row in csv.reader(io.StringIO(path.read_text("utf-8-sig", "replace"), newline="")) if row]
            assert dataset.manifest.counts is not None
            assert dataset.manifest.counts.rows_read == len(rows) - 1


def test_mutations_of_a_recipe(tmp_path: Path) -> None:
    recipes(tmp_path, range(150))


def test_mutations_of_the_file_of_a_recipe(tmp_path: Path) -> None:
    texts(tmp_path, range(150))


def test_mutations_of_the_bytes_of_files(tmp_path: Path) -> None:
    files(tmp_path, range(150))


@pytest.mark.long
def test_2000_mutations_of_a_recipe(tmp_path: Path) -> None:
    recipes(tmp_path, range(1000, 3000))
    texts(tmp_path, range(1000, 2000))


@pytest.mark.long
def test_1000_mutations_of_the_bytes_of_files(tmp_path: Path) -> None:
    files(tmp_path, range(1000, 2000))
