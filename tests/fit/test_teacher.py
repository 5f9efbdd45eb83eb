"""The model before a dataset as a teacher: its loss term against formulas, and the samples and classes that it covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import prepare_sequences, random_sequences, walk

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.retention import distillation_sum, trained
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import Retention, Teacher
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import make_plan


def make_datasets(folder: Path) -> list[EncodedDataset]:
    names = {name: random_sequences(number, 31 + 10 * number, 4, 7) for number, name in enumerate("ab")}
    return prepare_sequences(names, folder / "prepared", split=(0.8, 0.2, 0))


def test_distillation_is_the_mean_squared_gap_or_the_divergence_of_the_classes() -> None:
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    numbers = distillation_sum(student, teacher, ModelSettings())
    assert float(numbers) == pytest.approx(float(((student - teacher) ** 2).mean(dim=1).sum()), rel=1e-6)
    p, q = teacher.softmax(1).numpy(), student.softmax(1).numpy()
    classes = distillation_sum(student, teacher, ModelSettings(loss="cross_entropy"))
    assert float(classes) == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-5)
    assert float(distillation_sum(teacher, teacher, ModelSettings(loss="cross_entropy"))) == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_of_some_classes_gives_no_gradient_to_the_others() -> None:
    student, teacher, settings = torch.randn(6, 5), torch.randn(6, 5), ModelSettings(loss="cross_entropy")
    student.requires_grad_()
    divergence = distillation_sum(student, teacher, settings, (0, 3))
    p, q = (each.detach()[:, [0, 3]].softmax(1).numpy() for each in (teacher, student))
    assert divergence.item() == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-5)
    (gradient,) = torch.autograd.grad(divergence, student)
    assert not gradient[:, [1, 2, 4]].any()


@pytest.mark.parametrize(
    ("method", "loss", "asked"),
    [
        ("replay+distill", "cross_entropy", [(True, (0, 1)), (True, (0, 1, 2))]),
        ("replay+distill", "mse", [(False, None), (False, None)]),
        ("distill", "cross_entropy", [(True, None), (True, None)]),
    ],
)
def test_with_replay_a_teacher_covers_only_the_classes_and_samples_that_it_knows(
    method: str, loss: str, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"first": [0, 1], "second": [3, 0], "third": [2, 4]}
    names = {
        name: (random_sequences(number, 24)[0], np.repeat([classes], 12, axis=0).reshape(-1, 1).astype(np.float32))
        for number, (name, classes) in enumerate(labels.items())
    }
    datasets = prepare_sequences(names, tmp_path / "prepared", classes=loss == "cross_entropy")
    teachers: list[Teacher | None] = []
    fit_epoch = Learner.fit_epoch

    def noted(self: Learner, *args: Any, **more: Any) -> Any:
        teachers.append(more.get("retention", args[4] if len(args) > 4 else None).teacher)
        return fit_epoch(self, *args, **more)

    monkeypatch.setattr(Learner, "fit_epoch", noted)
    settings = RetentionSettings.model_validate({"method": method, "memory": 5})
    model = ModelSettings.model_validate({"hidden_size": 3, "loss": loss})
    plan = make_plan(0, model, TrainingSettings(), datasets, [1, 1, 1], settings)
    walk(plan, datasets, tmp_path / "runs")
    assert teachers[0] is None
    assert [(teacher.of_new, teacher.known) for teacher in teachers if teacher is not None] == asked


def test_a_step_with_a_teacher_has_the_gradient_of_the_sum_of_both(tmp_path: Path) -> None:
    dataset = make_datasets(tmp_path)[0]
    torch.manual_seed(0)
    model, teacher = (LSTM(ModelSettings(hidden_size=5), dataset.num_features, 2) for _ in range(2))
    count = dataset.num_samples("train")
    batch = dataset.batch("train", np.arange(count))
    inputs, lengths = torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)
    outputs = model(inputs, lengths)
    loss = ((outputs - torch.from_numpy(batch.targets)[:, 0]) ** 2).mean() + 0.6 * (
        (outputs - teacher(inputs, lengths)) ** 2
    ).mean()
    expected = torch.autograd.grad(loss, [parameter for _, parameter in trained(model)])
    learner = Learner(model, ModelSettings(), TrainingSettings(batch_size=count, shuffle=False), Group())
    learner.fit_epoch(dataset, np.array([0.0]), (0, 1, 0), retention=Retention(teacher=Teacher(teacher.eval(), 0.6)))
    for (_, parameter), gradient in zip(trained(model), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_teacher_beside_replay_adds_its_mean_over_the_replayed_samples(tmp_path: Path) -> None:
    """Train one epoch of one batch, and compare its gradient with the formula."""
    earlier, dataset = make_datasets(tmp_path)
    count = dataset.num_samples("train")
    replay = Replay([earlier], [np.arange(9)], 0.3, 0.7)
    torch.manual_seed(0)
    model, teacher = (LSTM(ModelSettings(hidden_size=5), dataset.num_features, 2) for _ in range(2))
    ((_, old),) = replay.draw([count], (0, 1, 0))

    def run(network: LSTM, source: EncodedDataset, samples: Any) -> tuple[torch.Tensor, torch.Tensor]:
        batch = source.batch("train", samples)
        return network(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)), torch.from_numpy(batch.targets)[
            :, 0
        ]

    new, targets = run(model, dataset, np.arange(count))
    again, old_targets = run(model, earlier, old)
    weight = 0.7 * count / len(old)
    squares = ((new - targets) ** 2).mean(1).sum() + weight * ((again - old_targets) ** 2).mean(1).sum()
    loss = squares / (count + weight * len(old)) + 0.6 * ((again - run(teacher, earlier, old)[0].detach()) ** 2).mean()
    expected = torch.autograd.grad(loss, [parameter for _, parameter in trained(model)])
    learner = Learner(model, ModelSettings(), TrainingSettings(batch_size=count, shuffle=False), Group())
    retention = Retention(replay, Teacher(teacher.eval(), 0.6, of_new=False))
    learner.fit_epoch(dataset, np.array([0.0]), (0, 1, 0), retention=retention)
    for (_, parameter), gradient in zip(trained(model), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
