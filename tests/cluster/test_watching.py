"""Messages about nodes and their packages, from plain values."""

from __future__ import annotations

from typing import Any

from cluster.versions import node_problems
from cluster.watching import changes


def node(number: str, host: str, alive: bool = True, reason: str = "") -> dict[str, Any]:
    return {
        "NodeID": number,
        "Alive": alive,
        "NodeManagerHostname": host,
        "NodeManagerAddress": f"10.0.0.{number}",
        "DeathReasonMessage": reason,
        "Resources": {},
    }


def test_a_lost_node_is_named_with_its_reason_and_a_new_one_is_named() -> None:
    before = {"1": "w1 (10.0.0.1)", "2": "w2 (10.0.0.2)"}
    now = [
        node("1", "w1"),
        node("2", "w2", alive=False, reason="health check failed due to missing too many"),
        node("3", "w3"),
    ]
    assert changes(before, now) == [
        "node w2 (10.0.0.2) was lost (it no longer answers)",
        "node w3 (10.0.0.3) was added",
    ]
    assert changes(before, [node("1", "w1"), node("2", "w2")]) == []


HERE = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "numpy": "2.1.0"}
NEEDED = ["numpy>=2.0", "ray[data]>=2.60,<2.61", "torch>=2.6"]


def test_nodes_with_a_missing_package_or_another_version_are_named() -> None:
    nodes = {
        "w1 (10.0.0.1)": dict(HERE),
        "w2 (10.0.0.2)": {**HERE, "numpy": None},
        "w3 (10.0.0.3)": {**HERE, "python": "3.12.1", "torch": "2.11.0"},
        "w4 (10.0.0.4)": "no answer within 60 s",
    }
    assert node_problems(nodes, HERE, NEEDED) == [
        "node w2 (10.0.0.2): numpy>=2.0 is needed, none is installed there",
        "node w3 (10.0.0.3): Python is 3.12.1, the run's process has 3.11.7",
        "node w3 (10.0.0.3): torch is 2.11.0 there, 2.13.0 in the run's process",
        "node w4 (10.0.0.4): no answer within 60 s",
    ]
    assert node_problems({"w1": dict(HERE)}, HERE, NEEDED) == []
