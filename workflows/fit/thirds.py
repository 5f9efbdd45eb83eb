"""The steps averaged over the last third of a stage, for any number of epochs.

An epoch does not know how many epochs its stage has: "3 epochs" is the beginning of "5 epochs". The last third of n
epochs is the last n // 3 of them and, if n is not a multiple of three, the last third or two thirds of the epoch before.
Epoch e (0, 1, ...) can be that partial epoch for only one n: with its last third if e is even, its last two thirds if e
is odd. So two sums per epoch are enough for every n: over its tail, and over the steps before.
"""

from __future__ import annotations

TAIL, BEFORE = "tail", "before"


def tail_steps(epoch: int, num_steps: int) -> int:
    """Return the number of steps in the tail of epoch 0, 1, ...: a third, or two thirds, rounded, and at least one."""
    return max(((1 + epoch % 2) * num_steps + 1) // 3, 1)


def parts_kept(epoch: int) -> tuple[str, ...]:
    """Return the sums that an epoch keeps: the first two are never averaged as a whole."""
    return (TAIL,) if epoch < 2 else (TAIL, BEFORE)


def averaged_epochs(num_epochs: int) -> list[tuple[int, bool]]:
    """Return the epochs whose steps are averaged at the end of a stage, in order, and whether each counts as a whole."""
    whole, rest = divmod(num_epochs, 3)
    first = num_epochs - whole
    return [*([(first - 1, False)] if rest else []), *((number, True) for number in range(first, num_epochs))]
