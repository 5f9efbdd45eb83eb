"""The order of the samples: each once per epoch, and the same for any number of workers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workflows.fit.sampling import (
    POOL_BATCHES,
    POOL_BLOCKS,
    batch_sizes,
    epoch_batches,
    micro_batches,
    pooled_batches,
    worker_share,
)

lengths_of_samples = st.one_of(
    st.lists(st.integers(1, 40), max_size=300),
    st.builds(lambda count, length: [length] * count, st.integers(0, 300), st.integers(1, 9)),
).map(lambda lengths: np.array(lengths, np.int32))
batch_sizes_ = st.integers(1, 70)
seeds = st.tuples(st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 99))


@given(lengths_of_samples, batch_sizes_, seeds, st.booleans())
def test_every_sample_is_in_exactly_one_batch_of_an_epoch(
    lengths: np.ndarray, batch_size: int, seed: tuple[int, int, int], shuffle: bool
) -> None:
    batches = epoch_batches(lengths, batch_size, seed, shuffle)
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *batches]), minlength=len(lengths))
    assert counts.tolist() == [1] * len(lengths)
    assert len(batches) == -(-len(lengths) // batch_size)
    smaller = [len(batch) for batch in batches if len(batch) != batch_size]
    assert smaller == ([len(lengths) % batch_size] if len(lengths) % batch_size else [])


@given(lengths_of_samples, batch_sizes_, seeds)
def test_the_order_follows_from_seed_stage_and_epoch_alone(
    lengths: np.ndarray, batch_size: int, seed: tuple[int, int, int]
) -> None:
    first, again = (epoch_batches(lengths, batch_size, seed) for _ in range(2))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]


def test_each_seed_stage_and_epoch_has_another_order() -> None:
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    for lengths in (np.full(50, 7, np.int32), np.arange(1, 51, dtype=np.int32)):
        orders = {tuple(np.concatenate(epoch_batches(lengths, 8, seed)).tolist()) for seed in seeds}
        assert len(orders) == len(seeds)


def test_the_order_is_the_one_that_the_checkpoints_of_a_store_were_trained_in() -> None:
    # Another order under the same key would mix two kinds of epochs: raise plan.CHAIN_FORMAT if this has to change.
    equal = epoch_batches(np.full(7, 3, np.int32), 3, (5, 1, 2))
    varied = epoch_batches(np.array([4, 9, 2, 7, 5, 3, 8], np.int32), 3, (5, 1, 3))
    assert [batch.tolist() for batch in equal] == [[1, 6, 2], [5, 0, 4], [3]]
    assert [batch.tolist() for batch in varied] == [[2, 5, 0], [1], [4, 3, 6]]


def test_without_shuffling_the_samples_keep_their_order() -> None:
    for lengths in (np.full(8, 5, np.int32), np.array([3, 1, 2, 9, 1, 4, 4, 2], np.int32)):
        batches = epoch_batches(lengths, 3, (0, 0, 0), shuffle=False)
        assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_every_position_is_equally_likely_for_every_sample() -> None:
    orders = np.array([np.concatenate(epoch_batches(np.full(6, 4, np.int32), 2, (s, 0, 0))) for s in range(3000)])
    for position in range(6):
        counts = np.bincount(orders[:, position], minlength=6)
        assert np.abs(counts - 500).max() < 110  # five standard deviations of a fair draw


def test_samples_of_similar_length_share_a_batch_and_the_batches_are_mixed() -> None:
    lengths = np.random.default_rng(0).integers(5, 200, 2000).astype(np.int32)
    batches = epoch_batches(lengths, 16, (0, 0, 0))
    padding = sum(len(batch) * int(lengths[batch].max()) for batch in batches) / int(lengths.sum()) - 1
    as_they_come = epoch_batches(lengths, 16, (0, 0, 0), shuffle=False)
    unsorted = sum(len(batch) * int(lengths[batch].max()) for batch in as_they_come) / int(lengths.sum()) - 1
    assert padding < 0.1 < 0.5 < unsorted
    means = [float(lengths[batch].mean()) for batch in batches[:POOL_BATCHES]]
    assert means != sorted(means)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.5


@given(st.integers(0, 500), st.integers(1, 17))
def test_the_workers_share_every_batch_in_order_and_evenly(count: int, num_workers: int) -> None:
    shares = [np.arange(count)[worker_share(count, rank, num_workers)] for rank in range(num_workers)]
    assert np.concatenate(shares).tolist() == list(range(count))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(lengths_of_samples, st.integers(1, 64))
def test_micro_batches_have_every_sample_once_in_even_sizes_sorted_by_length(lengths: np.ndarray, size: int) -> None:
    samples = np.random.default_rng(0).permutation(10 * len(lengths))[: len(lengths)]
    pieces = micro_batches(samples, lengths, size)
    assert sorted(sample for piece in pieces for sample in piece.tolist()) == sorted(samples.tolist())
    assert len(pieces) == -(-len(samples) // size)
    sizes = [len(piece) for piece in pieces]
    assert max(sizes, default=0) <= size
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    length_of = dict(zip(samples.tolist(), lengths.tolist(), strict=True))
    in_turn = [length_of[sample] for piece in pieces for sample in piece.tolist()]
    assert in_turn == sorted(in_turn)


def test_micro_batches_of_equal_lengths_keep_the_order() -> None:
    samples = np.array([5, 3, 9, 1, 7])
    pieces = micro_batches(samples, np.full(5, 8, np.int32), 2)
    assert np.concatenate(pieces).tolist() == samples.tolist()


@given(st.integers(0, 900), st.integers(1, 400), batch_sizes_, seeds)
def test_a_pooled_order_brings_each_sample_once_in_full_batches(
    count: int, pool: int, batch_size: int, seed: tuple[int, int, int]
) -> None:
    batches = [batch.tolist() for batch in pooled_batches(count, pool, batch_size, seed)]
    assert [len(batch) for batch in batches] == batch_sizes(count, batch_size)
    assert sorted(sample for batch in batches for sample in batch) == list(range(count))
    assert batches == [batch.tolist() for batch in pooled_batches(count, pool, batch_size, seed)]


def test_a_pooled_order_mixes_well_inside_a_pool_and_reads_few_stretches_at_a_time() -> None:
    order = np.concatenate(list(pooled_batches(64_000, 6_400, 50, (0, 0, 0))))
    block = 6_400 // POOL_BLOCKS
    for start in range(0, 64_000, 6_400):
        assert len(set((order[start : start + 6_400] // block).tolist())) == POOL_BLOCKS
    first = order[:6_400]
    assert abs(float(np.corrcoef(first[:-1], first[1:])[0, 1])) < 0.05
    assert len(set((order[:6_400] // 6_400).tolist())) > 3  # from all over the dataset
    other = np.concatenate(list(pooled_batches(64_000, 6_400, 50, (0, 0, 1))))
    assert not np.array_equal(order, other)
