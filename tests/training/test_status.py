"""A run that ended never has the status "running", however it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from small import write_small

from workflows.relay.walk import Walker
from workflows.store.store import Store


def hang_up() -> None:
    signal.raise_signal(signal.SIGHUP)


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


def fill_memory() -> None:
    raise MemoryError


def fill_disk() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [(hang_up, 130, "interrupted"), (stop, 130, "interrupted"), (fill_memory, 1, "failed"), (fill_disk, 1, "failed")],
)
def test_a_run_that_ends_says_how(
    end: Callable[[], None], code: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"epochs": 1, "batch_size": 32}
    recipe = write_small(tmp_path, rows=120, model={"hidden_size": 4}, training=training, compute={"num_workers": 0})
    train, storage = Walker._train, ["--storage", str(tmp_path / "runs")]
    epochs = []

    def train_and_end(walker: Walker, *args: Any) -> Any:
        epochs.append(args)
        if len(epochs) == 2:
            end()
        return train(walker, *args)

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have ignored it
    with monkeypatch.context() as patch:
        patch.setattr(Walker, "_train", train_and_end)
        ended, _, err = invoke("train", str(recipe), *storage)
    assert (ended, len(err.strip().splitlines())) == (code, 1)
    record = Store(str(tmp_path / "runs")).run("small", dict)
    assert record is not None
    assert record["status"] == status
    assert record["epochs_reached"] == 1
    assert invoke("train", str(recipe), *storage)[0] == 0
    record = Store(str(tmp_path / "runs")).run("small", dict)
    assert record is not None
    assert (record["status"], record["epochs_trained"]) == ("finished", 2)


@pytest.mark.long
def test_a_disk_of_any_size_ends_in_one_line_and_the_same_command_goes_on_with_more_room(tmp_path: Path) -> None:
    """Takes about 2 s for each of 50 sizes."""
    training = {"epochs": 1, "batch_size": 32}
    recipe = write_small(tmp_path, rows=120, model={"hidden_size": 4}, training=training, compute={"num_workers": 0})
    assert invoke("train", str(recipe), "--storage", str(tmp_path / "whole"))[0] == 0
    whole = Store(str(tmp_path / "whole"))
    expected, needed = whole.result("small", dict), whole.storage.size("")
    assert expected is not None
    disk = tmp_path / "disk"
    disk.mkdir()
    seen = set()
    for step in range(50):
        size = 4096 + int(needed * 3 * step / 50) // 4096 * 4096  # a file takes whole pages
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(disk)]
        if subprocess.run(mounted, capture_output=True, check=False).returncode:
            pytest.skip("mounting a tmpfs needs more rights than this process has")
        try:
            code, out, err = invoke("train", str(recipe), "--storage", str(disk / "runs"))
            assert code in (0, 1, 2), (size, out, err)
            assert code == 0 or len(err.strip().splitlines()) == 1, (size, err)
            seen.add(code)
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            code, out, err = invoke("train", str(recipe), "--storage", str(disk / "runs"))
            assert (code, err) == (0, ""), size
            result = Store(str(disk / "runs")).result("small", dict)
            assert result is not None
            assert {key: result[key] for key in ("key", "error_matrix")} == {
                key: expected[key] for key in ("key", "error_matrix")
            }
            assert invoke("verify", "--storage", str(disk / "runs"))[0] == 0
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    assert {0, 1} <= seen


LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from workflows.__main__ import main
main()
"""


@pytest.mark.long
@pytest.mark.parametrize("mib", [600, 800, 2200])
def test_a_limit_of_memory_ends_in_one_line_and_the_same_command_goes_on_without_it(mib: int, tmp_path: Path) -> None:
    """Limit the address space, of which the run needs about 2,600 MiB. At other limits a C++ library may end the process."""
    training = {"epochs": 1, "batch_size": 32}
    recipe = write_small(tmp_path, rows=120, model={"hidden_size": 4}, training=training, compute={"num_workers": 0})
    words = ["train", str(recipe), "--storage", str(tmp_path / "runs")]
    command = [sys.executable, "-c", LIMITED, str(mib << 20), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("error: out of memory")
    assert invoke(*words)[0] == 0
