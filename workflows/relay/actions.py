"""The actions of the relay, one value each; a driver does them or looks them up."""

from __future__ import annotations

from dataclasses import dataclass

from workflows.relay.guard import Verdict
from workflows.relay.plan import Epoch


@dataclass(frozen=True)
class Initialise:
    """The untrained state with this key. Answered by its record."""

    key: str


@dataclass(frozen=True)
class Train:
    """One epoch. Answered by the record of the state after it."""

    epoch: Epoch


@dataclass(frozen=True)
class Average:
    """The mean of the weights after each of the last third of a stage's steps. Answered by the record of that state.

    `epochs` are the epochs to average: address, number, and whether all steps count or only the tail (see
    workflows.fit.thirds). `parent` is the last epoch; the state keeps its moments.
    """

    key: str
    parent: str
    epochs: tuple[tuple[str, int, bool], ...]
    stage: int


@dataclass(frozen=True)
class Evaluate:
    """The errors of the state `key` on one split of some datasets. Answered by a list; None without samples."""

    key: str
    datasets: tuple[int, ...]
    split: str
    stage: int  # number of finished stages, for the display only


@dataclass(frozen=True)
class Tell:
    """The guard's findings after an attempt at a stage, for watchers. Answered by anything but None."""

    verdict: Verdict
    over: bool  # whether this was the last attempt


Action = Initialise | Train | Average | Evaluate | Tell
