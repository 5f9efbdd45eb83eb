"""Every file of a store is damaged in every way: one message, never a wrong number, and the same command repairs it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from small import write_small
from storages import LocalObjects

from workflows.results.verify import Finding, verify
from workflows.store.store import Store

QUICK: dict[str, Any] = {
    "rows": 120,
    "data": {"scaling": "robust"},  # so that quartiles are kept
    "model": {"hidden_size": 4},
    "training": {"epochs": 1, "batch_size": 32},
    "retention": {"method": "ewc", "memory": 8},  # so that tensors are kept
    "compute": {"num_workers": 0},
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


WAYS: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": flip,
    "emptied": lambda path: path.write_bytes(b""),
    "folder": as_folder,
    "link": as_link,
    "other": lambda path: path.write_text('["another type"]'),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Train a run that has all kinds of files; return its folder and the outputs of the commands."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = write_small(folder, **QUICK)
    assert invoke("inspect", str(recipe), "--storage", str(folder / "runs"))[0] == 0  # so that distances are kept
    assert invoke("train", str(recipe), "--storage", str(folder / "runs"))[0] == 0
    return folder, {words[0]: output_of(folder, words) for words in LOOKS}


LOOKS = (("evaluate", "small", "--json", "-"), ("log", "small"), ("runs",))


def output_of(folder: Path, words: tuple[str, ...]) -> str:
    code, out, _ = invoke(*words, "--storage", str(folder / "runs"))
    assert code == 0
    return out


def comparable(out: str) -> str:
    """Round the numbers of an output to 5 digits, as the last digits depend on the cores; leave out `measured_now`."""
    return re.sub(r"\d+\.\d{6,}(e-?\d+)?", lambda match: f"{float(match[0]):.5g}", re.sub(r'"measured_now": \d+', "", out))


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, copy_function=shutil.copy2)
    return to


def files_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def check(whole: tuple[Path, dict[str, str]], to: Path, file: str, way: str) -> None:
    """Damage a file of a copy: no command shows another number or a traceback, train repairs it, verify finds no damage."""
    folder = copy_of(whole[0], to)
    storage = folder / "runs"
    WAYS[way](storage / file)
    before = {name: (storage / name).read_bytes() for name in files_below(storage)}
    code, out, _ = invoke("verify", "--storage", str(storage))
    assert {name: (storage / name).read_bytes() for name in files_below(storage)} == before
    unguarded = file.startswith("prepared/sources/") or file.endswith((".html", "ray.log")) or "/events/" in file
    assert code == (0 if unguarded else 1), out
    for words in LOOKS:
        code, out, err = invoke(*words, "--storage", str(storage))
        assert code in (0, 1, 2)
        assert "Traceback" not in out + err
        if code == 0 and "warning" not in out and "not in the store" not in out:
            assert comparable(out) == comparable(whole[1][words[0]]), (file, way, words)
        if code != 0:
            assert len(err.strip().splitlines()) == 1, err
    code, out, err = invoke("train", str(folder / "small.toml"), "--storage", str(storage))
    assert (code, err) == (0, ""), (file, way)
    left = [each.path for each in verify(Store(str(storage))).damaged]
    # Files that the run did not need again are written again when something needs them.
    assert left == [] or file.startswith(("derived/", "evaluations/")) or "/distances" in file or "/quartiles" in file
    again = output_of(folder, LOOKS[0])
    for text in (again, whole[1]["evaluate"]):
        assert json.loads(text)["mean_scaled_error"] > 0
    assert comparable(again) == comparable(whole[1]["evaluate"])
    assert json.loads(again)["key"] == json.loads(whole[1]["evaluate"])["key"]


def one_of_each_kind(storage: Path) -> list[str]:
    """Return a file of each kind: runs by name, all others by their folder and the beginning of their name."""
    kinds: dict[tuple[str, str], str] = {}
    for file in files_below(storage):
        parts = file.split("/")
        name = parts[-1] if parts[0] == "runs" else parts[-1].partition("-")[0]
        name = "evaluation" if parts[0] == "evaluations" else "note" if parts[1:2] == ["sources"] else name
        kinds.setdefault((parts[0], name), file)
    return [file for (_, name), file in sorted(kinds.items()) if not name.startswith("events.")]


def test_a_file_of_each_kind_damaged_in_one_way(whole: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    files = one_of_each_kind(whole[0] / "runs")
    assert len(files) >= 14
    for number, file in enumerate(files):
        check(whole, tmp_path / str(number), file, list(WAYS)[number % len(WAYS)])


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_every_file_damaged_in_every_way(way: str, whole: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Damage about 60 files, 1 to 2 s each."""
    for file in files_below(whole[0] / "runs"):
        check(whole, tmp_path / "copy", file, way)
        shutil.rmtree(tmp_path / "copy")


def test_verify_distinguishes_damaged_unreachable_and_foreign_files_and_changes_nothing(
    whole: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    storage = copy_of(whole[0], tmp_path / "copy") / "runs"
    assert verify(Store(str(storage))).findings == []
    assert invoke("verify", "--storage", str(storage))[0] == 0
    (storage / "thesis").mkdir()
    (storage / "prepared" / "photos").mkdir()
    last = json.loads((storage / "runs" / "small" / "result.json").read_text())["key"]
    shutil.copytree(storage / "checkpoints" / last, storage / "checkpoints" / "mine")
    shutil.rmtree(storage / "checkpoints" / last)
    code, out, _ = invoke("verify", "--storage", str(storage))
    assert code == 1
    assert f"damaged  runs/small  it needs checkpoint {last}, which is missing" in out
    assert "foreign  thesis" in out
    assert "foreign  prepared/photos" in out
    assert "the content of facts.json has changed" in out  # it is that of another key
    shutil.copytree(whole[0] / "runs" / "checkpoints" / last, storage / "checkpoints" / last)
    shutil.rmtree(storage / "checkpoints" / "mine")
    shutil.rmtree(storage / "runs" / "small")
    report = verify(Store(str(storage)))
    assert report.damaged == []
    assert {each.kind for each in report.findings} == {"unreachable", "foreign"}
    assert Finding("thesis", "foreign", "not ours") in report.findings


def test_an_output_that_is_the_input_through_a_link_is_refused(whole: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data = tmp_path / "crane.csv"
    shutil.copy(whole[0] / "crane.csv", data)
    (tmp_path / "out.csv").symlink_to(data)
    words = ["--dataset", "crane", "--input", str(data), "--output", str(tmp_path / "out.csv")]
    code, _, err = invoke("predict", "small", *words, "--storage", str(whole[0] / "runs"))
    assert code == 2
    assert "this is one of the input files" in err
    assert data.read_bytes() == (whole[0] / "crane.csv").read_bytes()


def test_verify_reads_an_object_store_too(whole: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    storage = copy_of(whole[0], tmp_path / "copy") / "runs"
    assert verify(Store(LocalObjects(storage))).damaged == []
    part = next(storage.glob("prepared/*/values-*"))
    flip(part)
    facts = next(storage.glob("checkpoints/*/facts.json"))
    flip(facts)
    damaged = {each.path for each in verify(Store(LocalObjects(storage))).damaged}
    assert {str(part.relative_to(storage)), str(facts.parent.relative_to(storage))} <= damaged


@pytest.mark.parametrize("file", ["result.json", "datasets.json"])
def test_an_incomplete_record_of_an_earlier_version_is_named(
    whole: tuple[Path, dict[str, str]], tmp_path: Path, file: str
) -> None:
    """Old records have no hash: a missing key or a value of another type is noticed when it is used."""
    storage = copy_of(whole[0], tmp_path / "copy") / "runs"
    (storage / "runs" / "small" / "run.json").unlink()
    path = storage / "runs" / "small" / file
    content = json.loads(path.read_text())
    entry = content if isinstance(content, dict) else content[0]
    others: list[Any] = [{}, [7], "x", 7, None]
    for number, (key, value) in enumerate(list(entry.items())):
        entry[key] = others[number % len(others)]
        path.write_text(json.dumps(content))
        for words in LOOKS:
            code, _, err = invoke(*words, "--storage", str(storage))
            assert code in (0, 1, 2), (key, words)
            assert code == 0 or len(err.strip().splitlines()) == 1, (key, words, err)
        entry[key] = value
