"""The files and names in the table of typical changes in CONTRIBUTING.md exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = [row.strip("| ").split(" | ") for row in re.findall(r"^\| .* \|$", TEXT, re.MULTILINE)][1:]


def test_there_are_twelve_changes() -> None:
    assert len(ROWS) == 12
    assert len({change for change, _, _ in ROWS}) == 12


@pytest.mark.parametrize(("change", "places", "tests"), ROWS, ids=[row[0] for row in ROWS])
def test_a_change_is_in_at_most_two_existing_files(change: str, places: str, tests: str) -> None:
    matches = re.findall(r"`([\w/]+\.(?:py|txt))`(?: \(([^)]*)\))?", places)
    assert 1 <= len(matches) <= 2
    for file, names in matches:
        content = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b(?:def|class) {name}\b|^{name}\b|\b{name}\(", content, re.MULTILINE), (file, name)
    (test,) = re.findall(r"`([\w/]+\.py)`", tests)
    assert (ROOT / test).is_file()
