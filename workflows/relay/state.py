"""Between a learner and the state that a checkpoint holds."""

from __future__ import annotations

import torch

from models.lstm import LSTM
from workflows.fit.learner import Learner
from workflows.relay.plan import Plan
from workflows.store.store import State


def first_model(plan: Plan) -> LSTM:
    """The untrained model of a plan, by its seed; the random numbers of the process are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return LSTM(plan.model, plan.num_features, plan.num_outputs, plan.channels)


def state_of(learner: Learner) -> State:
    """The weights and the moments of a learner by the names of the parameters; on a CPU they are its own, not copies."""
    model = {name: value.detach().cpu() for name, value in learner.model.state_dict().items()}
    moments = {}
    for name, parameter in learner.model.named_parameters():
        for what, value in learner.optimizer.state.get(parameter, {}).items():
            moments[f"{what}.{name}"] = value.detach().cpu()
    return State(model, moments)


def load_state(learner: Learner, state: State) -> None:
    """Bring a learner into a state."""
    learner.model.load_state_dict(state.model)
    learner.reset_optimizer()
    for name, parameter in learner.model.named_parameters():
        moments = {key.partition(".")[0]: value for key, value in state.optimizer.items() if key.partition(".")[2] == name}
        for what, value in moments.items():
            learner.optimizer.state[parameter][what] = value.clone().to(learner.device)
