"""The last result of a run of the same name: damage, and the reason if none of its epochs can be reused."""

from __future__ import annotations

from data.errors import InputError
from workflows.recipe.recipe import Recipe
from workflows.relay.events import Noticed
from workflows.relay.plan import Plan
from workflows.results.events import Watch
from workflows.results.run_result import RunResult, Session
from workflows.results.sessions import calls_before
from workflows.results.stored_runs import stored_progress, stored_result
from workflows.store.store import Store


def last_result(store: Store, name: str, watch: Watch) -> RunResult | None:
    """Return the last result of the run of this name. A damaged record is reported, and rewritten when the run ends."""
    try:
        return stored_result(store, name)
    except InputError as error:
        for message in error.messages:
            watch(Noticed(f"warning: {message.partition(': run its')[0]}; it is rewritten"))
        return None


def last_calls(store: Store, name: str, before: RunResult | None) -> list[Session]:
    """Return the calls that trained the run of this name before, including an interrupted one."""
    try:
        return calls_before(before, stored_progress(store, name))
    except InputError:  # a damaged record is rewritten
        return []


def changed_for_all(recipe: Recipe, plan: Plan, num_stored: int, before: RunResult | None) -> list[str]:
    """Return a warning if no epoch of the last result can be reused because shared scaling or categories changed."""
    names = [dataset.name for dataset in plan.datasets]
    if num_stored or before is None or list(before.datasets) == names:
        return []
    settings = recipe.entries[0].settings
    if settings.scaling_scope != "shared" and not settings.categorical:
        return []
    return [
        f"the last run named {before.name!r} had the datasets {', '.join(before.datasets)}; the list changed, so the "
        'shared scaling or categories changed and every epoch is retrained: scaling_scope = "dataset" or '
        '"primary" does not change when datasets are added'
    ]
