"""A later dataset adds its classes to the head: earlier stages do not change, and the weights are those of a torch loop."""

from __future__ import annotations

import copy
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import forkserver, outcome, prepare_sequences, random_sequences, state_at, walk, weights_hash
from torch import nn

from data.prepared.encoding import EncodedDataset
from models.head import Corrections, correct_at_once, correct_by_group, load_weights
from models.losses import ErrorSums, loss_sum
from models.lstm import LSTM
from models.retention import distillation_sum
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.sampling import epoch_batches
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.events import EvaluationStarted, RunEvent
from workflows.relay.plan import Plan, make_plan
from workflows.relay.walk import Walker
from workflows.store.store import Store

SETTINGS = ModelSettings(hidden_size=5, loss="cross_entropy")


def datasets_of(folder: Path, labels: dict[str, tuple[int, int]], split: Any = (0.8, 0.2, 0)) -> list[EncodedDataset]:
    """Return datasets of two classes each, which the mean of the first feature decides."""
    pairs = {}
    for number, (name, (low, high)) in enumerate(labels.items()):
        inputs, targets = random_sequences(number, 40, 4, 7)
        pairs[name] = (inputs, np.where(targets[:, :1] > 0, high, low))
    return prepare_sequences(pairs, folder / "prepared", split=split, classes=True)


THREE = {"a": (1, 2), "b": (2, 1), "c": (0, 2)}  # "0" is new in c, and comes first by its label


def plan_with(datasets: list[EncodedDataset], method: str = "replay", **model: Any) -> Plan:
    settings = RetentionSettings.model_validate({"method": method, "memory": 11, "share": 0.2})
    keys = {"hidden_size": 6, "loss": "cross_entropy", **model}
    training = TrainingSettings(batch_size=16, learning_rate=0.01, gradient_clip=1.0, weight_decay=0.01)
    return make_plan(0, ModelSettings.model_validate(keys), training, datasets, [2, 2, 2][: len(datasets)], settings)


def test_an_added_class_is_a_separate_row_with_separate_moments(tmp_path: Path) -> None:
    """Train two epochs with two outputs, then two with a third; compare each weight with torch's Adam."""
    first, _, third = datasets_of(tmp_path, THREE, (1, 0, 0))
    torch.manual_seed(1)
    model = LSTM(SETTINGS, 3, 2)
    loop, added = copy.deepcopy(model), nn.Linear(5, 1)
    for parameter in added.parameters():
        nn.init.zeros_(parameter)
    training = TrainingSettings(batch_size=8, learning_rate=0.01)
    learner = Learner(model, SETTINGS, training, Group())
    optimizers = [torch.optim.Adam([p for p in loop.parameters() if p.requires_grad], lr=0.01)]
    for stage, dataset in ((0, first), (1, third)):
        if stage:
            learner.have_outputs(3)
            optimizers.append(torch.optim.Adam(added.parameters(), lr=0.01))
        for epoch in range(2):
            seed = (0, stage, epoch)
            batches = epoch_batches(dataset.lengths("train"), 8, seed)
            learner.fit_epoch(dataset, np.full(len(batches), 0.01), seed)
            for numbers in batches:
                batch = dataset.batch("train", np.asarray(numbers))
                summary = loop._read(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths), None)
                outputs = torch.cat([loop.head(summary), added(summary)], 1) if stage else loop.head(summary)
                for optimizer in optimizers:
                    optimizer.zero_grad()
                (loss_sum(outputs, torch.from_numpy(batch.targets), SETTINGS) / len(numbers)).backward()
                for optimizer in optimizers:
                    optimizer.step()
    for name, parameter in loop.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=0, atol=2e-6)
    torch.testing.assert_close(model.added["2"].weight, added.weight, rtol=0, atol=2e-6)
    torch.testing.assert_close(model.added["2"].bias, added.bias, rtol=0, atol=2e-6)
    assert float(added.weight.detach().abs().min()) > 0


def test_new_outputs_start_at_zero_draw_no_random_number_and_are_part_of_the_state() -> None:
    x, lengths = torch.randn(4, 6, 3), torch.full((4,), 6)
    model = LSTM(SETTINGS, 3, 2)
    plain, random = model(x, lengths), torch.random.get_rng_state()
    assert not model.have_outputs(2)
    assert model.have_outputs(3)
    assert model.have_outputs(5)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.equal(model(x, lengths), torch.cat([plain, torch.zeros(4, 3)], dim=1))
    model.corrections.become([0])
    for parameter in [*model.added.parameters(), *model.corrections.parameters()]:
        nn.init.normal_(parameter)
    other = LSTM(SETTINGS, 3, 2)
    load_weights(other, copy.deepcopy(model.state_dict()))
    assert torch.equal(other(x, lengths, owners=0), model(x, lengths, owners=0))
    load_weights(other, {k: v for k, v in model.state_dict().items() if not k.startswith(("added", "corrections"))})
    assert torch.equal(other(x, lengths), plain)


@pytest.mark.parametrize("apply", [correct_by_group, correct_at_once])
def test_a_correction_that_is_older_than_a_class_is_zero_for_it(apply: Any) -> None:
    made = Corrections(4, 2)
    made.become([0])
    made.num_outputs = 3
    made.become([0, 1])
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    outputs = apply(made, torch.randn(2, 4), torch.tensor([0, 1]))
    assert (outputs != 0).tolist() == [[True, True, False], [True, True, True]]


def test_a_class_without_an_output_is_wrong_and_not_part_of_the_loss() -> None:
    outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 2, -1])
    sums = ErrorSums.zero(1)
    sums.add(outputs, targets, SETTINGS)
    assert (sums.samples, sums.known, sums.wrong) == (3, 1, 2)
    assert sums.loss == pytest.approx(float(loss_sum(outputs[:1], targets[:1], SETTINGS)))


def test_a_teacher_gives_no_probability_to_classes_that_were_added() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(3, 2), torch.randn(3, 3)
    p, q = teacher.softmax(1).numpy(), student.softmax(1).numpy()
    expected = float((p * np.log(p / q[:, :2])).sum())
    assert float(distillation_sum(student, teacher, SETTINGS)) == pytest.approx(expected, rel=1e-5)
    among = student[:, :2].softmax(1).numpy()
    known = float(distillation_sum(student, teacher, SETTINGS, (0, 1)))
    assert known == pytest.approx(float((p * np.log(p / among)).sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "head"),
    [
        *((method, "shared") for method in ("none", "replay", "ewc", "l2", "distill", "replay+distill")),
        *((method, "dataset") for method in ("replay", "ewc", "replay+distill")),
    ],
)
def test_a_new_class_retrains_nothing_and_a_resumed_run_ends_in_the_same_bits(
    method: str, head: str, tmp_path: Path
) -> None:
    datasets = datasets_of(tmp_path, THREE)
    assert datasets[0].encoding.classes == ["1", "2", "0"]
    plan = plan_with(datasets, method, head=head)
    assert (plan.num_outputs, plan.grown) == (2, (2, 2, 3))
    early = datasets_of(tmp_path, {name: THREE[name] for name in "ab"})
    walk(plan_with(early, method, head=head), early, tmp_path / "runs")
    evaluations = {path.name for path in (tmp_path / "runs" / "evaluations").rglob("*.json")}
    assert len(walk(plan, datasets, tmp_path / "runs").epochs) == 2
    assert evaluations <= {path.name for path in (tmp_path / "runs" / "evaluations").rglob("*.json")}
    done = outcome(plan, tmp_path / "runs")
    sizes = {name: len(value) for name, value in state_at(done.key, tmp_path / "runs").model.items() if "bias" in name}
    assert (sizes["head.bias"], sizes["added.2.bias"]) == (2, 1)
    if head == "dataset":
        assert [sizes[f"corrections.{number}.bias"] for number in range(3)] == [2, 2, 3]
    # Before its stage the new class of c is never predicted.
    unknown = np.mean(datasets[2].batch("validation", np.arange(datasets[2].num_samples("validation"))).targets == 2)
    assert 0 < unknown < 1
    assert all(row[2].error >= unknown for row in done.validation[:3] if row[2] is not None)
    shutil.copytree(tmp_path / "runs", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / done.stages[2].epochs[1].key)
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / done.key, ignore_errors=True)
    walk(plan, datasets, tmp_path / "cut")
    assert weights_hash(done.key, tmp_path / "cut") == weights_hash(done.key, tmp_path / "runs")


KILLED_AT = ("before the first epoch", "in the second epoch", "before it is measured")  # of the stage that adds a class


def walk_to_a_kill(folder: str, moment: str) -> None:
    """Walk the plan to a moment of its third stage, and end this process as `kill -9` does."""
    datasets = datasets_of(Path(folder), THREE)
    fit_epoch: Any = Learner.fit_epoch
    last: list[tuple[int, int, int]] = []

    def fit_or_be_killed(learner: Learner, dataset: Any, rates: Any, seed: tuple[int, int, int], *rest: Any) -> Any:
        last.append(seed)
        if moment == KILLED_AT[0] and seed == (0, 2, 0):
            os.kill(os.getpid(), signal.SIGKILL)

        def on_step(step: int, seen: int) -> None:
            if moment == KILLED_AT[1] and (*seed, step) == (0, 2, 1, 1):
                os.kill(os.getpid(), signal.SIGKILL)

        return fit_epoch(learner, dataset, rates, seed, on_step, *rest[1:])

    def emit(event: RunEvent) -> None:
        if isinstance(event, EvaluationStarted) and moment == KILLED_AT[2] and last[-1:] == [(0, 2, 1)]:
            os.kill(os.getpid(), signal.SIGKILL)

    Learner.fit_epoch = fit_or_be_killed  # type: ignore[method-assign]
    Walker(plan_with(datasets, head="dataset"), datasets, Store(f"{folder}/runs"), Group(), emit).walk()


@pytest.mark.long
def test_a_run_that_is_killed_while_the_head_grows_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole, killed, left = tmp_path / "whole", tmp_path / "killed", []
    datasets = datasets_of(whole, THREE)
    plan = plan_with(datasets, head="dataset")
    walk(plan, datasets, whole / "runs")
    for moment in KILLED_AT:
        process = forkserver().Process(target=walk_to_a_kill, args=(str(killed), moment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        left.append({path.parent.name for path in (killed / "runs" / "checkpoints").glob("*/facts.json")})
    third = [epoch.key for epoch in plan.straight_on()][4:]
    assert [[key in keys for key in third] for keys in left] == [[False, False], [True, False], [True, True]]
    walk(plan, datasets_of(killed, THREE), killed / "runs")
    expected, resumed = (outcome(plan, folder / "runs") for folder in (whole, killed))
    assert (resumed.key, resumed.validation) == (expected.key, expected.validation)
    assert weights_hash(resumed.key, killed / "runs") == weights_hash(expected.key, whole / "runs")


def test_datasets_with_the_same_classes_keep_their_addresses(tmp_path: Path) -> None:
    datasets = datasets_of(tmp_path, {"a": (1, 2), "b": (2, 1)})
    seen, every = plan_with(datasets), plan_with(datasets, classes="all")
    assert (seen.root, seen.datasets, seen.grown) == (every.root, every.datasets, ())
    assert [epoch.key for epoch in seen.straight_on()] == [epoch.key for epoch in every.straight_on()]


def test_validation_labels_of_classes_from_a_later_dataset_are_evaluated_again(tmp_path: Path) -> None:
    """Give a validation series of a class that its train rows lack and b teaches: only its evaluations change."""
    inputs, targets = random_sequences(0, 40, 4, 7)
    classes = np.where(targets[:, :1] > 0, 2, 1)
    first = {"a": (inputs, classes)}
    plain = prepare_sequences(first, tmp_path / "plain", split=(0.8, 0.2, 0), classes=True)
    sample = next(n for n in range(40) if _split_of(plain[0], n, inputs) == "validation")
    classes[sample] = 3
    first = {"a": (inputs, classes)}
    more = {**first, "b": (inputs, np.where(targets[:, :1] > 0, 3, 1))}
    alone = plan_with(prepare_sequences(first, tmp_path / "one", split=(0.8, 0.2, 0), classes=True))
    both = plan_with(prepare_sequences(more, tmp_path / "two", split=(0.8, 0.2, 0), classes=True))
    assert (both.root, both.grown) == (alone.root, (2, 3))
    assert both.datasets[0].sha256["train"] == alone.datasets[0].sha256["train"]
    assert both.datasets[0].sha256["validation"] != alone.datasets[0].sha256["validation"]
    assert [epoch.key for epoch in both.straight_on()][:2] == [epoch.key for epoch in alone.straight_on()]


def _split_of(dataset: EncodedDataset, number: int, inputs: Any) -> str:
    for split in ("train", "validation"):
        batch = dataset.batch(split, np.arange(dataset.num_samples(split)))
        rows = [row[:length] for row, length in zip(batch.inputs, batch.lengths, strict=True)]
        if any(row.shape == inputs[number].shape and np.allclose(row, inputs[number]) for row in rows):
            return split
    raise AssertionError(number)
