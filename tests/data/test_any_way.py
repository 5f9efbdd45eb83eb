"""A clean panel, written in any supported way, is prepared to the same bytes."""

from __future__ import annotations

import dataclasses
import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from data_cases import prepare_one
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data.prepared.prepared import PreparedDataset

NAMES = ["NA", "null", "Tür", 'a "b"', "c, d", "e;f", "1", "x y", "None", "1e5"]
CATEGORIES = ["NA", "a", "b b"]
BERLIN = "Europe/Berlin"
SETTINGS: dict[str, Any] = {
    "time": "t",
    "series": "k",
    "features": ["y", "x"],
    "targets": ["y"],
    "categorical": ["c"],
    "calendar": ["hour"],
    "frequency": "1h",
    "missing": "interpolate",
}


def make_panel(seed: int) -> pd.DataFrame:
    """Return two to four hourly series over the autumn change of the clock, with absent rows and missing cells."""
    random = np.random.default_rng(seed)
    frames = []
    for name in random.choice(NAMES, random.integers(2, 5), replace=False):
        rows = int(random.integers(20, 40))
        times = pd.date_range("2024-10-26 12:00", periods=rows, freq="h", tz="UTC")
        frame = pd.DataFrame(
            {
                "k": name,
                "t": times,
                "y": (random.normal(0, 1, rows) * 10.0 ** random.integers(0, 5)).round(2) + 0.0,
                "x": random.integers(-2000, 9000, rows).astype(float),
                "c": random.choice(CATEGORIES, rows),
            }
        )
        for column in ("y", "x", "c"):
            frame.loc[random.random(rows) < 0.1, column] = None
        # Both rows of the repeated hour are kept; with one of them absent, the other would be ambiguous.
        keep = (random.random(rows) > 0.1) | times.strftime("%d%H").isin(["2700", "2701"])
        frames.append(frame[keep])
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Way:
    """One way to write a panel."""

    kind: str
    times: str
    zone: str | None
    files: str
    shuffled: bool
    delimiter: str
    decimal: str
    thousands: str | None
    encoding: str
    header: bool
    skipped: int
    missing: str
    ends: str
    quoted: bool
    packed: bool
    number: str
    text: str
    unit: str
    renamed: bool


WAYS = st.builds(
    Way,
    kind=st.sampled_from(["csv", "csv", "parquet", "feather"]),
    times=st.sampled_from(["iso", "local", "format", "unix", "two", "digits", "stamp"]),
    zone=st.sampled_from([None, BERLIN]),
    files=st.sampled_from(["one", "series", "time"]),
    shuffled=st.booleans(),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from([None, None, " ", "'"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    header=st.booleans(),
    skipped=st.integers(0, 2),
    missing=st.sampled_from(["", "NA", "?", "-99999"]),
    ends=st.sampled_from(["\n", "\r\n"]),
    quoted=st.booleans(),
    packed=st.booleans(),
    number=st.sampled_from(["float64", "float32", "decimal"]),
    text=st.sampled_from(["string", "large_string", "dictionary"]),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    renamed=st.booleans(),
)


EACH_SERIES_IN_ITS_FILE = Way(
    "csv",
    "iso",
    None,
    "series",
    False,
    ",",
    ".",
    None,
    "utf-8",
    False,
    0,
    "",
    "\n",
    False,
    False,
    "float64",
    "string",
    "s",
    False,
)


def write(panel: pd.DataFrame, way: Way, folder: Path, seed: int) -> tuple[list[Path], dict[str, Any]]:
    """Write the files of a panel in the order of its series; return them with the settings that read them."""
    frame, changes = with_times(panel, way)
    local = way.times in ("local", "two", "format", "digits") and way.zone is not None
    pieces = [frame]
    if way.files == "series":
        pieces = [frame[frame["k"] == name] for name in sorted(frame["k"].unique())]
    elif way.files == "time" and not local:  # rows stay together if only their order distinguishes two hours
        pieces = [frame[first::3] for first in range(3)]
    if way.shuffled and not local:
        pieces = [piece.sample(frac=1, random_state=seed) for piece in pieces]
    if way.renamed:
        pieces = [piece.rename(columns={"y": "Y (kW)"}) for piece in pieces]
        changes["rename"] = {"Y (kW)": "y"}
    suffix = f"csv{'.gz' if way.packed else ''}" if way.kind == "csv" else way.kind
    paths = [folder / f"{number}.{suffix}" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        write_text(piece, way, path) if way.kind == "csv" else write_columns(piece, way, path)
    if way.kind == "csv":
        changes |= {"delimiter": way.delimiter, "decimal": way.decimal, "thousands": way.thousands, "skip_rows": way.skipped}
        changes |= {"encoding": way.encoding, "missing_values": ["?", -99999]}
        changes["column_names"] = None if way.header else list(pieces[0].columns)
    return paths, changes


def with_times(panel: pd.DataFrame, way: Way) -> tuple[pd.DataFrame, dict[str, Any]]:
    clock = panel["t"].dt.tz_convert(way.zone or "UTC")
    plain = clock.dt.tz_localize(None)
    changes: dict[str, Any] = {"time_zone": way.zone}
    if way.times == "iso" and way.zone is not None:
        return panel.assign(t=[each.isoformat() for each in clock]), changes
    if way.times == "unix":
        return panel.assign(t=panel["t"].astype("datetime64[s, UTC]").astype(np.int64)), {**changes, "time_unit": "s"}
    if way.times == "format":
        return panel.assign(t=plain.dt.strftime("%d.%m.%y %I:%M:%S %p")), {**changes, "time_format": "%d.%m.%y %I:%M:%S %p"}
    if way.times == "digits":
        return panel.assign(t=plain.dt.strftime("%Y%m%d%H").astype(np.int64)), {**changes, "time_format": "%Y%m%d%H"}
    if way.times == "two":
        split = panel.assign(t=plain.dt.strftime("%Y-%m-%d"), clock=plain.dt.strftime("%H:%M:%S"))
        return split, {**changes, "time": ["t", "clock"]}
    if way.times == "stamp" and way.kind != "csv":
        return panel.assign(t=clock if way.zone else plain), changes
    if way.times == "stamp" and way.zone is not None:
        return panel.assign(t=panel["t"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")), changes
    return panel.assign(t=plain.dt.strftime("%Y-%m-%d %H:%M:%S")), changes


def write_text(frame: pd.DataFrame, way: Way, path: Path) -> None:
    marks = str.maketrans({",": way.thousands or "", ".": way.decimal})
    texts = frame.copy()
    for column in [name for name in ("y", "Y (kW)", "x") if name in texts]:
        form = "{:,.2f}" if column != "x" else "{:,.0f}"
        texts[column] = [way.missing if pd.isna(value) else form.format(value).translate(marks) for value in frame[column]]
    options: dict[str, Any] = {"sep": way.delimiter, "quoting": 1 if way.quoted else 0, "lineterminator": way.ends}
    text = texts.to_csv(None, index=False, header=way.header, **options)
    content = (f"some words, and more{way.ends}" * way.skipped + text).encode(way.encoding)
    path.write_bytes(gzip.compress(content) if way.packed else content)


def write_columns(frame: pd.DataFrame, way: Way, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if name in ("y", "Y (kW)") and way.number == "decimal":
            column = column.cast(pa.decimal128(20, 2))
        elif name in ("y", "Y (kW)"):
            column = column.cast(way.number)
        elif name == "x":
            column = column.cast(pa.int32())
        elif name in ("k", "c"):
            text = column.cast(pa.string())
            column = text.dictionary_encode() if way.text == "dictionary" else text.cast(way.text)
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(way.unit, column.type.tz))
        table = table.set_column(index, name, column)
    pq.write_table(table, path) if way.kind == "parquet" else feather.write_feather(table, path)


def content(dataset: PreparedDataset) -> tuple[bytes, dict[str, Any]]:
    """Return all rows in order, with labels as indices in CATEGORIES, and the facts with samples by their first rows."""
    offsets = np.cumsum([0, *(len(part.values) for part in dataset.parts)])
    samples = {
        split: np.concatenate(
            [part.samples[split].starts + offset for part, offset in zip(dataset.parts, offsets, strict=False)]
        ).tolist()
        for split in ("train", "validation", "test")
    }
    facts = dataset.manifest
    rest = {
        "categories": dataset.train_categories("c"),
        "missing": facts.missing,
        "counts": facts.counts,
        "samples": samples,
    }
    rows = np.concatenate([part.values for part in dataset.parts])
    codes = [column.kind for column in dataset.columns].index("code")
    rows[:, codes] = np.concatenate(  # each part numbers its own labels
        [
            np.array([*map(CATEGORIES.index, known.categories["c"]), -1])[part.values[:, codes].astype(int)]
            for part, known in zip(dataset.parts, facts.parts, strict=True)
        ]
    )
    return rows.tobytes(), rest


def check(seed: int, way: Way) -> None:
    panel = make_panel(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = panel.assign(t=[each.isoformat() for each in panel["t"]] if way.zone else panel["t"].dt.tz_localize(None))
        plain.to_csv(folder / "plain.csv", index=False)
        expected = prepare_one(folder / "plain.csv", folder / "expected", **SETTINGS, time_zone=way.zone)
        paths, changes = write(panel, way, folder, seed)
        dataset = prepare_one(paths, folder / "result", **{**SETTINGS, **changes})
        assert content(dataset) == content(expected)


@example(30, dataclasses.replace(EACH_SERIES_IN_ITS_FILE, kind="parquet", files="one", number="decimal"))
@example(710662, EACH_SERIES_IN_ITS_FILE)
@given(st.integers(0, 10**6), WAYS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_panel_written_in_any_way_is_the_same(seed: int, way: Way) -> None:
    check(seed, way)


@pytest.mark.long
@given(st.integers(0, 10**6), WAYS)
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_panel_written_in_any_of_very_many_ways_is_the_same(seed: int, way: Way) -> None:
    check(seed, way)
