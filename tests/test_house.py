"""The order of the packages and of the rooms inside them, and heavy imports that look-ups avoid."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"data", "models", "cluster", "workflows"}
MAY_KNOW = {"data": {"data"}, "models": {"models"}, "cluster": {"cluster"}, "workflows": ROOMS}

# Inside a package a room imports only from itself and from the rooms before it.
FLOORS = {
    "data": (
        "errors",
        "nearest",
        "writing",
        "records",
        "signed",
        "columnwise",
        "reading",
        "samples",
        "sharding",
        "prepared",
        "built_in",
    ),
    "workflows": (
        "recipe",
        "prepare",
        "store",
        "fit",
        "relay",
        "results",
        "loggers",
        "training",
        "search",
        "report",
        "cli",
        "python",
    ),
}


def imported_rooms(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize(
    "path", sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_one_way(path: Path) -> None:
    # An entry point may import all rooms, as nothing imports it.
    known = ROOMS if path.name == "__main__.py" else MAY_KNOW[path.relative_to(ROOT).parts[0]]
    assert imported_rooms(path) & ROOMS <= known


@pytest.mark.parametrize(
    "path", sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_file_passes_250_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_every_room_has_its_floor(package: str) -> None:
    rooms = {path.name.removesuffix(".py") for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__"} == set(FLOORS[package])


def modules_of(path: Path) -> set[str]:
    return {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
    }


@pytest.mark.parametrize(
    ("package", "path"),
    [(package, path) for package in FLOORS for path in sorted((ROOT / package).rglob("*.py"))],
    ids=lambda each: str(each.relative_to(ROOT)) if isinstance(each, Path) else each,
)
def test_imports_do_not_point_to_a_later_floor(package: str, path: Path) -> None:
    floors = FLOORS[package]
    room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return  # an entry point: nothing in the package imports it
    for module in modules_of(path):
        first, *rest = module.split(".")
        if first == package and rest:
            assert floors.index(rest[0]) <= floors.index(room), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("workflows.fit.learner, workflows.relay.walk, models.lstm, data.prepared.encoding", ["ray"]),
        ("workflows.relay.lookup, workflows.store.store, workflows.recipe.recipe, workflows.training.run", ["ray", "torch"]),
        ("workflows.results.evaluation, workflows.python.train", ["ray", "torch"]),
        ("workflows.cli.commands", ["ray", "torch", "pyarrow", "pydantic", "numpy"]),
        ("workflows.cli.on_cluster", ["ray", "torch", "pyarrow", "pydantic", "numpy", "requests"]),
        ("workflows.recipe.shipping", ["ray", "torch"]),
    ],
)
def test_modules_do_not_import_packages_that_they_do_not_need(modules: str, without: list[str]) -> None:
    code = f"import sys, {modules}; print([name for name in {without} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_test_files_have_different_names() -> None:
    """Refuse two test files of one name, which pytest cannot collect; `make test` runs in halves and would not notice."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
