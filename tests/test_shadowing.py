"""A user's file with the name of one of our packages is named in an error at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("path", ["models.py", "data/__init__.py", "cluster.py"])
def test_a_file_that_shadows_a_package_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("")
    (tmp_path / "script.py").write_text("from workflows import train\n")
    process = python(tmp_path, "script.py")
    assert process.returncode == 1
    assert f"is shadowed by {tmp_path / path}: rename that file or package" in process.stderr
    command = python(tmp_path, "-m", "workflows", "--version")
    assert command.returncode == 2
    assert "Traceback" not in command.stderr
    assert str(tmp_path / path) in command.stderr


def test_a_folder_named_data_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("a\n1\n")
    process = python(tmp_path, "-m", "workflows", "--version")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("lstm-relay ")
