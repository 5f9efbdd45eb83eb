"""What crosses from one room to another is a value with types; JSON and recipe documents only where they are named here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("workflows", "models", "data", "cluster")
UNTYPED = re.compile(r"\b(dict|Mapping)\[str, Any\]|\bJson\b")
CONVERTERS = re.compile(r"^(to_json|from_json|\w+_from)$")  # a value of a JSON object, or the reverse
ALLOWED = {
    "data/signed.py:signed": "JSON of a file with its hash",
    "data/signed.py:read_signed": "JSON of a file with its hash",
    "workflows/store/run_record.py:read_record": "JSON of a run or search, before it is a value",
    "workflows/store/run_record.py:RunRecord.result": "JSON of a run, before it is a value",
    "workflows/store/run_record.py:RunRecord.datasets": "JSON of a run, before it is a value",
    "data/reading/settings.py:DataSettings.decisive": "JSON that is hashed",
    "data/prepared/manifest.py:Manifest.settings": "JSON that was hashed",
    "workflows/recipe/datasets.py:movable": "a recipe document",
    "workflows/recipe/defaults.py:with_old_defaults": "a recipe document",
    "workflows/recipe/overrides.py:override": "a recipe document",
    "workflows/recipe/overrides.py:put": "a recipe document",
    "workflows/recipe/recipe.py:Recipe.document": "a recipe document",
    "workflows/recipe/recipe.py:check_recipe": "a recipe document",
    "workflows/recipe/schema.py:recipe_schema": "the JSON schema of a recipe",
    "workflows/recipe/ship_files.py:at_addresses": "a recipe document",
    "workflows/recipe/shipping.py:pack_recipe": "a recipe document",
    "workflows/results/run_progress.py:RunProgress.recipe": "a recipe document",
    "workflows/training/extend.py:Addition.keys": "a [[datasets]] entry of a recipe document",
    "workflows/results/search_result.py:TrialResult.config": "values of searched recipe keys",
    "workflows/loggers/search_terminal.py:config_words": "values of searched recipe keys",
    "data/prepared/labels.py:labels_by_text": "the user's own labels, of any type",
    "models/tables.py:described": "a table of any entries",
    "cluster/capacity.py:name_of": "a node as ray.nodes() describes it",
    "cluster/versions.py:ask_nodes": "the answers of nodes to any question",
    "cluster/submit.py:Order.document": "a recipe document",
    "cluster/ray_compat.py:scaling_of": "arguments of Ray's ScalingConfig",
    "workflows/training/workers.py:trainer_for": "what Ray hands to a worker",
}


def room_of(path: Path) -> str:
    """Return the package of a file, or the folder in the package."""
    return "/".join(path.parts[: 2 if len(path.parts) > 2 else 1])


@cache
def sources() -> dict[Path, ast.Module]:
    paths = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {path: ast.parse((ROOT / path).read_text()) for path in paths}


def imported_elsewhere() -> set[tuple[Path, str]]:
    """Return the pairs of a file and a name in it that a file of another room imports."""
    names = set()
    for path, module in sources().items():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
                source = Path(*node.module.split(".")).with_suffix(".py")
                if source in sources() and room_of(source) != room_of(path):
                    names |= {(source, alias.name) for alias in node.names}
    return names


def annotations_of(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the name and each annotation of a function, or of the fields and public methods of a class."""
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for each in [*(argument.annotation for argument in arguments), node.returns]:
            if each is not None:
                yield node.name, ast.unparse(each)
    elif isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield f"{node.name}.{each.target.id}", ast.unparse(each.annotation)
            elif isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
                yield from ((f"{node.name}.{name}", annotation) for name, annotation in annotations_of(each))


def untyped() -> set[str]:
    """Return what another room imports without a type, as FILE:NAME."""
    crossing = imported_elsewhere()
    return {
        f"{path}:{name}"
        for path, module in sources().items()
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (path, node.name) in crossing
        for name, annotation in annotations_of(node)
        if UNTYPED.search(annotation) and not CONVERTERS.match(name.rpartition(".")[2])
    }


def test_only_named_functions_pass_json_or_documents_to_another_room() -> None:
    assert untyped() == set(ALLOWED)
