"""Program that prepares datasets in all layouts in one process, on Ray nodes, or on a cluster that starts without a node.

    shard_nodes.py FOLDER NUM_SERIES ROWS here      writes the files and the reference, which the other calls read
    shard_nodes.py FOLDER NUM_SERIES ROWS 2:7919 [l4 ..]   on 2 nodes, in parts of 7,919 rows; all layouts, or these
    shard_nodes.py FOLDER NUM_SERIES ROWS s3://...  from the object store into it, on a cluster that starts without a node

Prints a line of JSON for each preparation: whether it equals the reference, and on how many nodes its tasks ran.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from data_cases import source_of
from panels import PANEL, digest_of, prepared_in

import data.prepared.prepare
import data.sharding.parts
import data.sharding.pieces
from cluster.connect import connect, disconnect, set_environment
from data.prepared import layout
from data.prepared.cache import PreparedCache
from data.prepared.prepared import PreparedDataset
from data.prepared.running import TaskRun, run_here, run_task, run_with_ray
from data.reading.settings import DatasetSource

Facts = dict[str, Any]
ZONE = "Europe/Berlin"
SETTINGS: dict[str, Any] = {**PANEL, "time_zone": ZONE, "lookback": 48, "stride": 3}
ALONE: dict[str, Any] = {**SETTINGS, "series": None}
PIECE_BYTES = "SHARD_PIECE_BYTES"  # the environment variable for the size of a piece, also in the processes of the nodes
PART_ROWS = (1000, 7919, 1 << 15)


def make_panel(num_series: int, rows: int) -> pd.DataFrame:
    """Return hourly series in local time with absent steps, missing values, targets and categories; autumn hours twice."""
    random, frames = np.random.default_rng(0), []
    for number in range(num_series):
        moments = pd.date_range("2022-01-01", periods=rows, freq="h", tz="UTC") + pd.Timedelta(days=number)
        values = random.normal(number, 1 + number, (rows, 2)).round(3)
        values[random.random(values.shape) < 0.05] = np.nan
        values[rows // 3 : rows // 3 + rows // 50, number % 2] = np.nan
        frame = pd.DataFrame(values, columns=["a", "b"])
        frame["t"] = moments.tz_convert(ZONE).strftime("%Y-%m-%d %H:%M")
        frame["utc"], frame["site"] = moments, f"s{number:02d}"
        frame["kind"] = random.choice(["x", "y", "z"], rows)
        frame.loc[rows - 50 :, "kind"] = "late"
        local = moments.tz_convert(ZONE).tz_localize(None)
        keep = (random.random(rows) > 0.05) | local.duplicated(keep=False)  # hours that occur twice keep both rows
        keep[0] = True
        frames.append(frame[keep])
    return pd.concat(frames, ignore_index=True)


def write_layouts(frame: pd.DataFrame, folder: Path) -> dict[str, list[Path]]:
    """Write the files of each layout but L3."""
    columns, files = ["t", "site", "kind", "a", "b"], dict[str, list[Path]]()

    def put(name: str, rows: pd.DataFrame) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            rows[columns].to_csv(path, index=False)
        else:
            pq.write_table(pa.Table.from_pandas(rows[columns], preserve_index=False), path, row_group_size=20_000)
        files.setdefault(name.partition("/")[0], []).append(path)

    for name, rows in frame.groupby("site"):
        put(f"l1/{name}.csv", rows)
    for year, rows in frame.groupby(frame["utc"].dt.year):
        put(f"l2/{year}.parquet", rows)
    put("l4/all.parquet", frame.sort_values("utc", kind="stable"))
    put("l5/all.csv", frame)
    return files


def small_parts(most_rows: int, piece_bytes: int = 1 << 21) -> None:
    """Cut all datasets, whatever their size, and hash their files in tasks."""
    layout.CUT_BYTES = data.prepared.prepare.CUT_BYTES = 0
    data.sharding.parts.PART_BYTES = 1
    data.sharding.parts.FEWEST_ROWS = most_rows
    os.environ[PIECE_BYTES] = str(piece_bytes)
    data.sharding.pieces.PIECE_BYTES = piece_bytes


def work(task: list[Any]) -> list[Any]:
    """Run a task with the same size of pieces in the processes of the nodes."""
    import data.sharding.pieces

    data.sharding.pieces.PIECE_BYTES = int(os.environ[PIECE_BYTES])
    return run_task(task)


class Nodes:
    """A head without a core, and nodes of one core each with a cache folder for each node."""

    def __init__(self, folder: Path, count: int):
        from ray.cluster_utils import Cluster

        self.folder, self.names = folder, list[str]()
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(count):
            self.add()
        connect(str(self.cluster.address))

    def add(self) -> None:
        cache = {"LSTM_RELAY_CACHE": str(self.folder / f"cache_{self.count}")}
        self.names.append(self.cluster.add_node(num_cpus=1, env_vars=cache).node_id)

    @property
    def count(self) -> int:
        return len(self.names)

    def on_each(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function on each node with the node's number and these arguments; return the results."""
        import ray

        strategies = [ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(name, soft=False) for name in self.names]
        tasks = [ray.remote(work).options(scheduling_strategy=strategy) for strategy in strategies]
        return list(ray.get([task.remote(number, *arguments) for number, task in enumerate(tasks)]))

    def end(self) -> None:
        disconnect()
        for node in self.cluster.list_all_nodes():
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def noted(runs: list[TaskRun]) -> Callable[[Any], Any]:
    return lambda tasks: run_with_ray(tasks, work, own_cluster=False, note=runs.append)


def nodes_of(runs: list[TaskRun]) -> dict[str, int]:
    """Return how many nodes ran tasks of each kind."""
    nodes_by_kind: dict[str, set[str]] = {}
    for run in runs:
        nodes_by_kind.setdefault(type(run.task[0]).__name__, set()).add(run.node)
    return {kind: len(nodes) for kind, nodes in nodes_by_kind.items()}


def sources_of(files: dict[str, list[Path]]) -> dict[str, DatasetSource]:
    return {name: source_of(paths, **(ALONE if name == "l3" else SETTINGS)) for name, paths in files.items()}


@dataclass(frozen=True)
class Panel:
    """The files of each layout, and the digests of the datasets that one process prepares from them in one piece."""

    files: dict[str, list[Path]]
    sources: dict[str, DatasetSource]
    reference: dict[str, str]

    def tell(self, what: str, name: str, dataset: PreparedDataset, runs: list[TaskRun], started: float) -> None:
        """Print the facts of a preparation."""
        facts = {
            "equal": digest_of(dataset) == self.reference[name],
            "parts": len(dataset.manifest.parts),
            "nodes": nodes_of(runs),
            "sha256": dataset.manifest.sha256,
            "seconds": round(time.monotonic() - started, 1),
        }
        print(json.dumps({"what": what, "layout": name, **facts}), flush=True)


def make(folder: Path, num_series: int, rows: int) -> None:
    """Write the files of all layouts and the digests of the reference."""
    files = write_layouts(make_panel(num_series, rows), folder / "panel")
    files["l3"] = write_layouts(make_panel(1, rows), folder / "alone")["l2"]
    layout.CUT_BYTES = 1 << 50
    sources = sources_of(files)
    whole = {name: digest_of(prepared_in(str(folder / f"whole_{name}"), sources[name], run_here)) for name in ("l3", "l5")}
    reference = {name: whole["l3" if name == "l3" else "l5"] for name in files}
    content = {"files": {name: [str(each) for each in paths] for name, paths in files.items()}, "reference": reference}
    (folder / "panel.json").write_text(json.dumps(content))


def read_panel(folder: Path) -> Panel:
    content = json.loads((folder / "panel.json").read_text())
    files = {name: [Path(each) for each in paths] for name, paths in content["files"].items()}
    return Panel(files, sources_of(files), content["reference"])


def in_one_process(folder: Path, panel: Panel) -> None:
    for most_rows in PART_ROWS:
        small_parts(most_rows)
        for name, source in panel.sources.items():
            started = time.monotonic()
            dataset = prepared_in(str(folder / f"here_{most_rows}_{name}"), source, run_here)
            panel.tell(f"here {most_rows}", name, dataset, [], started)


def on_nodes(folder: Path, panel: Panel, count: int, most_rows: int, layouts: Sequence[str]) -> None:
    small_parts(most_rows)
    nodes = Nodes(folder / f"machines_{count}", count)
    for name in layouts or panel.sources:
        source, runs, started = panel.sources[name], list[TaskRun](), time.monotonic()
        dataset = prepared_in(str(folder / f"nodes_{count}_{most_rows}_{name}"), source, noted(runs))
        panel.tell(f"{count} nodes {most_rows}", name, dataset, runs, started)
    nodes.end()


def main(folder: Path, num_series: int, rows: int, part: str, *layouts: str) -> None:
    set_environment()
    if not (folder / "panel.json").exists():
        make(folder, num_series, rows)
    panel = read_panel(folder)
    if part == "here":
        in_one_process(folder, panel)
    elif part[0].isdigit():
        count, most_rows = map(int, part.split(":"))
        on_nodes(folder, panel, count, most_rows, layouts)
    else:
        small_parts(1 << 13, 1 << 19)
        for row in from_no_node(folder / "empty", part, panel.files):
            print(json.dumps(row), flush=True)
    os._exit(0)  # threads of Ray may be left


def from_no_node(folder: Path, remote: str, files: dict[str, list[Path]]) -> Iterator[Facts]:
    """Prepare L2 and L4 in an object store, on a cluster that gets its two nodes when the preparation has begun.

    Then each node reads one part of L2, and another machine reads all of both.
    """
    from pyarrow import fs

    from data.reading.files import open_filesystem

    for name in ("l2", "l4"):
        filesystem, inner = open_filesystem(f"{remote}/source/{name}")
        fs.copy_files(str(files[name][0].parent), inner, destination_filesystem=filesystem)
    driver = folder / "driver"
    os.environ["LSTM_RELAY_CACHE"] = str(driver)
    nodes = Nodes(folder, 0)
    for name in ("l4", "l2"):
        source = source_of([f"{remote}/source/{name}/{file.name}" for file in files[name]], **SETTINGS)
        runs, started = list[TaskRun](), time.monotonic()
        with ThreadPoolExecutor() as beside:
            preparation = beside.submit(prepared_in, remote, source, noted(runs))
            if nodes.count == 0:
                wait([preparation], timeout=3)  # its tasks wait
                assert not preparation.done()
                nodes.add()
                nodes.add()
            manifest = preparation.result().manifest
        yield {
            "what": "prepared",
            "layout": name,
            "nodes": nodes_of(runs),
            "driver_bytes": sum(file.stat().st_size for file in driver.rglob("*") if file.is_file()),
            "driver_arrow": [str(file) for file in driver.rglob("*.arrow")],
            "node_arrow": [str(file) for file in folder.glob("cache_*/**/*.arrow")],
            "fingerprint": manifest.fingerprint,
            "source_bytes": sum(file.stat().st_size for file in files[name]),
            "prepared_bytes": sum(size for part in manifest.parts for size, _ in part.files.values()),
            "seconds": round(time.monotonic() - started, 1),
        }
        os.environ["LSTM_RELAY_CACHE"] = str(folder / f"reader_{name}")
        again = PreparedDataset(PreparedCache(remote).fetch(manifest.fingerprint))
        yield {"what": "read", "layout": name, "digest": digest_of(again)}
        os.environ["LSTM_RELAY_CACHE"] = str(driver)
    read = nodes.on_each(read_part, remote, manifest.fingerprint)
    kept = [sorted(file.name for file in folder.glob(f"cache_{number}/**/*.arrow")) for number in range(len(read))]
    yield {"what": "a part on each node", "read": read, "kept": kept}
    nodes.end()


def read_part(number: int, remote: str, fingerprint: str) -> int:
    """Read the rows of one part; return the bytes of its file."""
    dataset = PreparedDataset(PreparedCache(remote).fetch(fingerprint))
    assert len(dataset.parts[number].values)
    return dataset.manifest.parts[number].files[f"values-{number:05d}.arrow"][0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
