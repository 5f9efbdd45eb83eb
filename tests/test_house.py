"""The rooms of the house: who may know whom, and what a look-up does not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"data", "models", "cluster", "workflows"}
MAY_KNOW = {"data": {"data"}, "models": {"models"}, "cluster": {"cluster"}, "workflows": ROOMS}


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    "path", sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_one_way(path: Path) -> None:
    # An entrance may know all rooms, as nothing imports it.
    known = ROOMS if path.name == "__main__.py" else MAY_KNOW[path.relative_to(ROOT).parts[0]]
    assert imported_rooms(path) & ROOMS <= known


@pytest.mark.parametrize(
    "path", sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_file_passes_250_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("workflows.fit.learner, workflows.chain.walk, models.lstm, data.encoding", ["ray"]),
        ("workflows.chain.lookup, workflows.chain.store, workflows.recipe, workflows.training", ["ray", "torch"]),
        ("workflows.evaluation, workflows.notebook", ["ray", "torch"]),
        ("workflows.__main__", ["ray", "torch", "pyarrow", "pydantic", "numpy"]),
        ("cluster.__main__", ["ray", "torch", "pyarrow", "pydantic", "numpy", "requests"]),
        ("workflows.shipping", ["ray", "torch"]),
    ],
)
def test_modules_do_without_what_they_do_not_need(modules: str, without: list[str]) -> None:
    code = f"import sys, {modules}; print([name for name in {without} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
