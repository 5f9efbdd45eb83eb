"""The samples of a step on several threads of a process, with copies of a model that share its weights."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import prepare_sequences, random_sequences

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane
from workflows.fit.learner import Learner
from workflows.fit.threads import Threads
from workflows.recipe.settings import TrainingSettings
from workflows.relay.state import load_state, state_of


def learner_of(threads: int, seed: int = 0, batch_size: int = 16) -> Learner:
    torch.manual_seed(seed)
    settings = ModelSettings(hidden_size=8, dropout=0.2)
    lane = HostLane(torch.device("cpu"), threads)
    return Learner(LSTM(settings, 3, 2), settings, TrainingSettings(batch_size=batch_size), Group(), lane=lane)


def test_the_same_number_of_threads_gives_the_same_bits_also_from_a_state_that_was_loaded(tmp_path: Path) -> None:
    (dataset,) = prepare_sequences({"a": random_sequences(0, 50, 2, 9)}, tmp_path)
    rates = np.full(-(-dataset.num_samples("train") // 16), 1e-2)
    through, again = learner_of(3), learner_of(3, seed=1)
    through.fit_epoch(dataset, rates, (0, 0, 0))
    load_state(again, state_of(through))
    losses = [each.fit_epoch(dataset, rates, (0, 0, 1)).train_loss for each in (through, again)]
    assert losses[0] == losses[1]
    for parameter, expected in zip(through.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_copies_share_the_weights_but_not_the_gradients() -> None:
    first, second = learner_of(2).replicas
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr()
        assert one.grad is None or (other.grad is not None and one.grad.data_ptr() != other.grad.data_ptr())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_thread_does_its_part(count: int) -> None:
    did: dict[int, int] = {}
    at_once = threading.Barrier(count)

    def work(number: int) -> None:
        at_once.wait(60)  # passes only if all threads work at the same time
        did[number] = threading.get_ident()

    Threads(count).run(work)
    assert sorted(did) == list(range(count))
    assert len(set(did.values())) == count
    assert did[0] == threading.get_ident()


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_of_any_thread_is_raised_when_all_have_ended(bad: int) -> None:
    threads, ended = Threads(3), set()

    def work(number: int) -> None:
        ended.add(number)
        if number == bad:
            raise ValueError(number)

    with pytest.raises(ValueError, match=str(bad)):
        threads.run(work)
    assert ended == {0, 1, 2}
    threads.run(lambda number: None)  # the threads still work


def test_more_threads_than_samples(tmp_path: Path) -> None:
    (dataset,) = prepare_sequences({"a": random_sequences(0, 9)}, tmp_path)
    rates = np.full(-(-dataset.num_samples("train") // 2), 1e-2)
    losses = [learner_of(n, batch_size=2).fit_epoch(dataset, rates, (0, 0, 0)).train_loss for n in (1, 4)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_a_loss_that_is_not_finite_is_named_on_any_thread(tmp_path: Path) -> None:
    inputs, targets = random_sequences(1, 50)
    targets[33] = 1e30  # its square overflows, in the fourth batch of ten
    (dataset,) = prepare_sequences({"bad": (inputs, targets)}, tmp_path)
    settings = ModelSettings(hidden_size=8)
    training = TrainingSettings(batch_size=10, shuffle=False)
    learner = Learner(LSTM(settings, 3, 2), settings, training, Group(), lane=HostLane(torch.device("cpu"), 4))
    with pytest.raises(NonFiniteLossError, match=r"dataset 'bad', epoch 3, step 4 of 5: the loss is inf"):
        learner.fit_epoch(dataset, np.full(5, 1e-3), (0, 0, 2))


def test_samples_are_gathered_while_another_thread_gathers_longer_ones(tmp_path: Path) -> None:
    class Interrupted(EncodedDataset):
        """A dataset in which another thread replaces the buffers for the next batch at once."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, {} if name == "_tiled" else value)

    (dataset,) = prepare_sequences({"a": random_sequences(0, 60, 2, 9)}, tmp_path)
    interrupted = Interrupted(dataset.prepared, dataset.encoding)
    samples = np.arange(10)
    np.testing.assert_array_equal(interrupted.batch("train", samples).inputs, dataset.batch("train", samples).inputs)
