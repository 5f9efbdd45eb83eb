"""Collect the calls that trained the epochs of a run over repeated commands, and add up their time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from data.records import to_json
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import RunResult, Seconds, Session


def calls_of(result: RunResult) -> list[Session]:
    """Return the calls that trained a run; for results of earlier versions, only the last one."""
    if result.sessions or not result.epochs_trained or result.seconds is None or not result.stages:
        return list(result.sessions)
    ended = result.when if result.ended is None else result.ended
    first, again = result.stages[0].keys[0], result.epochs_tried_again
    return [Session(first, ended, result.epochs_trained, again, result.seconds, result.workers)]


def calls_before(result: RunResult | None, progress: RunProgress | None) -> list[Session]:
    """Return all calls in a run's last result or progress."""
    if progress is None:
        return [] if result is None else calls_of(result)
    calls = list(progress.sessions)
    if progress.first_key is not None:
        spent = Seconds(total=progress.when - progress.started)
        calls.append(Session(progress.first_key, progress.when, progress.epochs_trained, seconds=spent))
    return calls


def with_calls(result: RunResult, earlier: Sequence[Session], trained: Sequence[str]) -> RunResult:
    """Return the result with the calls that trained its epochs; calls of other epochs belong to another run.

    `trained` are the epochs of this call; epochs of a rejected attempt are not in the result.
    """
    keys = {key for stage in result.stages for key in stage.keys}
    calls = [each for each in earlier if each.key in keys]
    if trained and result.epochs_trained and result.seconds is not None:
        first = next((key for key in trained if key in keys), trained[0])
        again, workers = result.epochs_tried_again, result.workers
        calls.append(Session(first, result.when, result.epochs_trained, again, result.seconds, workers))
    return dataclasses.replace(result, sessions=tuple(calls))


def total_seconds(calls: Sequence[Session]) -> Seconds:
    """Return the time of all calls together, by phase."""
    phases = [to_json(each.seconds) for each in calls]
    return Seconds(**{name: sum(each[name] for each in phases) for name in to_json(Seconds())})
