"""What a benchmark found: a table on the screen, and results/NAME.json for the README (see common/table.py)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Row:
    """One figure beside another of the same run, the goal, and whether it is reached; None: there is no goal."""

    what: str
    ours: str
    beside: str = ""
    result: str = ""
    wanted: str = ""
    reached: bool | None = None


def times(what: str, ours: float, peer: float, wanted: float, unit: str, peer_name: str) -> Row:
    """Return a row of two rates or durations; the goal is that ours is `wanted` times as good (fewer seconds are better)."""
    ratio = peer / ours if unit == "s" else ours / peer
    shown = (f"{value:,.2f} {unit}" if value < 10 else f"{value:,.0f} {unit}" for value in (ours, peer))
    ours_text, peer_text = shown
    return Row(what, ours_text, f"{peer_name}: {peer_text}", f"{ratio:.2f} x", f"{wanted:g} x", ratio >= wanted)


def report(name: str, rows: list[Row], **figures: Any) -> None:
    """Print the rows and write results/NAME.json, with the figures that they were computed from."""
    lines = [("", "ours", "beside it", "result", "wanted"), *((r.what, r.ours, r.beside, r.result, r.wanted) for r in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for number, line in enumerate(lines):
        missed = "  missed" if number and rows[number - 1].reached is False else ""
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + missed)
    RESULTS.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    text = json.dumps({"rows": [asdict(row) for row in rows], "load": load, **figures}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
