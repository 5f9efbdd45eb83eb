"""Which steps the mean over the last third of a stage's steps is taken from, whatever the number of its epochs.

How many epochs a stage has is not known to its epochs: "3 epochs" is the beginning of "5 epochs". The last third of n
epochs is the last n // 3 of them and, where n is no multiple of three, the last third or two thirds of the epoch before.
Epoch e (0, 1, ...) can only be that partial one for one n, with its last third where e is even and its last two thirds
where e is odd. So two sums an epoch are enough for every n: over its tail, and over the steps before.
"""

from __future__ import annotations

TAIL, BEFORE = "tail", "before"


def tail_steps(epoch: int, num_steps: int) -> int:
    """Return the steps of the tail of epoch 0, 1, ...: a third of them, or two thirds, rounded, and at least one."""
    return max(((1 + epoch % 2) * num_steps + 1) // 3, 1)


def parts_kept(epoch: int) -> tuple[str, ...]:
    """Return the sums that an epoch keeps: the first two are averaged as a whole in no stage."""
    return (TAIL,) if epoch < 2 else (TAIL, BEFORE)


def averaged_epochs(num_epochs: int) -> list[tuple[int, bool]]:
    """The epochs whose steps are averaged at the end of a stage, in order, and whether each is so as a whole or its tail."""
    whole, rest = divmod(num_epochs, 3)
    first = num_epochs - whole
    return [*([(first - 1, False)] if rest else []), *((number, True) for number in range(first, num_epochs))]
