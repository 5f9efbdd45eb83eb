"""Leases: one process makes a thing, others wait for it, and take over from a dead owner."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import workflows.store.leases
from workflows.store.leases import Leases, _machine
from workflows.store.local_storage import LocalStorage
from workflows.store.storage import open_storage


def write_lease(folder: Path, host: str, pid: int) -> Path:
    (folder / "leases").mkdir()
    lease = folder / "leases" / "epoch"
    lease.write_text(json.dumps({"place": host, "pid": pid, "id": "x", "beat": 0}))
    return lease


def test_exactly_one_of_many_threads_makes_a_thing(tmp_path: Path) -> None:
    leases, made = Leases(open_storage(str(tmp_path))), list[int]()

    def want(number: int) -> None:
        with leases.hold("epoch", lambda: bool(made)):
            if not made:
                time.sleep(0.05)
                made.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert list((tmp_path / "leases").iterdir()) == []


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lease = write_lease(tmp_path, _machine(), dead.pid)
    started = time.monotonic()
    with Leases(open_storage(str(tmp_path))).hold("epoch", lambda: False):
        assert json.loads(lease.read_text())["id"] != "x"
    assert time.monotonic() - started < 2
    assert not lease.exists()


def test_the_lease_of_a_silent_machine_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows.store.leases, "SILENCE_S", 0.3)
    lease = write_lease(tmp_path, "elsewhere", 1)
    started = time.monotonic()
    with Leases(open_storage(str(tmp_path))).hold("epoch", lambda: False):
        assert time.monotonic() - started > 0.25
        assert json.loads(lease.read_text())["place"] == _machine()


def test_a_renewed_lease_is_waited_for_until_the_epoch_exists_or_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.store.leases, "SILENCE_S", 0.2)
    lease = write_lease(tmp_path, "elsewhere", 1)
    over = threading.Event()

    def renew() -> None:
        for beat in range(1000):
            if over.wait(0.05):
                return
            scratch = lease.with_name(".renewed")
            scratch.write_text(json.dumps({"place": "elsewhere", "pid": 1, "id": "x", "beat": beat}))
            scratch.replace(lease)

    renewing = threading.Thread(target=renew)
    renewing.start()
    started = time.monotonic()
    with Leases(open_storage(str(tmp_path))).hold("epoch", lambda: time.monotonic() - started > 0.6):
        assert time.monotonic() - started > 0.6
    monkeypatch.setattr(workflows.store.leases, "WAIT_LIMIT_S", 0.3)
    with Leases(open_storage(str(tmp_path))).hold("epoch", lambda: False):  # then this process trains it too
        assert json.loads(lease.read_text())["place"] == "elsewhere"
    over.set()
    renewing.join()


def test_a_storage_without_exclusive_writes_has_no_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "exclusive", False)
    with Leases(open_storage(str(tmp_path))).hold("epoch", lambda: False):
        assert list(tmp_path.iterdir()) == []


def test_a_lease_is_renewed_and_released_and_one_that_was_taken_over_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.store.leases, "RENEW_S", 0.01)
    storage = open_storage(str(tmp_path))
    lease = Leases(storage).try_acquire("epoch")
    assert lease is not None
    while json.loads(storage.read("leases/epoch"))["beat"] < 3:
        time.sleep(0.01)
    assert Leases(storage).try_acquire("epoch") is None
    lease.release()
    assert storage.names("leases") == []
    monkeypatch.setattr(workflows.store.leases, "RENEW_S", 60.0)
    lease = Leases(storage).try_acquire("epoch")
    assert lease is not None
    storage.write("leases/epoch", b'{"id": "of another process"}')
    lease.release()
    assert storage.read("leases/epoch") == b'{"id": "of another process"}'


def test_leases_of_lost_workers_are_taken_over_at_once_by_the_same_run_only(tmp_path: Path) -> None:
    """Take over from a lost node, which renews no lease and has a process id without a meaning on other nodes."""
    lost, replacement, other = (Leases(open_storage(str(tmp_path))) for _ in range(3))
    lost.run = replacement.run = "run-1"
    other.run = "run-2"
    first = lost.try_acquire("epoch")
    assert first is not None
    assert other.try_acquire("epoch") is None
    assert Leases(open_storage(str(tmp_path))).try_acquire("epoch") is None
    second = replacement.try_acquire("epoch")
    assert second is not None
    first.release()  # it notices that it has the lease no more
    assert other.try_acquire("epoch") is None
    second.release()
    third = other.try_acquire("epoch")
    assert third is not None
    third.release()
