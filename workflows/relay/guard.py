"""The guard: decides whether a stage has worsened an earlier dataset, and which attempt at it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflows.relay.metrics import Row, mean_of, scaled

if TYPE_CHECKING:
    from workflows.relay.plan import Plan


@dataclass(frozen=True)
class Breach:
    """The earlier dataset whose error rose most, with its errors before and after; `others` more rose too far.

    If the guard compares losses, `errors` are the two errors of the error matrix.
    """

    dataset: int
    before: float
    after: float
    rise: float
    others: int
    errors: tuple[float, float] | None = None


@dataclass(frozen=True)
class Attempt:
    """One attempt at a stage: its first rate, its state, and the mean error over the datasets seen so far.

    `mean_loss` is their mean loss if the guard watches the loss.
    """

    learning_rate: float
    strength: float
    key: str
    breach: Breach | None
    mean_scaled_error: float | None
    mean_loss: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The guard's decision at a stage that raised an earlier dataset's error by more than the tolerance."""

    stage: int
    action: str  # warn, stop or retry, from the recipe
    attempts: tuple[Attempt, ...]
    kept: int  # number of the attempt that the run continues from; with "stop" it ends


def find_breach(
    before: Row, after: Row, earlier: Sequence[int], tolerance: float, in_points: bool, floor: float = 0.0
) -> Breach | None:
    """Return the largest rise of an earlier dataset's error (or loss) above the tolerance; None if no rise is above it.

    A rise is relative to the error before, both errors being taken as at least `floor`; with `in_points` (shares of wrong
    classes) it is their difference.
    """
    breaches = []
    for dataset in sorted(set(earlier)):
        old, new = before[dataset], after[dataset]
        if old is None or new is None:
            continue
        rise = new - old if in_points else (max(new, floor) - max(old, floor)) / max(old, floor, 1e-12)
        if rise > tolerance:
            breaches.append((rise, dataset, old, new))
    if not breaches:
        return None
    rise, dataset, old, new = max(breaches, key=lambda each: (each[0], -each[1]))
    return Breach(dataset, old, new, rise, len(breaches) - 1)


def seen_error(after: Row, seen: Sequence[int], naive: Sequence[float | None]) -> float | None:
    """Return the mean error over the datasets seen so far, relative to the naive forecast if that is known."""
    errors = [(after[index], naive[index]) for index in sorted(set(seen))]
    return mean_of([scaled(error, base) if base else error for error, base in errors])


def best_attempt(attempts: Sequence[Attempt]) -> int:
    """Return the first attempt without a breach, otherwise the one with the lowest mean error (or loss)."""
    for number, attempt in enumerate(attempts):
        if attempt.breach is None:
            return number
    means = [a.mean_scaled_error if a.mean_loss is None else a.mean_loss for a in attempts]
    known = [(mean, number) for number, mean in enumerate(means) if mean is not None]
    return min(known)[1] if known else 0


@dataclass(frozen=True)
class Rise:
    """The earlier dataset whose error rose most, by name; `others` more rose too far. See Breach."""

    dataset: str
    before: float
    after: float
    rise: float
    others: int
    errors: tuple[float, float] | None = None


@dataclass(frozen=True)
class AttemptReport:
    """One attempt at a stage, for result.json; `rise` is None if no error rose too far."""

    learning_rate: float
    strength: float
    key: str
    mean_scaled_error: float | None
    rise: Rise | None
    mean_loss: float | None = None


@dataclass(frozen=True)
class GuardReport:
    """A verdict for result.json and the events: names instead of numbers. `kept` counts from 1."""

    stage: int
    dataset: str
    action: str
    retry: str
    tolerance: float
    attempts: tuple[AttemptReport, ...]
    kept: int
    monitor: str = "error"  # what was compared; earlier results lack it


def report_of(verdict: Verdict, plan: Plan) -> GuardReport:
    """Return a verdict with the names of the datasets."""
    names = [dataset.name for dataset in plan.datasets]

    def rise_of(breach: Breach | None) -> Rise | None:
        if breach is None:
            return None
        return Rise(names[breach.dataset], breach.before, breach.after, breach.rise, breach.others, breach.errors)

    attempts = tuple(
        AttemptReport(
            each.learning_rate, each.strength, each.key, each.mean_scaled_error, rise_of(each.breach), each.mean_loss
        )
        for each in verdict.attempts
    )
    dataset = names[plan.stages[verdict.stage].dataset]
    guard = plan.guard
    kept = verdict.kept + 1
    return GuardReport(verdict.stage, dataset, verdict.action, guard.retry, guard.tolerance, attempts, kept, plan.monitor)


def sentence_of(report: GuardReport, over: bool = True) -> str:
    """Return a verdict in words: the dataset that raised an error, by how much, and what follows."""
    attempts, again = report.attempts, report.action == "retry"
    kept = attempts[report.kept - 1]
    shown = kept if over else attempts[-1]
    shown = shown if shown.rise else attempts[0]
    worst = shown.rise
    assert worst is not None  # a verdict has at least one attempt that raised an error too far
    more = f" (and of {worst.others} more)" if worst.others else ""
    in_table = "" if worst.errors is None else f" (its error from {worst.errors[0]:.4f} to {worst.errors[1]:.4f})"
    subject = f"attempt {attempts.index(shown) + 1} at {report.dataset}" if again else report.dataset
    text = (
        f"{subject} raised the {report.monitor} of {worst.dataset}{more} from {worst.before:.4f} to "
        f"{worst.after:.4f}{in_table}, more than tolerance = {report.tolerance:g} allows"
    )
    if report.action == "warn":
        return text
    if report.action == "stop":
        return f"{text}: stopped, the run ends before {report.dataset}"
    if not over:
        number, last = len(attempts) + 1, attempts[-1]
        change = f"strength {2 * last.strength:g}" if report.retry == "retention" else f"rate {last.learning_rate / 2:.2g}"
        return f"{text}: trying attempt {number} with {change}"
    errors = ", ".join("-" if a.mean_scaled_error is None else f"{a.mean_scaled_error:.4f}" for a in attempts)
    change = f"rate {kept.learning_rate:.2g}, strength {kept.strength:g}"
    better = "" if kept.rise else ": it breaches no tolerance"
    return f"{text}: attempt {report.kept} of {len(attempts)} is kept ({change}; mean errors {errors}){better}"
