"""The multi-process service of a GPU, with a control program that logs its commands, as there is no GPU here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.mps import CONTROL, PIPES, find_service, multi_process_service

SCRIPT = """#!/bin/sh
echo "$1 $CUDA_MPS_PIPE_DIRECTORY" >> {log}
[ "$1" = -d ] || cat >> {log}
exit {code}
"""


def control(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Path:
    log = folder / "log"
    program = folder / CONTROL
    program.write_text(SCRIPT.format(log=log, code=code))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_the_service_runs_in_a_new_folder_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = control(tmp_path, monkeypatch)
    with multi_process_service() as folder:
        assert Path(folder).is_dir()
        assert PIPES not in os.environ  # this process does not use it
        with monkeypatch.context() as patch:
            patch.setenv(PIPES, "")
            find_service(folder)
            assert os.environ[PIPES] == folder
    assert log.read_text().splitlines() == [f"-d {folder}", f" {folder}", "get_server_list", f" {folder}", "quit"]
    assert not Path(folder).exists()


def test_the_service_ends_if_the_search_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = control(tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt), multi_process_service():
        raise KeyboardInterrupt
    assert log.read_text().endswith("quit\n")


def test_trials_run_without_a_service_that_is_absent_or_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with multi_process_service() as folder:
        assert folder == ""
    control(tmp_path, monkeypatch, code=1)
    with multi_process_service() as folder:
        assert folder == ""
    find_service("")
    assert PIPES not in os.environ


def test_a_running_service_is_used_and_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = control(tmp_path, monkeypatch)
    monkeypatch.setenv(PIPES, "/somewhere")
    with multi_process_service() as folder:
        assert folder == "/somewhere"
    assert not log.exists()
