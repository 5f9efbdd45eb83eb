"""A correction of the head for each dataset, against a plain torch loop; exact on workers and after a resume."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import outcome, prepare_sequences, random_sequences, state_at, walk, weights_hash
from torch import nn

from data.prepared.encoding import EncodedDataset
from models.head import Corrections, correct_at_once, correct_by_group, load_weights
from models.losses import loss_sum
from models.lstm import LSTM
from models.settings import Channels, ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay, kept_samples
from workflows.fit.retention import Retention
from workflows.fit.sampling import epoch_batches
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan


def corrections_of(numbers: tuple[int, ...], width: int = 4, outputs: int = 3) -> Corrections:
    torch.manual_seed(0)
    made = Corrections(width, outputs)
    made.become(numbers)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("apply", [correct_by_group, correct_at_once])
def test_each_sample_takes_the_correction_of_its_dataset(apply: Any) -> None:
    made, summary = corrections_of((0, 2, 5)), torch.randn(7, 4)
    owners = torch.tensor([5, 0, 1, 2, -1, 9, 5])
    outputs = apply(made, summary, owners)
    for row, owner in enumerate(owners.tolist()):
        correction = made[str(owner)] if str(owner) in made else None  # noqa: SIM401
        expected = torch.zeros(3) if correction is None else correction.weight @ summary[row] + correction.bias
        torch.testing.assert_close(outputs[row], expected)
    outputs.square().sum().backward()
    weight = made["5"].weight
    expected = sum(2 * torch.outer(outputs[row].detach(), summary[row]) for row in (0, 6))
    torch.testing.assert_close(weight.grad, expected)


def test_a_new_correction_changes_nothing_and_a_state_is_loaded_with_its_corrections() -> None:
    settings, x, lengths = ModelSettings(hidden_size=5), torch.randn(4, 6, 2), torch.full((4,), 6)
    model = LSTM(settings, 2, 3)
    plain = model(x, lengths)
    state = torch.random.get_rng_state()
    assert model.corrections.become([0, 1])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model(x, lengths, owners=1), plain)
    for parameter in model.corrections.parameters():
        nn.init.normal_(parameter)
    other = LSTM(settings, 2, 3)
    other.corrections.become([3])
    load_weights(other, copy.deepcopy(model.state_dict()))
    assert other.corrections.numbers == [0, 1]
    assert torch.equal(other(x, lengths, owners=1), model(x, lengths, owners=1))
    assert torch.equal(other(x, lengths, owners=7), plain)
    load_weights(other, {k: v for k, v in model.state_dict().items() if not k.startswith("corrections")})
    assert other.corrections.numbers == []


CHANNELS = Channels(2, (0, 1))


@pytest.mark.parametrize(
    "keys",
    [{}, {"bidirectional": True, "num_layers": 2}, {"window_normalization": "instance"}, {"channel_independent": True}],
    ids=["plain", "bidirectional", "normalized", "channels"],
)
def test_one_number_for_all_samples_is_the_same_as_one_each(keys: dict[str, Any]) -> None:
    model = LSTM(ModelSettings(hidden_size=5, **keys), 2, 6, CHANNELS)
    model.corrections.become([0, 1])
    for parameter in model.corrections.parameters():
        nn.init.normal_(parameter)
    x, lengths = torch.randn(4, 6, 2), torch.tensor([6, 3, 6, 2])
    mixed = model(x, lengths, owners=torch.tensor([1, 0, 1, 0]))
    for row, owner in enumerate((1, 0, 1, 0)):
        torch.testing.assert_close(mixed[row], model(x, lengths, owners=owner)[row])
    assert (mixed - model(x, lengths)).abs().min() > 1e-4


LOSSES: dict[str, dict[str, Any]] = {
    "mse": {"loss": "mse"},
    "mae": {"loss": "mae"},
    "huber": {"loss": "huber"},
    "quantile": {"loss": "quantile"},
    "cross_entropy": {"loss": "cross_entropy", "head": "dataset"},
}


def sequences(classes: bool) -> dict[str, Any]:
    pairs = {}
    for number, name in enumerate("abc"):
        inputs, targets = random_sequences(number, 33 + 4 * number)
        pairs[name] = (inputs, (targets[:, :1] > 0).astype(int) + 10) if classes else (inputs, targets * (number + 1))
    return pairs


@pytest.mark.parametrize("kind", LOSSES)
def test_a_stage_is_a_plain_loop_with_one_more_layer_for_each_dataset(kind: str, tmp_path: Path) -> None:
    """Train two epochs of the third dataset with the first two replayed; compare each weight with torch's Adam."""
    settings = ModelSettings(hidden_size=5, **LOSSES[kind])
    datasets = prepare_sequences(sequences(kind == "cross_entropy"), tmp_path, classes=kind == "cross_entropy")
    outputs = settings.num_outputs(2, 0, 2)
    torch.manual_seed(1)
    model = LSTM(settings, 3, outputs)
    loop, layers = copy.deepcopy(model), [nn.Linear(5, outputs) for _ in range(3)]
    for parameter in (p for layer in layers for p in layer.parameters()):
        nn.init.zeros_(parameter)
    kept = [kept_samples(dataset.num_samples("train"), 6, (0, number)) for number, dataset in enumerate(datasets[:2])]
    replay, training = Replay(datasets[:2], kept, 0.2, 0.4), TrainingSettings(batch_size=8, learning_rate=0.01)
    learner = Learner(model, settings, training, Group())
    learner.have_heads(range(3))
    body = [p for p in loop.parameters() if p.requires_grad]
    optimizers = [torch.optim.Adam(body, lr=0.01), *(torch.optim.Adam(layer.parameters(), lr=0.01) for layer in layers)]

    def outputs_of(dataset: EncodedDataset, sample: int, owner: int) -> tuple[torch.Tensor, torch.Tensor]:
        batch = dataset.batch("train", np.array([sample]))
        summary = loop._read(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths), None)
        return loop.head(summary) + layers[owner](summary), torch.from_numpy(batch.targets)

    for epoch in range(2):
        seed, third = (0, 2, epoch), datasets[2]
        batches = epoch_batches(third.lengths("train"), 8, seed)
        learner.fit_epoch(third, np.full(len(batches), 0.01), seed, retention=Retention(replay), head=2)
        for new, (owners, old) in zip(batches, replay.draw([len(b) for b in batches], seed), strict=True):
            pairs = [(third, sample, 2, 1.0) for sample in new]
            weight = 0.4 * 2 * len(new) / len(old)
            pairs += [(datasets[o], sample, int(o), weight) for o, sample in zip(owners, old, strict=True)]
            total = sum(w * loss_sum(*outputs_of(d, s, o), settings) for d, s, o, w in pairs)
            for optimizer in optimizers:
                optimizer.zero_grad()
            (total / (len(new) + weight * len(old))).backward()
            for number, optimizer in enumerate(optimizers):
                if number == 0 or number - 1 in {2, *owners.tolist()}:  # no step without a sample of the dataset
                    optimizer.step()
    for name, parameter in loop.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=0, atol=2e-6)
    for number, layer in enumerate(layers):
        torch.testing.assert_close(model.corrections[str(number)].weight, layer.weight, rtol=0, atol=2e-6)
        torch.testing.assert_close(model.corrections[str(number)].bias, layer.bias, rtol=0, atol=2e-6)
        steps = optimizers[number + 1].state[layer.weight]["step"]
        assert learner.optimizer.state[model.corrections[str(number)].weight]["step"] == steps
    assert float(optimizers[1].state[layers[0].weight]["step"]) < float(optimizers[3].state[layers[2].weight]["step"])


def make_datasets(folder: Path) -> list[EncodedDataset]:
    names = {name: random_sequences(number, 37 + 10 * number, 4, 7) for number, name in enumerate("abc")}
    return prepare_sequences(names, folder / "prepared", split=(0.8, 0.2, 0))


def plan_with(datasets: list[EncodedDataset], method: str = "replay", head: str | None = None, **model: Any) -> Plan:
    settings = RetentionSettings.model_validate({"method": method, "memory": 11, "share": 0.2})
    keys = {"hidden_size": 6, "head": head, **model}
    training = TrainingSettings(batch_size=16, learning_rate=0.01, gradient_clip=1.0, weight_decay=0.01)
    return make_plan(0, ModelSettings.model_validate(keys), training, datasets, [2, 2, 2][: len(datasets)], settings)


@pytest.mark.parametrize("method", ["none", "replay", "ewc", "l2", "distill", "replay+distill"])
def test_a_resumed_run_ends_in_the_same_bits_with_every_method(method: str, tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    plan = plan_with(datasets, method)
    walk(plan, datasets, tmp_path / "whole")
    done = outcome(plan, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for facts in [*done.stages[1].epochs[1:], *done.stages[2].epochs]:
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / facts.key)
    assert len(walk(plan, datasets, tmp_path / "cut").epochs) == 3
    assert weights_hash(done.key, tmp_path / "cut") == weights_hash(done.key, tmp_path / "whole")
    final = state_at(done.key, tmp_path / "whole")
    names = {name for name in final.model if name.startswith("corrections.")}
    assert names == {f"corrections.{number}.{what}" for number in range(3) for what in ("weight", "bias")}
    # Without old samples the heads of earlier datasets do not change, nor do their moments.
    before = state_at(done.stages[1].key, tmp_path / "whole")
    same = all(torch.equal(before.model[name], final.model[name]) for name in names if name.startswith("corrections.1"))
    assert same == ("replay" not in method)
    if same:
        moments = [name for name in before.optimizer if ".corrections.1." in name]
        assert moments
        assert all(torch.equal(before.optimizer[name], final.optimizer[name]) for name in moments)


def test_the_first_dataset_is_shared_with_a_run_of_one_head_and_no_state_depends_on_later_datasets(tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    walk(plan_with(datasets, "none", "shared"), datasets, tmp_path / "runs")
    assert len(walk(plan_with(datasets, "none"), datasets, tmp_path / "runs").epochs) == 4
    assert walk(plan_with(datasets[:2], "none"), datasets[:2], tmp_path / "runs").epochs == []
    assert walk(plan_with(datasets[:1], "none"), datasets[:1], tmp_path / "runs").epochs == []


def test_classes_share_one_head_by_default() -> None:
    assert not ModelSettings(loss="cross_entropy").dataset_heads
    assert ModelSettings(loss="cross_entropy", head="dataset").dataset_heads
    assert ModelSettings().dataset_heads
    assert not ModelSettings(head="shared").dataset_heads


def test_datasets_that_answer_differently_to_the_same_window_are_all_remembered(tmp_path: Path) -> None:
    inputs, targets = random_sequences(5, 120)
    datasets = prepare_sequences({"a": (inputs, targets), "b": (inputs, -targets)}, tmp_path / "data", split=(0.7, 0.3, 0))
    ends = {}
    for head in ("shared", "dataset"):
        settings = RetentionSettings.model_validate({"method": "replay", "share": 0.5})
        training = TrainingSettings(batch_size=8, learning_rate=0.02, decay_rate=1.0)
        plan = make_plan(0, ModelSettings(hidden_size=12, head=head), training, datasets, [12, 12], settings)  # type: ignore[arg-type]
        walk(plan, datasets, tmp_path / "runs")
        ends[head] = [each.error for each in outcome(plan, tmp_path / "runs").validation[-1] if each is not None]
    assert max(ends["dataset"]) < 0.1 * max(ends["shared"])
