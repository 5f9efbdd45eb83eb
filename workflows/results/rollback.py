"""Point a run to the checkpoint after an earlier stage; nothing is deleted."""

from __future__ import annotations

import time
from dataclasses import replace

from data.errors import InputError
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of
from workflows.results.run_result import NOT_MEASURED, RunResult, result_from
from workflows.store.store import Store


def stage_number(result: RunResult, to: str) -> int:
    """Return the number of stages left after rolling back to the end of stage `to`: a dataset's name, or 1, 2, ..."""
    names = [stage.dataset for stage in result.stages]
    if to in names:
        return names.index(to) + 1
    if to.isascii() and to.isdigit() and 1 <= int(to) <= len(names):
        return int(to)
    raise InputError(
        f"--to {to}: run {result.name!r} has no such stage: write one of {', '.join(names)}, or 1 to {len(names)}"
    )


def rolled_back(result: RunResult, num_stages: int) -> RunResult:
    """Return the result after the first stages; its key is the state that the last of them handed over."""
    stages, matrix, rows = result.stages[:num_stages], result.error_matrix, num_stages + 1
    shortened = replace(matrix, after=matrix.after[:rows], validation=matrix.validation[:rows], scaled=matrix.scaled[:rows])
    trained = [row[:num_stages] for row in shortened.scaled]
    last = stages[-1]
    return replace(
        result,
        status="rolled back",
        key=last.key or last.keys[last.handed_over - 1],
        stages=stages,
        error_matrix=shortened,
        test=dict.fromkeys(result.test, NOT_MEASURED),
        mean_scaled_error=mean_of(trained[-1]),
        forgetting=forgetting(trained),
        backward_transfer=backward_transfer(trained),
        forward_transfer=forward_transfer(trained),
        rolled_back_from=result.key,
        ended=result.when
        if result.ended is None
        else result.ended,  # the end of training; `when` is the time of this change
        when=time.time(),
    )


def roll_back(store: Store, name: str, to: str) -> RunResult:
    """Point a run to the end of an earlier stage. Later checkpoints stay until `clean`; `train` restores the run."""
    record = store.ended(name)
    if record is None:
        raise InputError(f"{name}: there is no finished run of this name in {store.address}")
    result = result_from(record.result)
    rolled = rolled_back(result, stage_number(result, to))
    store.publish(name, replace(record, result=rolled.to_json()))
    return rolled
