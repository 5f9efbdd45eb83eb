"""The guard: what counts as a rise, which attempt is kept, and the result of a run with each action."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke
from helpers import outcome, prepare_sequences, random_sequences, train_in_process, walk
from test_relay import make_plan as bare_plan

from models.settings import ModelSettings
from workflows import train
from workflows.loggers.terminal import closing_words
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.recipe.settings import GuardSettings, RetentionSettings, TrainingSettings
from workflows.relay.actions import Action, Evaluate, Tell, Train
from workflows.relay.guard import Attempt, Breach, best_attempt, find_breach, report_of, seen_error, sentence_of
from workflows.relay.plan import Plan, make_plan
from workflows.relay.relay import Outcome, drive, relay
from workflows.report.report import make_report
from workflows.results.clean import clean
from workflows.results.evaluation import evaluate
from workflows.results.run_result import RunResult
from workflows.results.stored_runs import stored_runs
from workflows.results.tables import runs_table, stages_reached
from workflows.results.trained import open_run
from workflows.store.kept import EpochRecord, Errors
from workflows.store.store import Store

BREACH = Breach(0, 1.0, 2.0, 1.0, 0)


def test_a_breach_is_the_worst_rise_beyond_the_tolerance() -> None:
    before, after = [1.0, 2.0, 4.0, None, 1.0], [1.05, 3.0, 5.0, 9.0, 9.0]
    assert find_breach(before, after, [0, 1, 2, 3], 0.1, in_points=False) == Breach(1, 2.0, 3.0, 0.5, 1)
    assert find_breach(before, after, [0], 0.1, in_points=False) is None
    assert find_breach(before, after, [], 0.1, in_points=False) is None
    assert find_breach([0.0], [0.08], [0], 0.1, in_points=True) is None
    assert find_breach([0.02], [0.18], [0], 0.1, in_points=True) == Breach(0, 0.02, 0.18, pytest.approx(0.16), 0)


def test_errors_below_the_floor_are_all_alike() -> None:
    """Check an all-zero dataset: a rise from 0 to 1.8e-8 is no breach, a rise above the floor is one."""
    assert find_breach([0.0], [1.8e-8], [0], 0.1, in_points=False, floor=1e-4) is None
    assert find_breach([1e-9], [1e-4], [0], 0.0, in_points=False, floor=1e-4) is None
    assert find_breach([0.0], [1.2e-4], [0], 0.1, in_points=False, floor=1e-4) == Breach(
        0, 0.0, 1.2e-4, pytest.approx(0.2), 0
    )
    assert find_breach([1.0], [1.2], [0], 0.1, in_points=False, floor=1e-4) == Breach(0, 1.0, 1.2, pytest.approx(0.2), 0)


@pytest.mark.parametrize("action", ["stop", "retry"])
def test_a_constant_dataset_stops_no_run_and_is_not_tried_again(action: str, tmp_path: Path) -> None:
    """Train on a constant dataset with an error that rises from 0 to about 1e-8 (cases/data/08_guard_const)."""
    random = np.random.default_rng(0)
    steps = np.arange(120)
    waves = {"a": np.zeros(120), "b": np.sin(steps / 5), "c": np.cos(steps / 7) + random.normal(size=120) * 0.1}
    entries = []
    for name, values in waves.items():
        (tmp_path / f"{name}.csv").write_text(
            "ts,y\n" + "".join(f"{t},{v:.6f}\n" for t, v in zip(steps, values, strict=True))
        )
        entries.append({"name": name, "path": f"{name}.csv"})
    document = {
        "name": "gc",
        "data": {"time": "ts", "features": ["y"], "targets": ["y"], "lookback": 4, "horizon": 1},
        "datasets": entries,
        "model": {"hidden_size": 4},
        "training": {"epochs": 1},
        "compute": {"num_workers": 0},
        "guard": {"action": action, "tolerance": 0.1 if action == "stop" else 1e9},
    }
    _, opened = train_in_process(check_recipe(document, tmp_path), tmp_path / "runs")
    result = opened.result
    assert result is not None
    assert result.status == "finished"
    assert not [each for each in result.guard if any(a.rise is not None and a.rise.dataset == "a" for a in each.attempts)]
    before, after = (row[0] for row in result.error_matrix.validation[1:3])
    assert before < after < 1e-4 or after <= before


def test_the_guard_of_classes_watches_the_loss_by_default() -> None:
    def error(stage: int, attempt: int, dataset: int) -> float:
        return 0.2

    class Loss(Answers):
        def __call__(self, action: Action) -> Any:
            answers = super().__call__(action)
            if isinstance(action, Evaluate):
                stage, attempt = self.where.get(action.key, (-1, 0))
                return [
                    replace(each, loss=0.1 + (0.5**attempt if stage == 1 and dataset == 0 else 0))
                    for dataset, each in enumerate(answers)
                ]
            return answers

    def run_with(monitor: str | None) -> tuple[Outcome, Plan]:
        guard = GuardSettings(action="retry", tolerance=0.3, max_attempts=2)
        plan = replace(bare_plan([1, 1, 1], monitor=monitor), model=ModelSettings(loss="cross_entropy"), guard=guard)
        return drive(relay(plan), Loss(error)), plan

    done, plan = run_with(None)
    (verdict,) = done.verdicts
    assert [attempt.breach and attempt.breach.rise for attempt in verdict.attempts] == pytest.approx([10.0, 5.0])
    assert verdict.kept == 1  # the error is the same in both, the mean loss is lower in the second
    sentence = sentence_of(report_of(verdict, plan))
    assert "raised the loss of 0 from 0.1000 to 0.6000 (its error from 0.2000 to 0.2000), more than" in sentence
    assert run_with("error")[0].verdicts == []


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_two_numbers_of_the_guard_are_those_of_the_error_matrix(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(80, 3, 1)).astype(np.float32)
    labels = (inputs[:, -1, 0] > 0).astype(int) if kind == "classes" else 3 * inputs[:, -1].astype(float)
    wrong = 1 - labels if kind == "classes" else -labels  # the second dataset teaches the opposite
    keys: dict[str, Any] = {"loss": "cross_entropy"} if kind == "classes" else {"head": "shared"}
    pairs = {"a": (inputs, labels), "b": (inputs, wrong)}
    keys |= {"epochs": 8, "hidden_size": 6, "learning_rate": 0.05, "batch_size": 8, "validation_split": 0.3}
    result = train(pairs, storage=tmp_path, guard={"tolerance": 0.1}, **keys)
    ((report,), matrix) = result.result.guard, result.result.error_matrix
    rise = report.attempts[report.kept - 1].rise
    assert rise is not None
    assert (rise.errors is None) == (kind == "numbers")
    assert (rise.errors or (rise.before, rise.after)) == (matrix.validation[1][0], matrix.validation[2][0])
    assert f"from {matrix.validation[1][0]:.4f} to {matrix.validation[2][0]:.4f}" in str(result)


def test_the_attempt_without_a_breach_is_kept_else_the_one_with_the_lowest_mean() -> None:
    def attempt(breach: Breach | None, mean: float | None) -> Attempt:
        return Attempt(0.1, 1.0, "key", breach, mean)

    assert best_attempt([attempt(BREACH, 1.0), attempt(None, 5.0)]) == 1
    assert best_attempt([attempt(BREACH, 3.0), attempt(BREACH, 2.0), attempt(BREACH, 2.0)]) == 1
    assert best_attempt([attempt(BREACH, None), attempt(BREACH, None)]) == 0


def test_the_mean_error_is_over_the_seen_datasets_relative_to_the_naive_forecast() -> None:
    assert seen_error([1.0, 4.0, 100.0], [0, 1, 1], [2.0, 4.0, 1.0]) == pytest.approx(0.75)
    assert seen_error([1.0, None], [0, 1], [None, None]) == 1.0


class Answers:
    """Answers with errors by (stage, attempt, dataset); the attempt follows from the epoch's rate, which is halved."""

    def __init__(self, error: Callable[[int, int, int], float]):
        self.error, self.reports, self.trained = error, [], []
        self.where: dict[str, tuple[int, int]] = {}

    def __call__(self, action: Action) -> Any:
        if isinstance(action, Tell):
            self.reports.append(action)
            return True
        if isinstance(action, Train):
            epoch = action.epoch
            attempt = round(0.1 * 0.5**epoch.stage / epoch.learning_rate).bit_length() - 1
            attempt += round(epoch.retention.strength).bit_length() - 1
            self.where[epoch.key] = (epoch.stage, attempt)
            self.trained.append((epoch.stage, attempt, epoch.parent))
            return EpochRecord(epoch.key, epoch.parent)
        if isinstance(action, Evaluate):
            stage, attempt = self.where.get(action.key, (-1, 0))
            return [Errors(self.error(stage, attempt, dataset), 10) for dataset in action.datasets]
        return EpochRecord(action.key, None)


def run(error: Callable[[int, int, int], float], **guard: Any) -> tuple[Outcome, Answers, Plan]:
    plan = replace(bare_plan([1, 1, 1]), guard=GuardSettings.model_validate(guard))
    if guard.get("retry") == "retention":
        plan = replace(plan, retention=RetentionSettings(method="l2"))
    answers = Answers(error)
    return drive(relay(plan), answers), answers, plan


def rises_at_stage_1(stage: int, attempt: int, dataset: int) -> float:
    """Return errors in which stage 1 raises that of dataset 0 from 1 to 2, and each further attempt by half as much."""
    return 1 + 0.5**attempt if stage == 1 and dataset == 0 else 1.0


def test_warn_continues_with_a_message() -> None:
    done, answers, plan = run(rises_at_stage_1)
    assert [len(done.stages), done.stopped, len(answers.trained)] == [3, False, 3]
    (verdict,) = done.verdicts
    assert verdict.attempts[0].breach == Breach(0, 1.0, 2.0, 1.0, 0)
    assert [tell.over for tell in answers.reports] == [True]
    sentence = sentence_of(report_of(verdict, plan))
    assert sentence == "1 raised the error of 0 from 1.0000 to 2.0000, more than tolerance = 0.1 allows"


def test_stop_ends_the_run_before_the_dataset_that_did_the_harm() -> None:
    done, answers, plan = run(rises_at_stage_1, action="stop")
    assert done.stopped
    assert [len(done.stages), len(done.validation), len(answers.trained)] == [1, 2, 2]
    assert done.key == done.stages[0].key
    assert "stopped, the run ends before 1" in sentence_of(report_of(done.verdicts[0], plan))


def test_retry_halves_the_rate_until_nothing_rises_too_far_and_continues_from_there() -> None:
    done, answers, plan = run(rises_at_stage_1, action="retry", tolerance=0.3, max_attempts=5)
    assert [(stage, attempt) for stage, attempt, _ in answers.trained] == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]
    start = answers.trained[1][2]
    assert [parent for _, _, parent in answers.trained[1:4]] == [start] * 3
    assert answers.trained[-1][2] == done.stages[1].key == done.verdicts[0].attempts[2].key
    assert done.stages[1].learning_rate == pytest.approx(0.05 / 4)
    assert done.stages[2].learning_rate == pytest.approx(0.025)
    assert [stage.attempts for stage in done.stages] == [1, 3, 1]
    assert [tell.over for tell in answers.reports] == [False, False, True]
    sentences = [sentence_of(report_of(tell.verdict, plan), tell.over) for tell in answers.reports]
    rise = "at 1 raised the error of 0 from 1.0000 to"
    too_far = "more than tolerance = 0.3 allows"
    kept = "attempt 3 of 3 is kept (rate 0.013, strength 1; mean errors 1.5000, 1.2500, 1.1250): it breaches no tolerance"
    assert sentences == [
        f"attempt 1 {rise} 2.0000, {too_far}: trying attempt 2 with rate 0.025",
        f"attempt 2 {rise} 1.5000, {too_far}: trying attempt 3 with rate 0.013",
        f"attempt 1 {rise} 2.0000, {too_far}: {kept}",
    ]


def test_retry_keeps_the_best_attempt_if_none_is_good_enough() -> None:
    def error(stage: int, attempt: int, dataset: int) -> float:
        return (3.0, 2.0, 2.5)[attempt] if stage == 1 and dataset == 0 else 1.0

    done, answers, plan = run(error, action="retry")
    assert done.verdicts[0].kept == 1
    sentence = sentence_of(report_of(done.verdicts[0], plan))
    assert sentence.startswith("attempt 2 at 1 raised the error of 0 from 1.0000 to 2.0000, more than")
    assert "attempt 2 of 3 is kept" in sentence
    assert done.stages[1].key == done.verdicts[0].attempts[1].key
    assert [each and each.error for each in done.validation[2]] == [2.0, 1.0, 1.0]
    assert answers.trained[-1][:2] == (2, 0)


def test_retry_can_make_the_retention_stronger_instead() -> None:
    done, answers, plan = run(rises_at_stage_1, action="retry", retry="retention", tolerance=0.3)
    assert sentence_of(report_of(answers.reports[1].verdict, plan), over=False).endswith("trying attempt 3 with strength 4")
    assert [attempt.strength for attempt in done.verdicts[0].attempts] == [1.0, 2.0, 4.0]
    assert len({attempt.learning_rate for attempt in done.verdicts[0].attempts}) == 1


def prepared_opposites(folder: Path) -> tuple[Recipe, Callable[[Recipe], Any]]:
    """Return a recipe with a series and its negative, and a function that trains recipes on them without Ray."""
    for name, sign in (("a", 1), ("b", -1)):
        values = sign * np.sin(np.arange(200) / 3)
        (folder / f"{name}.csv").write_text("x,y\n" + "".join(f"{sign * each:.4f},{each:.4f}\n" for each in values))
    document = {
        "data": {"features": ["x"], "targets": ["y"], "lookback": 4, "horizon": 0, "scaling": "none"},
        "datasets": [{"name": name, "path": f"{name}.csv", "epochs": 2} for name in "ab"],
        "model": {"hidden_size": 4},
        "training": {"learning_rate": 0.05, "decay_rate": 1.0, "batch_size": 16},
        "compute": {"num_workers": 0},
    }

    def trained(recipe: Recipe) -> RunResult:
        _, run = train_in_process(recipe, folder / "runs")
        assert run.result is not None
        return run.result

    return check_recipe(document, folder), trained


def test_epochs_of_further_attempts_are_counted_separately(tmp_path: Path) -> None:
    recipe, trained = prepared_opposites(tmp_path)
    assert "4 of 4 epochs trained in" in closing_words(trained(recipe))
    guarded = replace(recipe, guard=GuardSettings(action="retry", max_attempts=3, tolerance=0.0))
    result = trained(guarded)
    assert (result.epochs_trained, result.epochs_tried_again) == (4, 4)
    assert "4 epochs trained (4 of them in further attempts) in" in closing_words(result)
    page = make_report(Store(str(tmp_path / "runs")), "relay")
    assert "4 epochs requested, 8 trained in 2 calls, 4 of them in further" in page
    assert clean(Store(str(tmp_path / "runs")), dry_run=False) == []  # rejected attempts are needed again
    assert "nothing was trained" in closing_words(trained(guarded))


def errors_of_a(page: str) -> str:
    """Return the line of dataset a in the page's comparison with the naive forecast."""
    return re.sub(r"\s+", " ", page.partition("Comparison with the naive forecast")[2].partition("test samples")[2])[:200]


def test_a_run_that_is_rolled_back_or_stopped_shows_how_much_of_it_is_done(tmp_path: Path) -> None:
    recipe, trained = prepared_opposites(tmp_path)
    trained(recipe)
    store = Store(str(tmp_path / "runs"))
    assert stages_reached(stored_runs(store)[0]["relay"]) == "2"
    code, out, _ = invoke("rollback", "relay", "--to", "a", "--storage", store.address)
    assert code == 0
    assert "(1 stage), key" in out
    assert "run train to restore it. Epochs are retrained only if clean has removed them" in out
    page = re.sub(r"<[^>]*>", " ", make_report(store, "relay"))
    assert re.search(r"datasets\s+1 of 2\s", page)
    assert "4 epochs requested, 4 trained" in page
    assert re.search(r"1\. a\s+2\s+2\s+0\s", page)  # two epochs, both of them trained by that run
    cells = [list(column.cells) for column in runs_table(stored_runs(store)[0]).columns]
    assert [cells[2], cells[3]] == [["1 of 2"], ["2 of 4"]]
    assert "–" in errors_of_a(page)
    errors = evaluate(store, open_run(store, "relay"), "test").to_json()["datasets"]["a"]
    assert f" {errors['error']:.4f} " in errors_of_a(re.sub(r"<[^>]*>", " ", make_report(store, "relay")))
    stopped = trained(replace(recipe, guard=GuardSettings(action="stop", tolerance=0.0)))
    assert stopped.status == "stopped"
    cells = [list(column.cells) for column in runs_table(stored_runs(store)[0]).columns]
    assert [cells[2], cells[3]] == [["1 of 2"], ["2 of 4"]]


def opposite_datasets(folder: Path, guard: GuardSettings) -> tuple[Plan, Any]:
    inputs, targets = random_sequences(5, 60)
    datasets = prepare_sequences({"a": (inputs, targets), "b": (inputs, -targets)}, folder / "prepared", split=(0.7, 0.3, 0))
    training = TrainingSettings(batch_size=8, learning_rate=0.02, decay_rate=1.0)
    return make_plan(0, ModelSettings(hidden_size=8), training, datasets, [8, 4], guard=guard), datasets


def test_a_real_run_is_tried_again_and_a_finished_one_trains_nothing(tmp_path: Path) -> None:
    plan, datasets = opposite_datasets(tmp_path, GuardSettings(action="retry", max_attempts=3))
    assert len(walk(plan, datasets, tmp_path / "runs").epochs) == 8 + 3 * 4
    done = outcome(plan, tmp_path / "runs")
    errors = [attempt.mean_scaled_error for attempt in done.verdicts[0].attempts]
    assert errors[done.verdicts[0].kept] == min(each for each in errors if each is not None)
    assert done.stages[1].key == done.verdicts[0].attempts[done.verdicts[0].kept].key
    assert walk(plan, datasets, tmp_path / "runs").epochs == []
    warned = replace(plan, guard=GuardSettings())
    assert walk(warned, datasets, tmp_path / "runs").epochs == []  # the guard is not part of the address
    stopped = replace(plan, guard=GuardSettings(action="stop"))
    assert outcome(stopped, tmp_path / "runs").key == done.stages[0].key
