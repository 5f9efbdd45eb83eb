"""All layouts, on 1, 2 and 3 Ray nodes and from none: the rows, samples and statistics of one process, to the byte."""

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


def run_program(folder: Path, remote: str, num_series: int, rows: int) -> list[dict[str, Any]]:
    program = Path(__file__).parents[1] / "support" / "shard_nodes.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(program), str(folder), remote, str(num_series), str(rows)]
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=3600)
    print(found.stdout)
    assert found.returncode == 0
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def rows(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of all preparations of 40 series of 20,000 rows."""
    return run_program(tmp_path_factory.mktemp("nodes"), f"{bucket}/nodes", 40, 20_000)


def test_bytes_are_those_of_one_process_for_every_layout_part_size_and_number_of_nodes(rows: list[dict[str, Any]]) -> None:
    cases = [row for row in rows if "equal" in row]
    assert {row["layout"] for row in cases} == LAYOUTS
    assert len(cases) == 5 * (3 + 3)
    assert [(row["what"], row["layout"]) for row in cases if not row["equal"]] == []


def test_hashes_do_not_depend_on_nodes(rows: list[dict[str, Any]]) -> None:
    for layout in LAYOUTS:
        hashes = [row["sha256"] for row in rows if row.get("layout") == layout and row["what"].endswith((" nodes", "1000"))]
        assert len(hashes) == 4
        assert all(each == hashes[0] for each in hashes)


def test_all_nodes_work_on_one_file_and_on_one_dataset(rows: list[dict[str, Any]]) -> None:
    for count in (2, 3):
        (one_file,) = (row for row in rows if row["what"] == f"{count} nodes" and row["layout"] == "l4")
        assert one_file["nodes"]["SortTask"] == one_file["nodes"]["PartTask"] == count
        (by_time,) = (row for row in rows if row["what"] == f"{count} nodes" and row["layout"] == "l2")
        assert by_time["nodes"]["SortTask"] == by_time["nodes"]["PartTask"] == count


def test_a_cluster_without_nodes_waits_for_them_and_the_driver_gets_no_rows(rows: list[dict[str, Any]]) -> None:
    reference = rows[0]["reference"]["panel"]
    started = [row for row in rows if row["what"] == "from no node"]
    assert {row["layout"] for row in started} == {"l2", "l4"}
    for row in started:
        assert row["nodes"]["SortTask"] == row["nodes"]["PartTask"] == 2
        assert row["driver_arrow"] == []
        assert row["driver_bytes"] < row["prepared_bytes"] / 10
    assert [row["digest"] for row in rows if row["what"] == "from no node, read"] == [reference, reference]


def test_what_the_server_sent_is_what_was_needed(rows: list[dict[str, Any]]) -> None:
    """The source is read for its hash, for its local times and for its rows; each prepared file once, by its reader."""
    seen = requests()
    for row in rows:
        if row["what"] != "from no node":
            continue
        sent = sum(each.sent for each in seen if each.method == "GET" and f"nodes/source/{row['layout']}/" in each.path)
        assert row["source_bytes"] <= sent <= 3.5 * row["source_bytes"]
        got = [each for each in seen if each.method == "GET" and f"nodes/prepared/{row['fingerprint']}/values-" in each.path]
        values = sum(each.sent for each in got)
        assert values <= row["prepared_bytes"]
