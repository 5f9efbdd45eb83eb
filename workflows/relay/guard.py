"""The guard: whether a dataset has spoilt an earlier one, and which attempt at it is kept. It decides; the relay acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workflows.relay.metrics import Row, mean_of, scaled

if TYPE_CHECKING:
    from workflows.relay.plan import Plan


@dataclass(frozen=True)
class Breach:
    """The earlier dataset whose error rose the most, with its errors before and after; `others` rose too far as well."""

    dataset: int
    before: float
    after: float
    rise: float
    others: int


@dataclass(frozen=True)
class Attempt:
    """One attempt at a stage: the rate it began with, its state, all errors after it, and the mean over those seen."""

    learning_rate: float
    strength: float
    key: str
    breach: Breach | None
    mean_scaled_error: float | None


@dataclass(frozen=True)
class Verdict:
    """What the guard came to at a stage that raised an earlier dataset's error by more than the tolerance."""

    stage: int
    action: str  # warn, stop, retry: as the recipe has it
    attempts: tuple[Attempt, ...]
    kept: int  # the number of the attempt that the run goes on from; with "stop" it does not go on


def find_breach(before: Row, after: Row, earlier: Sequence[int], tolerance: float, classes: bool) -> Breach | None:
    """The worst rise of an earlier dataset's error beyond the tolerance, None where there is none.

    A rise is a share of the error before; for classes, whose error is a share already, the difference.
    """
    found = []
    for dataset in sorted(set(earlier)):
        old, new = before[dataset], after[dataset]
        if old is None or new is None:
            continue
        rise = new - old if classes else (new - old) / max(old, 1e-12)
        if rise > tolerance:
            found.append((rise, dataset, old, new))
    if not found:
        return None
    rise, dataset, old, new = max(found, key=lambda each: (each[0], -each[1]))
    return Breach(dataset, old, new, rise, len(found) - 1)


def seen_error(after: Row, seen: Sequence[int], naive: Sequence[float | None]) -> float | None:
    """The mean error over the datasets seen so far, each in units of its naive forecast's where that is known."""
    errors = [(after[place], naive[place]) for place in sorted(set(seen))]
    return mean_of([scaled(error, base) if base else error for error, base in errors])


def best_attempt(attempts: Sequence[Attempt]) -> int:
    """The first attempt without a breach; else the one with the lowest mean error, the first of equals."""
    for number, attempt in enumerate(attempts):
        if attempt.breach is None:
            return number
    known = [(a.mean_scaled_error, number) for number, a in enumerate(attempts) if a.mean_scaled_error is not None]
    return min(known)[1] if known else 0


def words_of(verdict: Verdict, plan: Plan) -> dict[str, Any]:
    """A verdict as result.json and the events have it, with names instead of numbers."""
    names = [dataset.name for dataset in plan.datasets]

    def rise(breach: Breach | None) -> dict[str, Any] | None:
        return None if breach is None else {**asdict(breach), "dataset": names[breach.dataset]}

    return {
        "stage": verdict.stage,
        "dataset": names[plan.stages[verdict.stage].dataset],
        "action": verdict.action,
        "retry": plan.guard.retry,
        "tolerance": plan.guard.tolerance,
        "attempts": [
            {
                "learning_rate": attempt.learning_rate,
                "strength": attempt.strength,
                "key": attempt.key,
                "mean_scaled_error": attempt.mean_scaled_error,
                "rise": rise(attempt.breach),
            }
            for attempt in verdict.attempts
        ],
        "kept": verdict.kept + 1,
    }


def sentence_of(words: dict[str, Any], over: bool = True) -> str:
    """What a person reads of a verdict: which dataset did what to which, in numbers, and what is done about it."""
    attempts, again = words["attempts"], words["action"] == "retry"
    kept = attempts[words["kept"] - 1]
    told = kept if over else attempts[-1]
    told = told if told["rise"] else attempts[0]
    worst = told["rise"]
    more = f" (and of {worst['others']} more)" if worst["others"] else ""
    who = f"attempt {attempts.index(told) + 1} at {words['dataset']}" if again else words["dataset"]
    text = (
        f"{who} raised the error of {worst['dataset']}{more} from {worst['before']:.4f} to "
        f"{worst['after']:.4f}, more than tolerance = {words['tolerance']:g} allows"
    )
    if words["action"] == "warn":
        return text
    if words["action"] == "stop":
        return f"{text}: stopped, the run stands before {words['dataset']}"
    if not over:
        number, last = len(attempts) + 1, attempts[-1]
        how = (
            f"strength {2 * last['strength']:g}"
            if words["retry"] == "retention"
            else f"rate {last['learning_rate'] / 2:.2g}"
        )
        return f"{text}: trying attempt {number} with {how}"
    errors = ", ".join("-" if a["mean_scaled_error"] is None else f"{a['mean_scaled_error']:.4f}" for a in attempts)
    how = f"rate {kept['learning_rate']:.2g}, strength {kept['strength']:g}"
    better = "" if kept["rise"] else ": it raises none so far"
    return f"{text}: attempt {words['kept']} of {len(attempts)} is kept ({how}; mean errors {errors}){better}"
