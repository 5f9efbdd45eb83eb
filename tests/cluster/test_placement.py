from __future__ import annotations

import pytest

from cluster.connect import grown
from cluster.placement import ComputeSettings, PlacementError, place


def test_auto_takes_a_worker_for_each_gpu() -> None:
    placement = place(ComputeSettings(), {"CPU": 16, "GPU": 4}, 64)
    assert (placement.num_workers, placement.use_gpu) == (4, True)
    assert "4 GPUs" in placement.reason


@pytest.mark.parametrize(("cpus", "batch", "workers"), [(2, 64, 2), (8, 64, 2), (8, 512, 8), (2, 16, 0), (1, 512, 0)])
def test_auto_gives_each_worker_at_least_32_sequences_of_a_batch(cpus: int, batch: int, workers: int) -> None:
    assert place(ComputeSettings(), {"CPU": cpus}, batch).num_workers == workers


def test_more_workers_than_cores_share_them() -> None:
    placement = place(ComputeSettings(num_workers=3), {"CPU": 2}, 64)
    assert placement.num_workers * placement.cpus <= 2


def test_elastic_workers_have_bounds_that_rise() -> None:
    placement = place(ComputeSettings(num_workers=[1, 4]), {"CPU": 2}, 64)
    assert (placement.num_workers, placement.max_workers, placement.cpus) == (1, 4, 1.0)
    with pytest.raises(ValueError, match=r"\[4, 1\] must rise: write \[1, 4\]"):
        ComputeSettings(num_workers=[4, 1])


@pytest.mark.parametrize(
    ("compute", "resources", "words"),
    [
        (ComputeSettings(num_workers=9), {"CPU": 2}, ["9 workers", "2 cores", "8 or fewer"]),
        (ComputeSettings(num_workers=2, use_gpu=True), {"CPU": 8, "GPU": 1}, ["2 GPUs", "there are 1"]),
        (ComputeSettings(num_workers=0, use_gpu=True), {"CPU": 8}, ["1 GPUs", "there are 0"]),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(
    compute: ComputeSettings, resources: dict[str, float], words: list[str]
) -> None:
    with pytest.raises(PlacementError) as caught:
        place(compute, resources, 64)
    for word in words:
        assert word in str(caught.value)


def test_one_worker_of_a_cluster_is_not_this_process() -> None:
    """The head of a cluster, where the job's own process runs, may have no core for work."""
    assert place(ComputeSettings(), {"CPU": 2}, 16, here=False).num_workers == 1
    assert place(ComputeSettings(), {"CPU": 4, "GPU": 1}, 64, here=False).num_workers == 1
    assert place(ComputeSettings(num_workers=0), {"CPU": 2}, 16, here=False).num_workers == 0


def test_a_cluster_that_may_grow_takes_workers_before_their_machines_are_there() -> None:
    there = {"CPU": 0.0, "memory": 5.0}
    environment = {"LSTM_RELAY_GROWS_TO_CPUS": "16", "LSTM_RELAY_GROWS_TO_GPUS": "many"}
    assert grown(there, environment) == {"CPU": 16.0, "memory": 5.0}
    assert grown({"CPU": 32.0}, environment) == {"CPU": 32.0}
    assert grown(there, {}) == there
    assert place(ComputeSettings(num_workers=16), grown(there, environment), 64, here=False).cpus == 1.0
    with pytest.raises(PlacementError):
        place(ComputeSettings(num_workers=16), grown(there, {}), 64, here=False)
