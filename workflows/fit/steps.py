"""The steps of an epoch as values, the same for rows in memory, on disk or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import EncodedDataset
from workflows.fit.group import Group
from workflows.fit.sampling import batch_sizes, epoch_batches, micro_batches, pooled_batches, worker_share
from workflows.recipe.settings import TrainingSettings

Int64 = npt.NDArray[np.int64]
Head = int | Int64 | None  # dataset whose head correction applies, for all new samples or for each
LengthsOf = Callable[[Int64], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Piece:
    """Samples that go through the network together on one thread: indices into the step's new and replayed samples."""

    new: Int64
    replayed: Int64
    thread: int = 0


@dataclass(frozen=True)
class Step:
    """One step: the new samples of all workers, the replayed ones with their dataset's index, this worker's pieces.

    `counts` are the numbers of new and of replayed samples: of all workers, then of each piece.
    """

    number: int
    batch: Int64
    owners: Int64
    old: Int64
    pieces: tuple[Piece, ...]
    counts: tuple[int, ...]
    part: str = ""  # part of the epoch's weight sums that this step is added to
    head: Head = None
    uniform: bool = False  # all new samples are equally long

    @property
    def heads(self) -> tuple[int, ...]:
        """Return the datasets whose head corrections this step trains, on any worker."""
        return () if self.head is None else tuple(np.unique(np.append(self.owners, self.head)).tolist())

    @property
    def mixed(self) -> bool:
        """Return whether the samples may belong to several datasets with head corrections."""
        return self.head is not None and (not isinstance(self.head, int) or len(self.old) > 0)

    @property
    def kind(self) -> tuple[object, ...]:
        """Return everything that decides which kernels the step launches on a GPU, except the lengths of its samples."""
        return (*self.counts, self.part, "mixed" if self.mixed else self.heads)

    @property
    def piece_owners(self) -> Int64 | None:
        """Return the datasets of this worker's samples, in the order of its pieces; None without head corrections."""
        if self.head is None:
            return None
        new = np.full(len(self.batch), self.head)
        parts = [part for each in self.pieces for part in (new[each.new], self.owners[each.replayed])]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def piece_slices(self) -> list[slice]:
        """Return the slice of each piece among this worker's samples."""
        ends = np.cumsum([0, *(len(piece.new) + len(piece.replayed) for piece in self.pieces)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    @property
    def mask_rows(self) -> Int64:
        """Return this worker's samples among the new and then the replayed ones, in the order of its pieces."""
        parts = [part for piece in self.pieces for part in (piece.new, len(self.batch) + piece.replayed)]
        return np.concatenate([np.empty(0, np.int64), *parts])


def batches_of(
    dataset: EncodedDataset, training: TrainingSettings, seed: tuple[int, int, int], pool: int
) -> tuple[list[int], Iterable[Int64], LengthsOf | None]:
    """Return the sizes of an epoch's global batches, their samples, and a function to their lengths if these differ."""
    size, count = training.batch_size, dataset.num_samples("train")
    if pool:
        sizes = batch_sizes(count, size)
        return sizes, pooled_batches(count, pool, size, seed), lambda batch: dataset.lengths("train", batch)
    lengths = dataset.lengths("train")
    batches = epoch_batches(lengths, size, seed, training.shuffle)
    uniform = count == 0 or lengths.min() == lengths.max()
    return [len(batch) for batch in batches], batches, None if uniform else lengths.__getitem__


def no_part(step: int) -> str:  # noqa: ARG001 the same for all steps
    """Return the part of a step if no weight sums are kept."""
    return ""


def steps_of(
    batches: Iterable[Int64],
    drawn: Iterable[tuple[Int64, Int64]],
    lengths_of: LengthsOf | None,
    micro_batch: int,
    group: Group,
    part_of: Callable[[int], str],
    head: Head | Callable[[Int64], Int64] = None,
    threads: int = 1,
) -> Iterator[Step]:
    """Return the steps of an epoch: its global batches of new samples, each with the (owners, samples) that are replayed.

    `part_of` returns the part of a step; `head` is the number of the dataset, or a function to that of each sample, if
    datasets have head corrections. Without `lengths_of` all samples are equally long: equal counts are cut once.
    """
    cut: dict[tuple[int, int], tuple[tuple[Piece, ...], tuple[int, ...]]] = {}
    for number, (batch, (owners, old)) in enumerate(zip(batches, drawn, strict=True)):
        owner = head(batch) if callable(head) else head
        counts = (len(batch), len(old))
        if lengths_of is not None:
            pieces = _worker_pieces(lengths_of(batch), len(old), micro_batch, group, threads)
            yield Step(number, batch, owners, old, pieces, _counts(counts, pieces), part_of(number), owner)
            continue
        if counts not in cut:
            pieces = _worker_pieces(np.ones(len(batch), np.int32), len(old), micro_batch, group, threads)
            cut[counts] = (pieces, _counts(counts, pieces))
        yield Step(number, batch, owners, old, *cut[counts], part_of(number), owner, uniform=True)


def _counts(of_all: tuple[int, int], pieces: tuple[Piece, ...]) -> tuple[int, ...]:
    return (*of_all, *(len(part) for piece in pieces for part in (piece.new, piece.replayed)))


def _worker_pieces(
    lengths: npt.NDArray[np.int32], num_replayed: int, micro_batch: int, group: Group, threads: int
) -> tuple[Piece, ...]:
    """Return this worker's share of the new and replayed samples, as micro-batches that are assigned to threads."""
    count = len(lengths)
    new = np.arange(count)[worker_share(count, group.rank, group.size)]
    replayed = np.arange(num_replayed)[worker_share(num_replayed, group.rank, group.size)]
    cut = max(micro_batch * count // (count + num_replayed), 1)
    pieces = micro_batches(new, lengths[new], cut, threads) or ([new] if len(replayed) else [])
    if len(pieces) == 1:
        return (Piece(pieces[0], replayed),)
    return tuple(map(Piece, pieces, np.array_split(replayed, max(len(pieces), 1)), cycle(range(threads))))
