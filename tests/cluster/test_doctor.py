"""The doctor reports each planted fault with its remedy, and no fault of a good head."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
from head import Head, head

from cluster import checks
from cluster.checks import Finding, NodeReport
from cluster.doctor import show_findings
from cluster.examine import as_line, from_log
from workflows.store.probe import rights_and_speed

HERE = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "numpy": "2.1.0"}
NEEDED = ["numpy>=2.0", "ray[data]>=2.60,<2.61", "torch>=2.6"]
W1, W2 = "w1 (10.0.0.1)", "w2 (10.0.0.2)"


def well(**changes: Any) -> NodeReport:
    facts: dict[str, Any] = {"versions": HERE, "clock": 1000.0, "cache": "/c", "cache_bytes": 50_000_000_000, "gpus": 0}
    return NodeReport(**{**facts, **changes})


def faults(findings: list[Finding]) -> list[tuple[str, str]]:
    """Return where the faults are and what they are; check that each has a remedy."""
    assert all(each.todo for each in findings if each.status != "ok")
    return [(each.where, each.found) for each in findings if each.status == "fault"]


def doctor(address: str, storage: str = "s3://relay/runs") -> tuple[int, str]:
    code, out, err = commands.invoke("doctor", "--address", address, "--storage", storage, entrance="cluster")
    return code, out + err


def test_1_nothing_answers() -> None:
    code, out = doctor("http://127.0.0.1:9")
    assert code == 1
    assert "no answer" in out
    assert "that the cluster is up" in out


@pytest.fixture
def old_dashboard() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"ray_version": "2.40.0"}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_2_another_version_of_ray(old_dashboard: str) -> None:
    code, out = doctor(old_dashboard)
    assert code == 1
    assert "the cluster has Ray 2.40.0" in out


def test_3_and_4_a_package_is_missing_or_python_is_another() -> None:
    nodes: dict[str, NodeReport | str] = {
        W1: well(versions={**HERE, "python": "3.12.1"}),
        W2: well(versions={**HERE, "numpy": None}),
        "w3": well(),
    }
    assert faults(checks.check_packages(nodes, HERE, NEEDED)) == [
        (W1, "Python is 3.12.1, the run's process has 3.11.7"),
        (W2, "numpy>=2.0 is needed, none is installed there"),
    ]


def test_a_node_that_does_not_answer_is_a_fault() -> None:
    assert faults(checks.check_packages({W1: "no answer within 60 s"}, HERE, NEEDED)) == [(W1, "no answer within 60 s")]


def test_5_a_clock_is_off() -> None:
    nodes: dict[str, NodeReport | str] = {"head": well(clock=1001.0), W1: well(clock=1090.0), W2: well(clock=940.0)}
    assert faults(checks.check_clocks(nodes, 1000.0, 1002.0)) == [
        (W1, "88 s ahead of the head's"),
        (W2, "60 s behind the head's"),
    ]


def test_6_there_is_no_room_for_the_cache(tmp_path: Path) -> None:
    nodes: dict[str, NodeReport | str] = {W1: well(), W2: well(cache_bytes=100_000_000)}
    assert faults(checks.check_caches(nodes)) == [(W2, "0.1 GB free for /c")]
    assert checks.facts_of_node(["numpy"], str(tmp_path / "not" / "made" / "yet")).cache_bytes > 0


def ray_node(**resources: float) -> dict[str, Any]:
    return {"Resources": resources}


def test_7_ray_counts_gpus_that_the_driver_does_not_have() -> None:
    nodes: dict[str, NodeReport | str] = {W1: well(gpus=0), W2: well(gpus=2)}
    described = [ray_node(CPU=4.0, GPU=1.0), ray_node(CPU=4.0, GPU=1.0)]
    findings = checks.check_resources(described, nodes, [W1, W2])
    assert faults(findings) == [(W1, "Ray counts 1 GPUs, the driver 0")]
    assert [each.where for each in findings if each.status == "warning"] == [W2]


def test_8_no_node_has_a_core() -> None:
    assert faults(checks.check_resources([ray_node()], {"head": well()}, ["head"])) == [
        ("the cluster", "no node has a core")
    ]


def test_9_workers_do_not_reach_each_other() -> None:
    wrong: dict[str, float | str] = {W1: 0.001, W2: "RuntimeError: timed out after 30 s"}
    assert faults(checks.check_reduce(wrong)) == [(f"{W1} and {W2}", f"{W2}: RuntimeError: timed out after 30 s")]
    assert checks.check_reduce({W1: 0.5, W2: 0.4})[0].status == "warning"
    assert checks.check_reduce({W1: 0.001, W2: 0.002})[0].found == "2.0 ms for 25,000 numbers"


def test_10_and_11_the_bucket_does_not_exist_or_may_not_be_written(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rights_and_speed(f"{bucket}/runs")["status"] == "ok"
    missing = rights_and_speed("s3://no-such-bucket/runs")
    assert missing["status"] == "fault"
    assert "does not exist: create it" in missing["todo"]
    from workflows.store.object_storage import ObjectStorage

    def refuse(*_: Any) -> None:
        raise OSError("When creating key: AWS Error ACCESS_DENIED during PutObject operation: Access Denied")

    monkeypatch.setattr(ObjectStorage, "write", refuse)
    assert "grant s3:PutObject" in rights_and_speed(f"{bucket}/runs")["todo"]


def test_findings_are_printed_unchanged_even_with_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """Show a Gloo error, which begins with a file in brackets that rich would read as the end of a style."""
    words = "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:152] timed out"
    show_findings([Finding("all-reduce", f"{W1} and {W2}", "fault", words, "set [GLOO_SOCKET_IFNAME]")])
    out = capsys.readouterr().out
    assert words in out
    assert "set [GLOO_SOCKET_IFNAME]" in out


def test_findings_travel_in_a_log_among_other_lines() -> None:
    findings = [Finding("disk", W1, "fault", "0.1 GB", "make room"), Finding("clock", W2, "ok", "fine")]
    log = "\n".join(["Running entrypoint", as_line(findings[0]), "INFO something", as_line(findings[1])])
    assert from_log(log) == findings


@pytest.mark.ray
@pytest.mark.slow
def test_12_a_wrong_token_and_then_a_cluster_without_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes about 25 s."""
    with head() as running:
        look_at(running, tmp_path, monkeypatch)


def look_at(running: Head, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    code, out = doctor(running.address)
    assert code == 1
    assert "refuses the token of the environment's RAY_AUTH_TOKEN" in out
    monkeypatch.setenv("RAY_AUTH_TOKEN", running.token)
    words = ["doctor", "--address", running.address, "--storage", str(folder), "--shared-folders"]
    code, out, _ = commands.invoke(*words, entrance="cluster")
    assert code == 0, out
    for check in ("reach", "cores", "packages", "clock", "disk", "storage"):
        assert check in out
    assert "fault" not in out
