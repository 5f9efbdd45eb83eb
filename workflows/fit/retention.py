"""Retention of a stage as values for the fit, and the importance of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.retention import Anchor, trained
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.replay import NOTHING_TO_REPLAY, Replay
from workflows.fit.sampling import worker_share

if TYPE_CHECKING:
    from models.retention_methods import Importance

IMPORTANCE_STREAM = 3  # random stream, separate from those of replay


@dataclass(frozen=True)
class Teacher:
    """The model before a stage as a teacher; its term is a mean over the samples it is applied to.

    These are the replayed samples, and the new ones too if `of_new`. It covers the `known` classes; None: all.
    """

    model: LSTM
    strength: float
    of_new: bool = True
    known: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Retention:
    """Earlier samples to mix in, the model before the stage as a teacher, or its weights as an anchor; each is optional."""

    replay: Replay = NOTHING_TO_REPLAY
    teacher: Teacher | None = None
    anchor: Anchor | None = None


NO_RETENTION = Retention()


def importance(
    measure: Importance,
    model: LSTM,
    settings: ModelSettings,
    dataset: EncodedDataset,
    samples: npt.NDArray[np.int64],
    num_outputs: int,
    seed: tuple[int, int],
    group: Group,
    head: int | None = None,
) -> dict[str, Tensor]:
    """Return the importance of each weight, averaged over train samples of a dataset: float32, by parameter.

    The same on any number of workers up to rounding; all of them must call it. `seed` is (seed, stage).
    """
    device = next(model.parameters()).device
    random = np.random.default_rng((*seed, IMPORTANCE_STREAM))
    count = len(samples)
    noise = random.random((count, 1)) if settings.classifies else random.standard_normal((count, num_outputs))
    share = range(count)[worker_share(count, group.rank, group.size)]

    def inputs_of(number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        batch = dataset.batch("train", samples[number : number + 1])
        known = None if batch.known is None else torch.from_numpy(batch.known).to(device)
        return torch.from_numpy(batch.inputs).to(device), torch.from_numpy(batch.lengths).to(device), known

    drawn = [torch.from_numpy(noise[number].astype(np.float32)).to(device) for number in share]
    sums = measure(model, [inputs_of(number) for number in share], drawn, settings, head)
    flat = group.add_up(torch.cat([each.flatten() for each in sums])) / max(count, 1)
    by_name, start = {}, 0
    for name, parameter in trained(model):
        by_name[name] = flat[start : start + parameter.numel()].view_as(parameter).float()
        start += parameter.numel()
    return by_name


def accumulate(before: Mapping[str, Tensor] | None, new: Mapping[str, Tensor], decay: float) -> dict[str, Tensor]:
    """Return the importance for all datasets so far: decay * before + new (online EWC, Schwarz et al. 2018)."""
    known = before or {}
    return {
        name: decay * known[name].to(value.device) + value if name in known else value  # a head correction may be new
        for name, value in new.items()
    }
