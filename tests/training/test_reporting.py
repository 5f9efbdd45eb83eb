"""Reports to Ray Train: one per stage, at most one in five seconds, by all workers alike."""

from __future__ import annotations

from typing import Any

import pytest
from small import share_prepared, write_small

import workflows.training.reporting
from workflows.fit.group import Group
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EvaluationDone
from workflows.training.reporting import StageReports
from workflows.training.run import train


def evaluations(num_stages: int) -> list[EvaluationDone]:
    """Return events before the first stage, after an epoch of each stage, after the stage, and test errors at the end."""
    events = [EvaluationDone(0, "validation", "k0", {"a": 1.0, "b": None})]
    for stage in range(1, num_stages + 1):
        events.append(EvaluationDone(stage - 1, "validation", f"k{stage}", {"a": 0.9}))
        events.append(EvaluationDone(stage, "validation", f"k{stage}", {"a": 0.5, "b": 0.1 * stage}))
    return [*events, EvaluationDone(num_stages, "test", "end", {"a": 0.3})]


def test_each_stage_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows.training.reporting, "EVERY_S", 0.0)
    reported: list[dict[str, Any]] = []
    reports = StageReports(Group(), 3, lambda metrics, first: reported.append({**metrics, "first": first}))
    for done in evaluations(3):
        reports(done)
    assert [(each["stage"], each["key"], each["first"]) for each in reported] == [(n, f"k{n}", True) for n in (1, 2, 3)]
    assert reported[-1]["mean_error"] == pytest.approx(0.4)
    assert reported[-1]["error/b"] == pytest.approx(0.3)


def test_hundreds_of_short_stages_are_not_reported_one_by_one_and_the_last_one_always_is() -> None:
    reported: list[int] = []
    reports = StageReports(Group(), 200, lambda metrics, first: reported.append(metrics["stage"]))
    for done in evaluations(200):
        reports(done)
    assert reported == [1, 200]


@pytest.mark.ray
def test_the_result_of_ray_train_has_the_metrics_of_the_last_stage(
    undisturbed_by_two: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train.torch import TorchTrainer

    results: list[Any] = []
    fit = TorchTrainer.fit

    def keeping(self: Any) -> Any:
        results.append(fit(self))
        return results[-1]

    monkeypatch.setattr(TorchTrainer, "fit", keeping)
    share_prepared(undisturbed_by_two[0] / "runs", tmp_path / "runs")
    result = train(load_recipe(write_small(tmp_path, training={"epochs": 1})), tmp_path / "runs", None, 2).to_json()
    (seen,) = results
    assert seen.metrics["stage"] == seen.metrics["stages"] == 3
    assert seen.metrics["key"] == result["key"]
    last = result["error_matrix"]["validation"][-1]
    assert [seen.metrics[f"error/{name}"] for name in result["datasets"]] == pytest.approx(last)
