"""Convert between a learner and the state in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch

from models.head import load_weights
from models.lstm import LSTM
from workflows.fit.average import mean_weights
from workflows.fit.learner import Learner
from workflows.fit.thirds import BEFORE, TAIL
from workflows.relay.actions import Average
from workflows.relay.plan import Plan
from workflows.store.heads import heads_in
from workflows.store.kept import EpochRecord
from workflows.store.store import State, Store


def first_model(plan: Plan) -> LSTM:
    """Return the untrained model of a plan, from its seed; the process's random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return LSTM(plan.model, plan.num_features, plan.num_outputs, plan.channels, plan.known)


def state_of(learner: Learner) -> State:
    """Return weights, moments and sums of a learner by parameter name; on a CPU they are views, not copies."""
    model = {name: value.detach().cpu() for name, value in learner.model.state_dict().items()}
    moments = {}
    for name, parameter in learner.model.named_parameters():
        for moment, value in learner.optimizer.state.get(parameter, {}).items():
            moments[f"{moment}.{name}"] = value.detach().cpu()
    sums = {} if learner.step_sums is None else learner.step_sums.tensors()
    return State(model, moments | sums)


def averaged_state(states: Sequence[tuple[State, int, bool]], num_steps: int) -> State:
    """Return the average of the weights over the last third of a stage's steps, with the moments of its last epoch.

    `states` are those of the averaged epochs in order: see mean_weights.
    """
    last = states[-1][0]
    model = mean_weights([(state.optimizer, number, whole) for state, number, whole in states], num_steps, last.model)
    return State(model, {name: value for name, value in last.optimizer.items() if not name.startswith((TAIL, BEFORE))})


def commit_average(store: Store, plan: Plan, action: Average) -> EpochRecord:
    """Commit the averaged state at the end of a stage; returns the committed record."""
    states = [(store.load(key), number, whole) for key, number, whole in action.epochs]
    heads = unchanged_heads(plan, action.stage, heads_in(states[-1][0].model), action.parent, store.record)
    averaged = averaged_state(states, plan.steps_an_epoch(plan.stages[action.stage]))
    return store.commit(action.key, averaged, EpochRecord(action.key, action.parent, heads=heads))[0]


def unchanged_heads(
    plan: Plan, stage: int, heads: Collection[str], parent: str | None, record_of: Callable[[str], EpochRecord | None]
) -> dict[str, str]:
    """Return the head corrections that a stage does not change, with the checkpoints that have them.

    Without replay those are all but its own; `heads` are those of the state before, at the address `parent`.
    """
    all_move = plan.retention.replays or plan.joint or not plan.training.carry_optimizer
    idle = set() if all_move else {number for number in heads if number != str(stage)}
    before = record_of(parent) if idle and parent is not None else None
    return {} if before is None else {number: before.heads.get(number, before.key) for number in sorted(idle)}


def load_state(learner: Learner, state: State) -> None:
    """Load a state into a learner."""
    load_weights(learner.model, state.model)
    learner.attach()
    parameters = dict(learner.model.named_parameters())
    for key, value in state.optimizer.items():
        moment, _, name = key.partition(".")
        if moment in (TAIL, BEFORE):  # sums of the previous epoch
            continue
        learner.optimizer.state[parameters[name]][moment] = value.clone().to(learner.device)
