"""Detect dead runs: a live process writes progress.json every 30 s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SILENT_S = 150.0  # five beats, more than the clocks of two machines differ


def as_seen(facts: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the record of a run under way; its status is interrupted if it was silent for too long."""
    silent = now - float(facts.get("when", 0.0))
    if facts.get("status") != "running" or silent < SILENT_S:
        return dict(facts)
    message = f"its process has given no sign of life for {silent / 60:.0f} min; run the same command again to resume it"
    return {**facts, "status": "interrupted", "message": message}
