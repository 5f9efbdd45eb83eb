"""A head, two workers and a laptop with a file system, an address, a home and a hostname each; S3 between them.

What befalls them is in scenarios.py, which runs in namespaces of its own (support/machines.py). Times are held against the
limits that the README names, which are for a machine that is quiet: on a busy one everything that has to start takes longer,
the first start of the same run too, and the limits grow with that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from machines import enter, why_not

Facts = dict[str, Any]
QUIET_START_S = 15.0  # from the placement of workers to their first epoch
SILENCE_S = 15.0
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


def scenario(name: str) -> Facts:
    """What came of a scenario, on a cluster of its own."""
    found = enter(Path(__file__).with_name("scenarios.py"), name, timeout=600)
    assert found.returncode == 0, found.stdout + found.stderr
    told: Facts = json.loads(next(line for line in found.stdout.splitlines() if line.startswith('{"')))[name]
    print(told.get("text", ""), {key: value for key, value in told.items() if key != "text"})
    assert "failed" not in told, told["failed"]
    return told


def within(limit_s: float, told: Facts) -> bool:
    """Whether work went on within a limit, which is for a quiet machine."""
    return bool(told["seconds"] < limit_s * max(1.0, told["start"] / QUIET_START_S))


@pytest.mark.long
def test_more_workers_than_a_node_has_cores_on_machines_whose_names_are_127_0_1_1() -> None:
    """About 50 s: three workers on two nodes of one core; without the interface of Ray's address gloo does not connect."""
    told = scenario("placed")
    assert told["code"] == 0
    assert "each worker gets 0.5 of one" in told["text"]
    assert "result: s3://relay/runs/runs/placed/result.json" in told["text"]


@pytest.mark.long
def test_a_node_that_loses_its_power_costs_40_s_and_fewer_workers_go_on() -> None:
    told = scenario("three_workers")
    assert within(40, told)
    assert "workers were lost (" in told["text"]
    assert "w2 (10.77.0.12)" in told["text"].partition("workers were lost (")[2].splitlines()[0]
    assert "going on with 2 of 3 workers" in told["text"]
    assert "continuing with 2 workers (3 before)" in told["text"]


@pytest.mark.long
def test_a_node_that_is_unplugged_costs_60_s() -> None:
    told = scenario("unplugged")
    assert within(60, told)
    assert "going on with 1 of 2 workers" in told["text"]
    assert "node w2 (10.77.0.12) was lost" in told["text"]


@pytest.mark.long
def test_a_node_that_is_added_brings_the_worker_back() -> None:
    told = scenario("added")
    assert within(90, told)  # 20 s until Ray tells the group of the node, 30 s until the group looks, and its start
    assert "node w3 (10.77.0.13) was added" in told["text"]
    assert "continuing with 2 workers (1 before)" in told["text"]


@pytest.mark.long
def test_a_run_whose_process_was_killed_is_interrupted_and_goes_on() -> None:
    told = scenario("driver_killed")
    assert told["code"] != 0
    assert told["status"] == "interrupted"
    assert told["log"]  # what Ray said reached the storage while the run went on
    assert told["again"] == 0


@pytest.mark.long
def test_a_store_that_is_away_is_waited_for_in_the_preparation_and_in_the_fit() -> None:
    told = scenario("store_away")  # for 20 s each
    assert "waiting for the storage" in told["text"]
    assert within(20, told)  # from when it is back
    assert within(SILENCE_S + 5, {**told, "seconds": told["silent"]})


@pytest.mark.long
def test_the_tasks_of_a_node_that_is_lost_in_the_preparation_run_on_the_others() -> None:
    told = scenario("prepare_killed")
    assert told["code"] == 0
    assert told["silent"] < 2 * SILENCE_S


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("missing_bucket", 2, "the bucket of s3://absent/runs does not exist: create it, or name another"),
        ("package_missing", 2, "node w2 (10.77.0.12): safetensors>=0.5 is needed, none is installed there"),
        ("disk_full", 1, "w2 (10.77.0.12): OSError: [Errno 28]"),
    ],
)
def test_what_cannot_work_ends_at_once_with_its_reason_and_its_node(name: str, code: int, said: str) -> None:
    told = scenario(name)
    assert told["code"] == code
    assert said in told["text"]
    assert "Traceback" not in told["text"]


@pytest.mark.long
def test_a_search_and_a_run_that_gets_one_more_dataset() -> None:
    told = scenario("searched_and_extended")
    assert (told["search"], told["first"], told["second"]) == (0, 0, 0)
    assert "2 of 2 epochs trained" in told["text"]
    assert "1 of 3 epochs trained" in told["text"]


@pytest.mark.long
def test_the_doctor_finds_a_cluster_well() -> None:
    told = scenario("well")
    assert told["code"] == 0
    assert " fault " not in told["text"]
    assert "ms for 25,000 numbers" in told["text"]


@pytest.mark.long
def test_the_doctor_finds_seven_faults_of_real_nodes() -> None:
    """The others of its faults are planted in test_doctor.py."""
    told = scenario("examined")
    assert told["code"] == told["alone"] == 1
    faults = [line for line in told["lines"] if " fault " in line]
    found = {(line.split()[0], node) for line in faults for node in ("head", "w1", "w2") if f"{node} (10.77" in line}
    assert found == {
        ("clock", "w1"),  # 90 s ahead
        ("GPUs", "w1"),  # Ray counts one, there is no driver
        ("packages", "w2"),
        ("disk", "w2"),
        *(("all-reduce", name) for name in ("w1", "w2")),
        *(("storage", name) for name in ("head", "w1", "w2")),  # the bucket does not exist
    }
    (alone,) = [line for line in told["lines_alone"] if " fault " in line]
    assert "no node has a core" in alone
