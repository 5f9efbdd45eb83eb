"""Names of our code that tests replace exist: an assignment to a name that nobody reads replaces nothing."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
OURS = {"cluster", "data", "models", "workflows"}


def imported(tree: ast.AST) -> dict[str, Any]:
    """Return the objects of our packages that a file imports, by their names in the file."""
    objects: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in (each for each in node.names if each.name.split(".")[0] in OURS):
                module = importlib.import_module(alias.name)
                objects[alias.asname or alias.name.split(".")[0]] = (
                    module if alias.asname else importlib.import_module(alias.name.split(".")[0])
                )
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS and node.level == 0:
            for alias in node.names:
                value = getattr(importlib.import_module(node.module), alias.name, None)
                objects[alias.asname or alias.name] = value
    return objects


def missing(tree: ast.AST) -> list[str]:
    """Return assignments to attributes that the imported modules and classes do not have."""
    known = imported(tree)
    problems = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in (each for each in targets if isinstance(each, ast.Attribute)):
            owner, names = target.value, [target.attr]
            while isinstance(owner, ast.Attribute):
                names.insert(0, owner.attr)
                owner = owner.value
            if not isinstance(owner, ast.Name) or known.get(owner.id) is None:
                continue
            value = known[owner.id]
            for name in names:
                if not hasattr(value, name):
                    problems.append(f"line {node.lineno}: {ast.unparse(target)}")
                    break
                value = getattr(value, name)
    return problems


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_names_that_tests_replace_exist(path: Path) -> None:
    assert missing(ast.parse(path.read_text())) == []


def test_an_assignment_to_an_unknown_name_is_reported() -> None:
    code = "import workflows.training.run\nworkflows.training.run.run_with_ray = None\nworkflows.training.run.train = None"
    assert missing(ast.parse(code)) == ["line 2: workflows.training.run.run_with_ray"]
