"""Results of searches, as tests need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflows.results.search_result import SearchResult, TrialResult


def search_result(trials: Sequence[TrialResult], **fields: Any) -> SearchResult:
    """The result of a search named "s" with these trials; of a grid, unless the fields say otherwise."""
    whole: dict[str, Any] = {
        "name": "s",
        "status": "finished",
        "when": 1.0,
        "algorithm": "grid",
        "scheduler": "none",
        "objectives": ("mean_scaled_error",),
        "trials": tuple(trials),
        "best": None,
        "pareto": (),
        "key": None,
        "kept": (),
        "epochs_requested": 10,
        "epochs_trained": 10,
        "epochs_distinct": 10,
        "ratio": 1.0,
        "seconds": 1.0,
    }
    return SearchResult(**{**whole, **fields})
