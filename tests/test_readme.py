"""What the README says is done: its recipe, its commands, its lines of Python, its tree."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from test_command_line import COMMANDS

from workflows.recipe.recipe import check_recipe
from workflows.recipe.search_settings import Choices

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RECIPES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
SMALL = ["--set", "training.epochs=1", "--set", "model.hidden_size=4", "--set", "training.batch_size=256", "--workers", "0"]


def write_pumps(folder: Path, name: str, rows: int = 400, suffix: str = "parquet") -> None:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(len(name))
    steps = np.tile(np.arange(rows), 2)
    power = np.sin(steps / 15) + 0.1 * random.normal(size=2 * rows)
    table = pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(15 * steps, unit="min"),
            "pump_id": np.repeat(["p1", "p2"], rows),
            "flow": 2 * power + random.normal(size=2 * rows),
            "pressure": random.normal(size=2 * rows),
            "power": power,
        }
    )
    path = folder / f"{name}.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)


def command(beginning: str) -> list[str]:
    """The words of a command that the README shows."""
    found = re.search(rf"python -m workflows ({re.escape(beginning)}[^`\n#]*)", README)
    assert found, beginning
    return shlex.split(found[1].strip())


@pytest.mark.ray
def test_the_recipe_and_the_commands_of_the_readme_do_what_it_says(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south"):
        write_pumps(tmp_path / "measurements", name)
    write_pumps(tmp_path / "new", "today", rows=120, suffix="csv")
    Path("my.toml").write_text(RECIPES[0])
    assert "2 datasets prepared" in invoke(*command("prepare my.toml"))[1]
    assert invoke("inspect", "my.toml")[0] == 0
    code, out, err = invoke(*command("train my.toml"), *SMALL)
    assert (code, err) == (0, "")
    assert "2 of 2 epochs trained" in out
    code, out, err = invoke(*command("evaluate pumps"))
    assert (code, err) == (0, "")
    code, out, err = invoke(*command("predict pumps"))
    assert (code, err) == (0, "")
    forecast = pd.read_csv("forecast.csv")
    assert list(forecast.columns) == ["series", "time", "step", "power"]
    assert len(forecast) == 2 * 24
    assert invoke("report", "pumps")[0] == 0
    for path in re.findall(r"`runs/NAME/([a-z.]+)", README):
        assert (tmp_path / "runs" / "runs" / "pumps" / path).exists() or path.startswith("search") or path == "best.toml"


def test_the_search_of_the_readme_is_a_valid_one(tmp_path: Path) -> None:
    document = tomllib.loads(RECIPES[0] + RECIPES[1].replace("crane", "north"))
    document["datasets"][0]["name"] = "north"
    recipe = check_recipe(document, tmp_path)
    assert recipe.search.epochs == Choices((1, 2, 4))


def test_the_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"(    from workflows import train\n.*?)\nX is", README, re.DOTALL)
    assert code
    text = "\n".join(line[4:] for line in code[1].splitlines()).split('result = train("my.toml"')[0]
    random = np.random.default_rng(0)
    names: dict[str, object] = {f"X{n}": random.normal(size=(40, 6, 3)) for n in (1, 2, 3)} | {"X": np.zeros((2, 6, 3))}
    names |= {f"y{n}": random.normal(size=(40, 2)) for n in (1, 2, 3)}
    names |= {f"V{n}": random.normal(size=(9, 6, 3)) for n in (1, 2)} | {f"w{n}": random.normal(size=(9, 2)) for n in (1, 2)}
    exec(text, names)
    assert names["result"].error_matrix is not None  # type: ignore[attr-defined]
    assert len(re.findall(r"result = train", text)) == 2


def test_every_command_and_every_room_is_named() -> None:
    for name in COMMANDS["workflows"]:
        assert re.search(rf"`{name}[ `]", README), name
    tree = re.search(r"## The tree\n\n(.*?)\n\n", README, re.DOTALL)
    assert tree
    rooms = re.findall(r"(?:^|\s)([a-z]+)/", tree[1])
    assert {"data", "models", "workflows", "cluster", "tests"} <= set(rooms)
    for room in rooms:
        assert any((place / room).is_dir() for place in (ROOT, ROOT / "data", ROOT / "workflows", ROOT / "tests")), room
    folders = {path.name for path in (ROOT / "workflows").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders <= set(rooms)
