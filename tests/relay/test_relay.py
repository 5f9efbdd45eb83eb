"""The relay's decisions, driven by invented answers, without data and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.settings import ModelSettings
from workflows.recipe.settings import TrainingSettings
from workflows.relay.actions import Action, Average, Evaluate, Initialise, Tell, Train
from workflows.relay.lookup import finished, num_epochs
from workflows.relay.metrics import backward_transfer, forward_transfer
from workflows.relay.plan import Plan, PlannedDataset, Stage
from workflows.relay.relay import NotAnsweredError, best_epoch, drive, measured_after, relay, stops_early
from workflows.store.kept import EpochRecord, Errors
from workflows.store.store import State, Store

SPLITS = ("train", "validation", "test")


def make_plan(epochs: Sequence[int], samples: Sequence[dict[str, int]] | None = None, **training: Any) -> Plan:
    """Return a plan over datasets named 0, 1, ... that have only counts and hashes."""
    counts = samples or [dict.fromkeys(SPLITS, 10)] * len(epochs)
    facts = [
        PlannedDataset(str(index), count, {split: f"{split} of {index}" for split in SPLITS})
        for index, count in enumerate(counts)
    ]
    stages = [Stage(index, 0.1 * 0.5**index, count) for index, count in enumerate(epochs)]
    return Plan(
        0, ModelSettings(), TrainingSettings(**{"handover": "last", **training}), tuple(facts), tuple(stages), 3, 2, "root"
    )


@dataclass
class MadeUp:
    """Answer an epoch with its key, and an evaluation with the errors that a test sets for the epochs of each stage."""

    plan: Plan
    errors: Sequence[Sequence[float | None]]  # of a stage's epochs on its own dataset
    asked: list[Action] = field(default_factory=list)
    epochs: dict[str, tuple[int, int]] = field(default_factory=dict)
    reports: list[Tell] = field(default_factory=list)

    def __call__(self, action: Action) -> Any:
        if isinstance(action, Tell):
            self.reports.append(action)
            return True
        self.asked.append(action)
        if isinstance(action, Initialise):
            return EpochRecord(action.key, None)
        if isinstance(action, Average):
            return EpochRecord(action.key, action.parent)
        if isinstance(action, Train):
            self.epochs[action.epoch.key] = (action.epoch.stage, action.epoch.number)
            return EpochRecord(action.epoch.key, action.epoch.parent)
        stage, number = self.epochs.get(action.key, (0, -1))
        own_error = None if number < 0 else self.errors[stage][number]
        answers = [own_error if dataset == stage else 5.0 + dataset for dataset in action.datasets]
        return [None if error is None else Errors(error, 10, loss=error) for error in answers]


def words(made_up: MadeUp) -> list[str]:
    """Return the actions in short: "train 10" is epoch 0 of stage 1, "validation 10 on 01" its errors on datasets 0, 1."""
    names = {"root": "root", **{key: f"{stage}{number}" for key, (stage, number) in made_up.epochs.items()}}
    names_of_actions = []
    for action in made_up.asked:
        if isinstance(action, Evaluate):
            names_of_actions.append(f"{action.split} {names[action.key]} on {''.join(map(str, action.datasets))}")
        elif isinstance(action, Train):
            names_of_actions.append(f"train {names[action.epoch.key]}")
        else:
            names_of_actions.append(f"initialise {names[action.key]}")
    return names_of_actions


def test_each_epoch_is_trained_and_measured_in_turn_and_all_datasets_after_each_stage() -> None:
    plan = make_plan([2, 1])
    made_up = MadeUp(plan, [[3.0, 2.0], [1.0]])
    outcome = drive(relay(plan), made_up)
    assert words(made_up) == [
        *["initialise root", "validation root on 01"],
        *["train 00", "validation 00 on 0", "train 01", "validation 01 on 0", "validation 01 on 01"],
        *["train 10", "validation 10 on 1", "validation 10 on 01"],
        "test 10 on 01",
    ]
    assert [stage.handed_over for stage in outcome.stages] == [1, 0]
    assert [stage.errors for stage in outcome.stages] == [[3.0, 2.0], [1.0]]
    assert [stage.learning_rate for stage in outcome.stages] == [0.1, 0.05]
    matrix = [[each and each.error for each in row] for row in outcome.validation]
    assert matrix == [[None, 6.0], [2.0, 6.0], [5.0, 1.0]]
    assert outcome.key == outcome.stages[-1].key == made_up.asked[-1].key


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=30)
def test_every_epoch_follows_from_the_one_before_it_and_none_is_trained_twice(epochs: list[int]) -> None:
    plan = make_plan(epochs)
    made_up = MadeUp(plan, [[1.0] * count for count in epochs])
    drive(relay(plan), made_up)
    trained = [action.epoch for action in made_up.asked if isinstance(action, Train)]
    assert [epoch.parent for epoch in trained] == [plan.root, *(epoch.key for epoch in trained[:-1])]
    assert len({epoch.key for epoch in trained}) == sum(epochs)
    assert len(made_up.asked) == len({repr(action) for action in made_up.asked})


def test_the_last_or_the_best_epoch_is_handed_over() -> None:
    errors = [[3.0, 1.0, 2.0], [4.0, 5.0, 4.0]]
    for handover, expected in (("last", [2, 2]), ("best", [1, 0])):
        plan = make_plan([3, 3], handover=handover)
        made_up = MadeUp(plan, errors)
        outcome = drive(relay(plan), made_up)
        assert [stage.handed_over for stage in outcome.stages] == expected
        first_of_second = next(a.epoch for a in made_up.asked if isinstance(a, Train) and a.epoch.stage == 1)
        assert first_of_second.parent == outcome.stages[0].key == outcome.stages[0].epochs[expected[0]].key
        assert outcome.key == outcome.stages[1].epochs[expected[1]].key


@pytest.mark.parametrize(
    ("patience", "errors", "trained"),
    [
        (0, [1.0, 2.0, 3.0, 4.0, 5.0], 5),
        (1, [1.0, 2.0, 0.5, 0.1, 0.1], 2),
        (2, [3.0, 4.0, 2.0, 2.0, 2.5], 5),
        (2, [3.0, 4.0, 3.0, 2.0, 1.0], 3),
        (3, [5.0, 4.0, 3.0, 2.0, 1.0], 5),
    ],
)
def test_patience_ends_a_dataset_after_so_many_epochs_that_were_no_better(
    patience: int, errors: list[float], trained: int
) -> None:
    plan = make_plan([5, 1], patience=patience)
    outcome = drive(relay(plan), MadeUp(plan, [errors, [1.0]]))
    assert [len(stage.epochs) for stage in outcome.stages] == [trained, 1]
    assert outcome.stages[0].errors == errors[:trained]


def test_a_dataset_without_validation_hands_over_its_last_epoch_and_does_not_stop_early() -> None:
    plan = make_plan([3], handover="last", patience=0)
    outcome = drive(relay(plan), MadeUp(plan, [[None, None, None]]))
    assert outcome.stages[0].handed_over == 2
    assert best_epoch([None, 2.0, 1.0, None]) == 2
    assert not stops_early([None], 1)


class StoreTrainer:
    """Commit invented epochs and errors to a store, and answer from the store if it has them."""

    def __init__(self, plan: Plan, store: Store, errors: Sequence[Sequence[float | None]]):
        self.plan, self.store, self.made_up = plan, store, MadeUp(plan, errors)
        self.trained: list[str] = []

    def __call__(self, action: Action) -> Any:
        answer = self.made_up(action)
        if isinstance(action, Tell):
            return answer
        if isinstance(action, Evaluate):
            hashes = [self.plan.datasets[dataset].sha256[action.split] for dataset in action.datasets]
            sizes = [self.plan.datasets[dataset].samples[action.split] for dataset in action.datasets]
            answer = [(each or Errors(7.0, 10)) if size else None for each, size in zip(answer, sizes, strict=True)]
            known = {name: each for name, each in zip(hashes, answer, strict=True) if each is not None}
            self.store.add_evaluations(action.key, known)
            return answer
        if isinstance(action, Train):
            self.trained.append(action.epoch.key)
        return self.store.commit(answer.key, State({}, {}), answer)[0]


def test_the_monitored_value_decides_the_handed_over_epoch_and_the_end_of_a_stage() -> None:
    """Keep the error flat while the loss falls, as with the share of wrong classes if few samples are positive."""
    losses = [0.9, 0.7, 0.5, 0.6, 0.7, 0.8]
    made: dict[str, tuple[int, int]] = {}
    classes = ModelSettings(loss="cross_entropy")
    for name, model, monitor in (
        ("loss", ModelSettings(), "loss"),
        ("error", classes, "error"),
        ("classes", classes, None),
        ("numbers", ModelSettings(), None),
    ):
        plan = replace(make_plan([6], patience=2, handover="best", monitor=monitor), model=model)
        epochs: list[str] = []

        def answer(action: Action, epochs: list[str] = epochs) -> Any:
            if isinstance(action, Train):
                epochs.append(action.epoch.key)
                return EpochRecord(action.epoch.key, action.epoch.parent)
            if isinstance(action, Evaluate):
                number = epochs.index(action.key) if action.key in epochs else 0
                return [Errors(0.04, 10, loss=losses[number]) for _ in action.datasets]
            return EpochRecord("root", None)

        (stage,) = drive(relay(plan), answer).stages
        made[name] = (len(stage.epochs), stage.handed_over)
        assert stage.losses == losses[: len(stage.epochs)]
    assert made == {"loss": (5, 2), "classes": (5, 2), "error": (3, 0), "numbers": (3, 0)}


@pytest.mark.parametrize(("epochs", "counted"), [(1, [0]), (2, [1]), (3, [2]), (4, [2, 3]), (5, [3, 4]), (6, [4, 5])])
def test_the_average_is_of_the_last_third_and_the_next_stage_starts_from_it(epochs: int, counted: list[int]) -> None:
    plan = make_plan([epochs, 1], handover="average")
    made_up = MadeUp(plan, [[1.0] * epochs, [1.0]])
    outcome = drive(relay(plan), made_up)
    first, second = (action for action in made_up.asked if isinstance(action, Average))
    assert [number for _, number, _ in first.epochs] == counted
    assert first.parent == outcome.stages[0].epochs[-1].key
    trained = [action.epoch for action in made_up.asked if isinstance(action, Train)]
    assert trained[epochs].parent == first.key == outcome.stages[0].key
    assert [epoch.key for epoch in plan.straight_on()] == [epoch.key for epoch in trained]
    assert outcome.key == second.key
    assert all(action.key == second.key for action in made_up.asked[-2:])
    other = make_plan([epochs, 1], handover="last")
    assert {epoch.key for epoch in other.straight_on()}.isdisjoint({epoch.key for epoch in trained})


def test_errors_that_were_kept_without_a_loss_are_measured_again(tmp_path: Path) -> None:
    plan, store = make_plan([1]), Store(str(tmp_path))
    trainer = StoreTrainer(plan, store, [[1.0]])
    drive(relay(plan), trainer)
    assert finished(plan, store).key
    key = finished(plan, store).key
    hashes = plan.datasets[0].sha256
    store.storage.remove(f"evaluations/{key}")
    store.add_evaluations(key, {hashes["validation"]: Errors(1.0, 10, version=1)})
    with pytest.raises(NotAnsweredError) as lacking:
        finished(plan, store)
    assert isinstance(lacking.value.action, Evaluate)


@pytest.mark.parametrize("training", [{}, {"handover": "best"}, {"patience": 1, "handover": "best"}])
def test_the_store_alone_answers_as_the_walk_that_filled_it(training: dict[str, Any], tmp_path: Path) -> None:
    plan, store = make_plan([3, 2], **training), Store(str(tmp_path))
    outcome = drive(relay(plan), StoreTrainer(plan, store, [[3.0, 4.0, 2.0], [1.0, 1.5]]))
    assert finished(plan, Store(str(tmp_path))) == outcome
    assert num_epochs(outcome) == sum(len(stage.epochs) for stage in outcome.stages)


def test_the_store_shows_the_next_missing_action(tmp_path: Path) -> None:
    store, errors = Store(str(tmp_path)), [[3.0, 2.0, 1.0], [2.0, 1.0]]
    with pytest.raises(NotAnsweredError) as lacking:
        finished(make_plan([3, 2]), store)
    assert lacking.value.action == Initialise("root")
    short, longer = make_plan([3, 1]), make_plan([3, 2])
    drive(relay(short), StoreTrainer(short, store, errors))
    with pytest.raises(NotAnsweredError) as lacking:
        finished(longer, store)
    assert isinstance(lacking.value.action, Train)
    assert (lacking.value.action.epoch.stage, lacking.value.action.epoch.number) == (1, 1)
    assert lacking.value.held == 4


def test_a_split_without_samples_counts_as_measured(tmp_path: Path) -> None:
    counts = [{"train": 10, "validation": 0, "test": 0}, dict.fromkeys(SPLITS, 10)]
    plan, store = make_plan([1, 1], counts), Store(str(tmp_path))
    trainer = StoreTrainer(plan, store, [[None], [1.0]])
    drive(relay(plan), trainer)
    outcome = finished(plan, store)
    assert outcome.stages[0].errors == [None]
    assert [row[0] for row in outcome.validation] == [None] * 3
    assert outcome.test[0] is None


@given(st.integers(1, 30), st.integers(0, 8))
@settings(max_examples=40)
def test_a_bounded_number_of_evaluations_grows_with_the_datasets_not_with_their_square(number: int, bound: int) -> None:
    everything, few = make_plan([1] * number), make_plan([1] * number, evaluations=bound)
    rows = [measured_after(few, done) for done in range(number + 1)]
    assert rows[0] == rows[-1] == tuple(range(number))
    for done in range(1, number):
        assert {max(done - 2, 0), done - 1, done} <= set(rows[done])
        assert len(rows[done]) <= bound + 3
        assert set(rows[done]) - {done - 2, done - 1, done} <= set(rows[1 if done > 2 else number])  # the same each time
    assert measured_after(everything, number // 2) == tuple(range(number))
    made = {name: drive(relay(plan), MadeUp(plan, [[1.0]] * number)) for name, plan in (("all", everything), ("few", few))}
    matrix = {name: [[each and each.error for each in row] for row in out.validation] for name, out in made.items()}
    assert matrix["few"] == [
        [error if dataset in measured else None for dataset, error in enumerate(row)]
        for row, measured in zip(matrix["all"], rows, strict=True)
    ]
    assert backward_transfer(matrix["few"]) == backward_transfer(matrix["all"])
    assert forward_transfer(matrix["few"]) == forward_transfer(matrix["all"])
    assert made["few"].key == made["all"].key  # evaluations are not part of the address
