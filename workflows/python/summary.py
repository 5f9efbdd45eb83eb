"""The result of a run in sentences."""

from __future__ import annotations

from workflows.relay.guard import sentence_of
from workflows.results.run_result import RunResult


def sentences_of(result: RunResult) -> list[str]:
    """Return a sentence about the run, one about its guard, or its last losses if no error is known."""
    mean = result.mean_scaled_error
    words = f"run {result.name!r}: {len(result.stages)} datasets, key {result.key[:12]}"
    words += "" if result.status == "finished" else f", {result.status}"
    if mean is not None:
        words += f", mean scaled error {mean:.3f} (naive = 1)"
    if result.forgetting is not None:
        words += f", forgetting {result.forgetting:.3f}"
    if mean is None:
        last = ", ".join(f"{stage.dataset} {stage.train_loss[-1]:.4f}" for stage in result.stages)
        return [words, f"last train losses: {last}"]
    return [words, *(f"guard: {sentence_of(report)}" for report in result.guard)]
