"""All layouts on 1, 2 and 3 Ray nodes, and on a cluster that starts without a node, give the bytes of one process.

About 10 minutes on 2 cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from s3_log import requests

pytestmark = [pytest.mark.ray, pytest.mark.long]
LAYOUTS = {"l1", "l2", "l3", "l4", "l5"}
NUM_SERIES, ROWS = 40, 20_000
Rows = list[dict[str, Any]]


def run_program(folder: Path, part: str, num_series: int = NUM_SERIES, rows: int = ROWS) -> Rows:
    program = Path(__file__).parents[1] / "support" / "shard_nodes.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(program), str(folder), str(num_series), str(rows), part]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=3600)
    print(process.stdout)
    assert process.returncode == 0
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def here(folder: Path) -> Rows:
    """Prepare all layouts and part sizes in one process, which writes the files and the reference to the folder."""
    return run_program(folder, "here")


def test_bytes_are_those_of_one_piece_for_every_layout_and_part_size(here: Rows) -> None:
    assert {(row["what"], row["layout"]) for row in here} == {
        (f"here {rows}", name) for rows in (1000, 7919, 1 << 15) for name in LAYOUTS
    }
    assert [(row["what"], row["layout"]) for row in here if not row["equal"]] == []


@pytest.mark.parametrize(("count", "part_rows"), [(1, 1 << 15), (2, 1000), (3, 7919)])
def test_bytes_and_hashes_do_not_depend_on_nodes_and_all_nodes_work_on_one_file(
    here: Rows, folder: Path, count: int, part_rows: int
) -> None:
    rows = run_program(folder, f"{count}:{part_rows}")
    assert {row["layout"] for row in rows} == LAYOUTS
    assert [row["layout"] for row in rows if not row["equal"]] == []
    hashes = {row["layout"]: row["sha256"] for row in here if row["what"] == f"here {part_rows}"}
    assert {row["layout"]: row["sha256"] for row in rows} == hashes
    for row in rows:
        if row["layout"] in ("l2", "l4", "l5"):
            assert row["nodes"]["SortTask"] == row["nodes"]["PartTask"] == count


def test_a_cluster_without_nodes_waits_for_them_and_each_machine_gets_what_it_needs(bucket: str, tmp_path: Path) -> None:
    """Count the bytes: the source is read for its hash, its local times and its rows, each prepared file once."""
    rows = run_program(tmp_path, f"{bucket}/nodes", 10, ROWS)
    reference = json.loads((tmp_path / "panel.json").read_text())["reference"]["l5"]
    prepared = {row["layout"]: row for row in rows if row["what"] == "prepared"}
    seen = [each for each in requests() if each.method == "GET"]
    for name in ("l2", "l4"):
        row = prepared[name]
        assert row["nodes"]["SortTask"] == row["nodes"]["PartTask"] == 2
        assert row["driver_arrow"] == row["node_arrow"] == []
        assert row["driver_bytes"] < row["prepared_bytes"] / 10
        sent = sum(each.sent for each in seen if f"nodes/source/{name}/" in each.path)
        # Its hash 1, local times 0.8, rows 1; the rest are footers of 64 kB, with each of the pieces of 0.5 MB.
        assert row["source_bytes"] <= sent <= 4.5 * row["source_bytes"]
    assert [row["digest"] for row in rows if row["what"] == "read"] == [reference, reference]
    (each,) = (row for row in rows if row["what"] == "a part on each node")
    assert each["kept"] == [["values-00000.arrow"], ["values-00001.arrow"]]
    for name, row in prepared.items():
        got = [one for one in seen if f"nodes/prepared/{row['fingerprint']}/" in one.path and one.path.endswith(".arrow")]
        once = row["prepared_bytes"] + (sum(each["read"]) if name == "l2" else 0)
        assert sum(one.sent for one in got) == once
