from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from cluster.capacity import Capacity, Node, capacity_of, one_node, room_for
from cluster.placement import ComputeSettings, PlacementError, place


def test_auto_takes_a_worker_for_each_gpu() -> None:
    placement = place(ComputeSettings(), one_node(16, 4), 64)
    assert (placement.num_workers, placement.use_gpu) == (4, True)
    assert "4 GPUs" in placement.reason


@pytest.mark.parametrize(("cpus", "batch", "workers"), [(2, 64, 2), (8, 64, 2), (8, 512, 8), (2, 16, 0), (1, 512, 0)])
def test_auto_gives_each_worker_at_least_32_sequences_of_a_batch(cpus: int, batch: int, workers: int) -> None:
    assert place(ComputeSettings(), one_node(cpus), batch).num_workers == workers


def test_more_workers_than_cores_share_them() -> None:
    placement = place(ComputeSettings(num_workers=3), one_node(2), 64)
    assert placement.num_workers * placement.cpus <= 2


def test_elastic_workers_have_bounds_that_rise() -> None:
    placement = place(ComputeSettings(num_workers=[1, 4]), one_node(2), 64)
    assert (placement.num_workers, placement.max_workers, placement.cpus) == (1, 4, 1.0)
    with pytest.raises(ValueError, match=r"\[4, 1\] must rise: write \[1, 4\]"):
        ComputeSettings(num_workers=[4, 1])


@pytest.mark.parametrize(
    ("compute", "resources", "words"),
    [
        (ComputeSettings(num_workers=9), one_node(2), ["9 workers", "2 cores", "8 or fewer"]),
        (ComputeSettings(num_workers=2, use_gpu=True), one_node(8, 1), ["2 GPUs", "there are 1"]),
        (ComputeSettings(num_workers=0, use_gpu=True), one_node(8), ["1 GPUs", "there are 0"]),
    ],
)
def test_too_many_workers_are_refused_with_the_arithmetic(
    compute: ComputeSettings, resources: Capacity, words: list[str]
) -> None:
    with pytest.raises(PlacementError) as caught:
        place(compute, resources, 64)
    for word in words:
        assert word in str(caught.value)


def test_one_worker_of_a_cluster_is_not_this_process() -> None:
    """Place one worker on the cluster, as the head with the job's process may have no free core."""
    assert place(ComputeSettings(), one_node(2), 16, in_process=False).num_workers == 1
    assert place(ComputeSettings(), one_node(4, 1), 64, in_process=False).num_workers == 1
    assert place(ComputeSettings(num_workers=0), one_node(2), 16, in_process=False).num_workers == 0


def nodes(*cores: float, gpus: float = 0.0) -> tuple[Node, ...]:
    return tuple(Node(f"w{number}", each, gpus) for number, each in enumerate(cores, 1))


@pytest.mark.parametrize(
    ("cores", "workers", "share"),
    [((1, 1), 2, 1.0), ((1, 1), 3, 0.5), ((1, 1), 5, 0.3333), ((1, 1), 8, 0.25), ((3, 1), 5, 0.75), ((2, 2, 1), 5, 1.0)],
)
def test_workers_are_placed_node_by_node_not_on_a_pool_of_cores(
    cores: tuple[float, ...], workers: int, share: float
) -> None:
    """Place three workers on two nodes of one core: with 2/3 of a core each, the third would fit on neither node."""
    placement = place(ComputeSettings(num_workers=workers), Capacity(nodes(*cores)), 64)
    assert placement.cpus == share
    assert room_for(nodes(*cores), placement.cpus) >= workers
    assert ("of one" in placement.reason) == (share < 1)


def test_more_workers_than_the_nodes_take_are_refused_with_what_each_node_has() -> None:
    with pytest.raises(PlacementError, match=r"9 workers do not fit on 2 cores \(w1 1, w2 1\).*write num_workers = 8 or"):
        place(ComputeSettings(num_workers=9), Capacity(nodes(1, 1)), 64)


@hypothesis.given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 40))
def test_a_placement_fits_node_by_node_and_a_refused_one_would_not_fit_in_quarters(cores: list[int], workers: int) -> None:
    cluster_nodes = nodes(*map(float, cores))
    try:
        placement = place(ComputeSettings(num_workers=workers), Capacity(cluster_nodes), 64, in_process=False)
    except PlacementError:
        assert sum(4 * each for each in cores) < workers
    else:
        assert sum(int(each / placement.cpus + 1e-3) for each in cores) >= workers
        assert 0.25 <= placement.cpus <= 1


def described(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.9", "Alive": alive, "Resources": resources}


def test_a_cluster_that_may_grow_takes_workers_before_their_machines_are_there() -> None:
    cluster_nodes = [described("head", CPU=0.0), described("gone", alive=False, CPU=64.0)]
    environment = {"LSTM_RELAY_GROWS_TO_CPUS": "16", "LSTM_RELAY_GROWS_TO_GPUS": "many"}
    growing, fixed = capacity_of(cluster_nodes, environment, {}), capacity_of(cluster_nodes, {}, {})
    assert (growing.cores, growing.gpus, growing.grows) == (16, 0, True)
    assert (fixed.cores, fixed.grows) == (0, False)
    assert capacity_of(cluster_nodes, {}, {"CPU": 8.0}).cores == 8  # as Ray's autoscaler says
    assert not capacity_of([described("large", CPU=32.0)], environment, {}).grows
    assert place(ComputeSettings(num_workers=16), growing, 64, in_process=False).cpus == 1.0
    with pytest.raises(PlacementError):
        place(ComputeSettings(num_workers=16), fixed, 64, in_process=False)


def test_auto_counts_gpus_that_are_still_to_be_added() -> None:
    growing = capacity_of([described("head", CPU=0.0)], {"LSTM_RELAY_GROWS_TO_GPUS": "4"}, {})
    placement = place(ComputeSettings(), growing, 64, in_process=False)
    assert (placement.num_workers, placement.use_gpu, placement.cpus) == (4, True, 1.0)


@pytest.mark.parametrize(
    ("asked", "nodes", "hidden", "cpus"),
    [
        ({"num_workers": 2}, [8], 32, 1.0),  # a small model keeps one core busy
        ({"num_workers": 2}, [8], 64, 2.0),
        ({"num_workers": 2}, [8], 256, 4.0),
        ({"num_workers": 3}, [8], 256, 2.0),
        ({"num_workers": 2}, [2, 2], 512, 2.0),  # a worker runs on one node
        ({"num_workers": 8}, [8], 512, 1.0),
        ({"num_workers": 2, "cpus_per_worker": 3}, [8], 8, 3.0),
        ({"num_workers": 0, "cpus_per_worker": 3}, [8], 8, 3.0),
        ({"num_workers": 2, "cpus_per_worker": 1}, [8], 512, 1.0),
        ({"num_workers": [1, 2]}, [8], 512, 1.0),
    ],
)
def test_a_worker_gets_several_cores_where_they_are_idle_or_asked_for(
    asked: dict[str, object], nodes: list[int], hidden: int, cpus: float
) -> None:
    capacity = Capacity(tuple(Node(f"n{number}", float(cores)) for number, cores in enumerate(nodes)))
    placement = place(ComputeSettings.model_validate(asked), capacity, 64, hidden_size=hidden)
    assert placement.cpus == cpus


def test_auto_workers_with_several_cores_each_are_fewer() -> None:
    placement = place(ComputeSettings(cpus_per_worker=4), one_node(8), 512)
    assert (placement.num_workers, placement.cpus) == (2, 4.0)


def test_more_cores_than_a_node_has_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(PlacementError, match=r"cpus_per_worker = 3: 2 workers with 3 cores each do not fit on 4 cores"):
        place(ComputeSettings(num_workers=2, cpus_per_worker=3), Capacity((Node("a", 2.0), Node("b", 2.0))), 64)
