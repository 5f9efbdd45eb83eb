"""A head, two workers and a laptop that each have a file system, an address, a home and a hostname, and share S3.

scenarios.py has the faults and runs in new namespaces (support/machines.py). Times are compared with the limits in the docs,
which hold on a quiet machine. On a busy one all starts take longer, so the limits grow with the first start of the run.
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
    """Run a scenario on a new cluster and return its facts."""
    process = enter(Path(__file__).with_name("scenarios.py"), name, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    facts: Facts = json.loads(next(line for line in process.stdout.splitlines() if line.startswith('{"')))[name]
    print(facts.get("text", ""), {key: value for key, value in facts.items() if key != "text"})
    assert "failed" not in facts, facts["failed"]
    return facts


def within(limit_s: float, facts: Facts) -> bool:
    """Return whether work went on within a limit, which is for a quiet machine."""
    return bool(facts["seconds"] < limit_s * max(1.0, facts["start"] / QUIET_START_S))


@pytest.mark.long
def test_more_workers_than_cores_of_a_node_on_machines_named_127_0_1_1() -> None:
    """Takes about 50 s. Gloo connects three workers on two nodes only over the interface of Ray's address."""
    facts = scenario("placed")
    assert facts["code"] == 0
    assert "each worker gets 0.5 of one" in facts["text"]
    assert "result: s3://relay/runs/runs/placed/result.json" in facts["text"]


@pytest.mark.long
def test_a_node_that_loses_its_power_costs_40_s_and_fewer_workers_go_on() -> None:
    facts = scenario("three_workers")
    assert within(40, facts)
    assert "workers were lost (" in facts["text"]
    assert "w2 (10.77.0.12)" in facts["text"].partition("workers were lost (")[2].splitlines()[0]
    assert "going on with 2 of 3 workers" in facts["text"]
    assert "continuing with 2 workers (3 before)" in facts["text"]


@pytest.mark.long
def test_a_node_that_is_unplugged_costs_60_s() -> None:
    facts = scenario("unplugged")
    assert within(60, facts)
    assert "going on with 1 of 2 workers" in facts["text"]
    assert "node w2 (10.77.0.12) was lost" in facts["text"]


@pytest.mark.long
def test_a_node_that_is_added_brings_the_worker_back() -> None:
    facts = scenario("added")
    assert within(90, facts)  # 20 s until Ray tells the group of the node, 30 s until the group looks, and its start
    assert "node w3 (10.77.0.13) was added" in facts["text"]
    assert "continuing with 2 workers (1 before)" in facts["text"]


@pytest.mark.long
def test_a_run_whose_process_was_killed_is_interrupted_and_goes_on() -> None:
    facts = scenario("driver_killed")
    assert facts["code"] != 0
    assert facts["status"] == "interrupted"
    assert facts["log"]  # Ray's log reached the storage during the run
    assert facts["again"] == 0


@pytest.mark.long
def test_the_preparation_and_the_fit_wait_for_a_stopped_store() -> None:
    facts = scenario("store_away")  # for 20 s each
    assert "waiting for the storage" in facts["text"]
    assert within(20, facts)  # from when it is back
    assert within(SILENCE_S + 5, {**facts, "seconds": facts["silent"]})


@pytest.mark.long
def test_the_tasks_of_a_node_that_is_lost_in_the_preparation_run_on_the_others() -> None:
    facts = scenario("prepare_killed")
    assert facts["code"] == 0
    assert facts["silent"] < 2 * SILENCE_S


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("missing_bucket", 2, "the bucket of s3://absent/runs does not exist: create it, or name another"),
        ("package_missing", 2, "node w2 (10.77.0.12): safetensors>=0.5 is needed, none is installed there"),
        ("disk_full", 1, "w2 (10.77.0.12): OSError: [Errno 28]"),
    ],
)
def test_an_impossible_run_ends_at_once_with_its_reason_and_node(name: str, code: int, message: str) -> None:
    facts = scenario(name)
    assert facts["code"] == code
    assert message in facts["text"]
    assert "Traceback" not in facts["text"]


@pytest.mark.long
def test_a_search_and_a_run_that_gets_one_more_dataset() -> None:
    facts = scenario("searched_and_extended")
    assert (facts["search"], facts["first"], facts["second"]) == (0, 0, 0)
    assert "2 of 2 epochs trained" in facts["text"]
    assert "1 of 3 epochs trained" in facts["text"]


@pytest.mark.long
def test_the_doctor_reports_no_fault_of_a_good_cluster() -> None:
    facts = scenario("well")
    assert facts["code"] == 0
    assert " fault " not in facts["text"]
    assert "ms for 25,000 numbers" in facts["text"]


@pytest.mark.long
def test_the_doctor_finds_seven_faults_of_real_nodes() -> None:
    """Check seven faults; the others are planted in test_doctor.py."""
    facts = scenario("examined")
    assert facts["code"] == facts["alone"] == 1
    faults = [line for line in facts["lines"] if " fault " in line]
    reported = {(line.split()[0], node) for line in faults for node in ("head", "w1", "w2") if f"{node} (10.77" in line}
    assert reported == {
        ("clock", "w1"),  # 90 s ahead
        ("GPUs", "w1"),  # Ray counts one, there is no driver
        ("packages", "w2"),
        ("disk", "w2"),
        *(("all-reduce", name) for name in ("w1", "w2")),
        *(("storage", name) for name in ("head", "w1", "w2")),  # the bucket does not exist
    }
    (alone,) = [line for line in facts["lines_alone"] if " fault " in line]
    assert "no node has a core" in alone
