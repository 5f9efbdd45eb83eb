"""The recipe's JSON schema agrees with the recipe check; --version and shell completion work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import invoke
from small import small_document

from workflows.recipe.recipe import BUILT_IN, SECTIONS, EntryKeys
from workflows.recipe.schema import recipe_schema

ROOT = Path(__file__).parents[2]


def problems(document: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(recipe_schema()).iter_errors(document)]


def test_the_schema_is_valid_and_describes_every_key() -> None:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, model in {**SECTIONS, "Dataset": EntryKeys}.items():
        properties = schema["$defs"]["Dataset" if name == "Dataset" else model.__name__]["properties"]
        assert set(properties) >= set(model.model_fields)
        assert all(properties[key].get("description") for key in model.model_fields)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.toml")), ids=lambda path: path.stem)
def test_built_in_recipes_are_valid(path: Path) -> None:
    assert problems(tomllib.loads(path.read_text())) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"epoch": 3}}, "'epoch' was unexpected"),
        ({"training": {"learning_rate": "fast"}}, "'fast' is not of type 'number'"),
        ({"model": {"loss": "mea"}}, "'mea' is not one of"),
        ({"order": "random"}, "'random' is not one of"),
        ({"datasets": [{"path": "a.csv"}]}, "'name' is a required property"),
        ({"datasets": [{"name": "a", "path": "a.csv", "lookbak": 3}]}, "'lookbak' was unexpected"),
    ],
)
def test_mistakes_are_found(change: dict[str, Any], words: str) -> None:
    assert problems(small_document()) == []
    assert any(words in message for message in problems(small_document(**change)))


def test_the_command_prints_or_writes_it(tmp_path: Path) -> None:
    code, out, _ = invoke("schema")
    assert code == 0
    assert json.loads(out) == recipe_schema()
    path = tmp_path / "recipe.schema.json"
    assert invoke("schema", "--output", str(path))[0] == 0
    assert json.loads(path.read_text()) == recipe_schema()
    assert invoke("schema", "--output", str(tmp_path / "absent" / "file"))[0] == 2


def test_the_version_names_the_packages_that_decide_results() -> None:
    code, out, _ = invoke("--version")
    assert code == 0
    assert out.startswith("lstm-relay 0.")
    assert all(name in out for name in ("Python 3.", "ray 2.", "torch 2."))


@pytest.mark.parametrize(
    ("typed", "completion"), [("train de", "demo"), ("report ru", "run_a"), ("evaluate run_a --sto", "--storage")]
)
def test_a_shell_completes_recipes_runs_and_options(tmp_path: Path, typed: str, completion: str) -> None:
    (tmp_path / "runs" / "runs" / "run_a").mkdir(parents=True)
    words = f"lstm-relay {typed}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_LSTM_RELAY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "from workflows.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert completion in done.stdout.split(), done.stderr
