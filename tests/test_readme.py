"""The recipes, commands, Python, links and tree of the README and the guides in docs/ are checked or run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from commands import ENTRANCES, invoke
from test_command_line import COMMANDS

from workflows.recipe.recipe import SECTIONS, check_recipe
from workflows.recipe.search_settings import Choices

ROOT = Path(__file__).parent.parent
GUIDES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = GUIDES["README.md"]
SMALL = ["--set", "training.epochs=1", "--set", "model.hidden_size=4", "--set", "training.batch_size=256", "--workers", "0"]
PUMPS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0]


def blocks(kind: str) -> list[tuple[str, str]]:
    return [(name, text) for name, guide in GUIDES.items() for text in re.findall(rf"```{kind}\n(.*?)```", guide, re.DOTALL)]


def commands() -> list[tuple[str, str]]:
    """Return every command line of the guides: indented, in a sh block, or in backquotes with an argument."""
    pattern = r"(?:^    |`)((?:lstm-relay|python -m cluster) [a-z][^`\n#]*)"
    lines = [(name, line.strip()) for name, guide in GUIDES.items() for line in re.findall(pattern, guide, re.MULTILINE)]
    return [(name, line) for name, line in lines if "[" not in line and "|" not in line]


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
    """Return the words of a command in the README."""
    match = re.search(rf"lstm-relay ({re.escape(beginning)}[^`\n#]*)", README)
    assert match, beginning
    return shlex.split(match[1].strip())


def test_the_recipe_and_the_commands_of_the_readme_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south"):
        write_pumps(tmp_path / "measurements", name)
    write_pumps(tmp_path / "new", "today", rows=120, suffix="csv")
    Path("my.toml").write_text(PUMPS + "\n[compute]\nnum_workers = 0\n")  # without Ray
    assert "2 datasets prepared" in invoke(*command("prepare my.toml"))[1]
    assert invoke("inspect", "my.toml")[0] == 0
    code, out, err = invoke("train", "my.toml", *SMALL)
    assert (code, err) == (0, "")
    assert "2 of 2 epochs trained" in out
    code, out, err = invoke(*command("evaluate pumps"))
    assert (code, err) == (0, "")
    code, out, err = invoke(*command("predict pumps"))
    assert (code, err) == (0, "")
    forecast = pd.read_csv("forecast.csv")
    assert list(forecast.columns) == ["series", "cutoff", "step", "time", "power"]
    assert len(forecast) == 2 * 24
    assert invoke("report", "pumps")[0] == 0
    for path in re.findall(r"`runs/NAME/([a-z.]+)", GUIDES["commands.md"]):
        assert (tmp_path / "runs" / "runs" / "pumps" / path).exists(), path


@pytest.mark.parametrize(("guide", "text"), blocks("toml"))
def test_recipes_and_parts_of_recipes_are_valid(guide: str, text: str, tmp_path: Path) -> None:
    document = tomllib.loads(text)
    if "datasets" in document:
        check_recipe(document, tmp_path)
        return
    assert set(document) <= set(SECTIONS)
    check_recipe({**tomllib.loads(PUMPS), **document}, tmp_path)


def test_the_search_of_the_guide_is_a_valid_one(tmp_path: Path) -> None:
    text = next(text for name, text in blocks("toml") if name == "searching.md")
    recipe = check_recipe({**tomllib.loads(PUMPS), **tomllib.loads(text)}, tmp_path)
    assert recipe.search.epochs == Choices((1, 2, 4))


def hourly(name: str, random: np.random.Generator) -> pd.DataFrame:
    hours = pd.date_range("2026-01-01", periods=200, freq="h")
    wave = np.sin(np.arange(200) / 4)
    return pd.DataFrame({"unique_id": name, "ds": hours, "y": wave, "temp": wave + random.normal(size=200)})


@pytest.mark.parametrize("guide", sorted({name for name, _ in blocks("python")} - {"serving.md"}))  # test_serving.py runs it
def test_the_lines_of_python_run(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    names: dict[str, object] = {f"X{n}": random.normal(size=(40, 6, 3)) for n in (1, 2, 3)} | {"X": np.zeros((2, 6, 3))}
    names |= {f"y{n}": random.normal(size=(40, 2)) for n in (1, 2, 3)}
    names["kinds"] = random.choice(["calm", "rough"], 40)
    names |= {"alder": hourly("alder", random), "birch": hourly("birch", random)}
    names["long"] = pd.concat([hourly(site, random).assign(site=site) for site in ("alder", "birch")])
    names |= {f"V{n}": random.normal(size=(9, 6, 3)) for n in (1, 2)} | {f"w{n}": random.normal(size=(9, 2)) for n in (1, 2)}
    for name, text in blocks("python"):
        if name == guide:
            exec(text, names)


@pytest.mark.parametrize(("guide", "line"), sorted(set(commands())))
def test_every_command_line_is_one_that_the_application_takes(guide: str, line: str) -> None:
    words = shlex.split(line.replace("python -m cluster", "cluster"))
    entrance = "cluster" if words[0] == "cluster" else "workflows"
    group = typer.main.get_command(ENTRANCES[entrance])
    parser = group.commands[words[1]]  # type: ignore[attr-defined]
    if entrance == "cluster" and "--address" not in words:
        words += ["--address", "http://127.0.0.1:8265"]  # or from the environment
    placeholders = {"JOB": "job", "RECIPE": "demo"}
    parser.make_context(words[1], [placeholders.get(word, word) for word in words[2:]], resilient_parsing=False)


@pytest.mark.parametrize("guide", sorted(GUIDES))
def test_links_lead_to_files(guide: str) -> None:
    folder = ROOT if guide == "README.md" else ROOT / "docs"
    for link in re.findall(r"\]\(([^)#:]+)\)", GUIDES[guide]):
        assert (folder / link).exists(), link


def test_the_readme_is_short_and_every_command_and_every_room_is_named() -> None:
    assert len(README.splitlines()) <= 250
    for name in COMMANDS["workflows"]:
        assert re.search(rf"`{name}[ `]", GUIDES["commands.md"]), name
    tree = re.search(r"## The tree\n\n(.*?)\n\n", README, re.DOTALL)
    assert tree
    rooms = re.findall(r"(?:^|\s)([a-z]+)/", tree[1])
    assert {"data", "models", "workflows", "cluster", "tests"} <= set(rooms)
    for room in rooms:
        assert any((folder / room).is_dir() for folder in (ROOT, ROOT / "data", ROOT / "workflows", ROOT / "tests")), room
    for package in ("workflows", "data"):
        folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and not path.name.startswith("_")}
        assert folders <= set(rooms)
