"""The order of the samples of an epoch, the same on any number of workers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
POOL_BATCHES = 32  # batches sorted by length together
POOL_BLOCKS = 16  # runs of neighbouring samples in a pool


def epoch_batches(
    lengths: npt.NDArray[np.int32], batch_size: int, seed: tuple[int, int, int], shuffle: bool = True
) -> list[Int64]:
    """Return the samples of every global batch of an epoch: each sample once, one batch may be smaller than the others.

    One permutation seeded from (seed, stage, epoch). If lengths differ, samples of similar length share
    a batch, within pools of 32 batches, and the batches are shuffled again.
    """
    if not shuffle:
        return _cut(np.arange(len(lengths)), batch_size)
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    if len(lengths) == 0 or int(lengths.min()) == int(lengths.max()):
        return _cut(order, batch_size)
    pools = _cut(order, POOL_BATCHES * batch_size)
    batches = [batch for pool in pools for batch in _cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def pooled_batches(count: int, pool: int, batch_size: int, seed: tuple[int, int, int]) -> Iterator[Int64]:
    """Return the global batches of an epoch over `count` samples, of which about `pool` are shuffled at a time.

    Each sample once; all batches but the last are full. Runs of neighbouring samples, 16 to a pool, follow each other in
    random order, and the samples of a pool are permuted: the disk reads a few long stretches per pool, and only the order
    of the runs grows with the dataset.
    """
    random = np.random.default_rng(seed)
    size = max(pool // POOL_BLOCKS, 1)
    starts = random.permutation(np.arange(0, count, size))
    left = np.empty(0, np.int64)
    for first in range(0, len(starts), POOL_BLOCKS):
        blocks = [np.arange(start, min(start + size, count)) for start in starts[first : first + POOL_BLOCKS]]
        order = np.concatenate([left, random.permutation(np.concatenate(blocks))])
        full = len(order) // batch_size * batch_size
        yield from order[:full].reshape(-1, batch_size)
        left = order[full:]
    if len(left):
        yield left


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of an epoch, the smaller one last."""
    return [batch_size] * (count // batch_size) + ([count % batch_size] if count % batch_size else [])


def _cut(order: Int64, size: int) -> list[Int64]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def worker_share(count: int, rank: int, num_workers: int) -> slice:
    """Return the slice of a global batch (or any list) of `count` that one worker takes: contiguous, sizes within one."""
    return slice(rank * count // num_workers, (rank + 1) * count // num_workers)


def micro_batches(samples: Int64, lengths: npt.NDArray[np.int32], size: int, multiple: int = 1) -> list[Int64]:
    """Cut samples into pieces of at most `size`, nearly equal, with similar lengths together.

    The number of pieces is rounded up to a multiple of `multiple`, if there are enough samples.
    """
    if not len(samples):
        return []
    if int(lengths.min()) != int(lengths.max()):
        samples = samples[np.argsort(lengths, kind="stable")]
    count = min(-(-len(samples) // (size * multiple)) * multiple, len(samples))
    return [samples] if count == 1 else [np.asarray(piece) for piece in np.array_split(samples, count)]
