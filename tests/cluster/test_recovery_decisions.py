"""Decisions when workers cannot start or were lost, without a cluster."""

from __future__ import annotations

import pytest

from cluster.capacity import Capacity, Node
from cluster.placement import Placement
from cluster.recovery import (
    GROWTH_LIMIT_S,
    MAX_LOSSES,
    MAX_TAKEN,
    ROOM_LIMIT_S,
    GiveUp,
    Loss,
    Start,
    Wait,
    after_loss,
    after_taken,
    after_wait,
    find_loss,
    first_step,
    reconsider,
    waiting_words,
    what_fits,
)

TWO = Placement(2, 2, False, 1.0, "num_workers = 2")
ELASTIC = Placement(1, 4, False, 1.0, "num_workers = [1, 4]")
W1, W2 = Node("w1 (10.0.0.1)", 1.0), Node("w2 (10.0.0.2)", 1.0)


def test_a_run_waits_longer_for_machines_that_are_still_to_be_added() -> None:
    assert first_step(TWO, Capacity((W1, W2))) == Wait(2, ROOM_LIMIT_S)
    growing = Capacity((W1,), grows_to_cores=8)
    assert first_step(TWO, growing) == Wait(2, GROWTH_LIMIT_S, shrinks=False)
    assert reconsider(TWO, first_step(TWO, growing), growing) == first_step(TWO, growing)


def test_a_wait_shrinks_when_ray_learns_that_a_node_is_lost_and_grows_when_it_is_back() -> None:
    """Reconsider a wait: workers see a broken connection before Ray knows that the node is dead."""
    wait = after_loss(TWO, Capacity((W1, W2)), Loss("the connection to a worker broke"), 1)
    assert wait == Wait(2, ROOM_LIMIT_S)
    assert isinstance(wait, Wait)
    shrunk = reconsider(TWO, wait, Capacity((W1,)))
    assert shrunk == Wait(1, ROOM_LIMIT_S)
    assert reconsider(TWO, shrunk, Capacity((W1, W2))) == wait
    assert reconsider(TWO, wait, Capacity(())) == wait  # no node is left: wait for one


def test_a_fixed_number_of_workers_goes_on_with_fewer_and_may_grow_back() -> None:
    assert after_loss(TWO, Capacity((W1,)), Loss("the node was lost", W2.name), 1) == Wait(1, ROOM_LIMIT_S)
    start = after_wait(TWO, Wait(1, ROOM_LIMIT_S), (), 0.5, is_free=True)
    assert isinstance(start, Start)
    assert (start.num_workers, start.max_workers) == (1, 2)
    assert "going on with 1 of 2 workers" in start.words
    assert after_wait(TWO, Wait(2, ROOM_LIMIT_S), (), 0.5, is_free=True) == Start(2, 2)
    assert after_wait(ELASTIC, Wait(1, ROOM_LIMIT_S), (), 0.5, is_free=True) == Start(1, 4)


WIDE = Placement(3, 3, False, 4.0, "num_workers = 3; 4 cores each")


@pytest.mark.parametrize(
    ("cores", "num_workers", "cpus"),
    [
        ((4.0, 4.0), 2, 4.0),  # workers of their own size come first
        ((8.0, 2.0), 2, 4.0),
        ((3.0, 2.0), 1, 3.0),  # not one fits: they get fewer cores
        ((1.0, 1.0), 2, 1.0),
        ((2.0,) * 4, 3, 2.0),  # no more workers than the run was given
        ((0.5,), 0, 4.0),
    ],
)
def test_workers_of_several_cores_go_on_as_fewer_or_with_fewer_cores(
    cores: tuple[float, ...], num_workers: int, cpus: float
) -> None:
    nodes = tuple(Node(f"w{n}", each) for n, each in enumerate(cores))
    assert what_fits(WIDE, nodes) == (num_workers, cpus)
    wait = after_loss(WIDE, Capacity(nodes), Loss("the node was lost"), 1)
    assert wait == Wait(num_workers or 3, ROOM_LIMIT_S, cpus=cpus)
    assert isinstance(wait, Wait)
    start = after_wait(WIDE, wait, nodes, 0.5, is_free=num_workers > 0)
    if num_workers == 0:
        assert isinstance(start, GiveUp)
        return
    assert isinstance(start, Start)
    assert (start.num_workers, start.max_workers, start.cpus) == (num_workers, 3, cpus)
    assert (f"{cpus:g} of 4 cores each" in start.words) == (cpus < 4)
    assert reconsider(WIDE, wait, Capacity((Node("w9", 12.0),))) == Wait(3, ROOM_LIMIT_S, cpus=4.0)


def test_a_wait_that_times_out_starts_on_the_free_cores_or_gives_up() -> None:
    busy = Node("w2 (10.0.0.2)", 0.0)
    start = after_wait(TWO, Wait(2, ROOM_LIMIT_S), (W1, busy), 600, is_free=False)
    assert isinstance(start, Start)
    assert start.num_workers == 1
    over = after_wait(TWO, Wait(2, ROOM_LIMIT_S), (busy,), 600, is_free=False)
    assert over == GiveUp("after 600 s there is no room for a worker of 1 core: no core is free")


def test_losses_without_an_epoch_in_between_end_the_run_with_the_last_reason() -> None:
    loss = Loss("out of memory", W1.name)
    assert after_loss(TWO, Capacity((W1, W2)), loss, MAX_LOSSES) == Wait(2, ROOM_LIMIT_S)
    over = after_loss(TWO, Capacity((W1, W2)), loss, MAX_LOSSES + 1)
    assert isinstance(over, GiveUp)
    assert over.why.endswith("4 times in a row without finishing an epoch, last: w1 (10.0.0.1): out of memory")


def test_a_run_without_a_node_waits_for_one() -> None:
    assert after_loss(TWO, Capacity(()), Loss("the node was lost"), 1) == Wait(2, ROOM_LIMIT_S)
    growing = Capacity((), grows_to_cores=4)
    assert after_loss(TWO, growing, Loss("the node was lost"), 1) == Wait(2, GROWTH_LIMIT_S)


def test_a_run_waits_again_for_cores_that_were_taken_but_not_for_ever() -> None:
    assert after_taken(TWO, Capacity((W1, W2)), MAX_TAKEN) == Wait(2, ROOM_LIMIT_S)
    assert after_taken(TWO, Capacity((W1,)), 1) == Wait(1, ROOM_LIMIT_S)
    over = after_taken(TWO, Capacity((W1, W2)), MAX_TAKEN + 1)
    assert over == GiveUp("the room for the workers was taken 16 times before they could start")


NAMES = [W1.name, W2.name]


@pytest.mark.parametrize(
    ("failures", "message", "hopeless"),
    [
        (
            {0: "RuntimeError: Connection closed by peer [10.0.0.2]", 1: "OutOfMemoryError: ..."},
            "w2 (10.0.0.2): out of memory",
            False,
        ),
        ({1: "ActorDiedError: The actor died because its node has died."}, "w2 (10.0.0.2): the node was lost", False),
        (
            {0: "ActorDiedError: The actor is dead because its worker process has died."},
            "w1 (10.0.0.1): a worker process died",
            False,
        ),
        (
            {1: "OSError: [Errno 28] No space left on device: '/c/x'"},
            "w2 (10.0.0.2): OSError: [Errno 28] No space left on device: '/c/x': free disk space there",
            True,
        ),
        (
            {0: "ModuleNotFoundError: No module named 'safetensors'"},
            "w1 (10.0.0.1): ModuleNotFoundError: No module named 'safetensors'",
            True,
        ),
        ({0: "ValueError: first\nValueError: last"}, "w1 (10.0.0.1): ValueError: last", False),
        (
            {0: "RuntimeError: [gloo/tcp/pair.cc:537] Read error [10.0.0.2]:10977: Connection reset by peer."},
            "w2 (10.0.0.2): the connection to a worker broke",
            False,
        ),
        (
            {1: "Traceback ...\nRuntimeError: OSError: [Errno 28] No space left on device [on node w2 (1)]"},
            "w2 (1): OSError: [Errno 28] No space left on device: free disk space there",
            True,
        ),
        ({}, "a worker ended without an error message", False),
    ],
)
def test_the_cause_of_a_loss_and_its_node_are_named(failures: dict[int, str], message: str, hopeless: bool) -> None:
    loss = find_loss(failures, NAMES)
    assert message in loss.words()
    assert loss.hopeless == hopeless


def test_a_node_that_has_gone_is_the_cause_whatever_the_workers_say() -> None:
    assert find_loss({0: "RuntimeError: anything"}, NAMES, gone=[W2.name]) == Loss("the node was lost", W2.name)


def test_a_loss_that_a_retry_cannot_help_ends_the_run_at_once() -> None:
    over = after_loss(TWO, Capacity((W1, W2)), Loss("No space left on device", W2.name, hopeless=True), 1)
    assert over == GiveUp("w2 (10.0.0.2): No space left on device")


def test_the_message_of_a_wait_has_its_reason_and_duration() -> None:
    words = waiting_words(TWO, Wait(2, ROOM_LIMIT_S), (W1,), Capacity((W1, W2), grows_to_cores=16), 30.2)
    assert words == (
        "waiting for room for 2 workers of 1 core since 30 s: the nodes have w1 (10.0.0.1) 1, w2 (10.0.0.2) 1 in all, cores "
        "w1 (10.0.0.1) 1 free; the cluster may grow to 16 cores"
    )
