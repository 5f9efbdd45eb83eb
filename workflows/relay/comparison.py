"""The plans to compare a sequence with: joint (one model, all datasets at once) and separate (each alone).

Both are ordinary plans: their epochs are in the same store, resumed and shared like those of a run.
"""

from __future__ import annotations

from dataclasses import replace

from workflows.fit.replay import Replay
from workflows.fit.sampling import batch_sizes
from workflows.relay.plan import JUST_WARN, NO_RETENTION, Plan, PlannedDataset, Stage, address, root_of
from workflows.relay.relay import Outcome

SPLITS = ("train", "validation", "test")


def joint_plan(plan: Plan) -> Plan:
    """Return the plan of joint training: the last of its datasets represents all others.

    It starts at the first rate. Its number of epochs is the mean of the datasets' epochs, weighted by their train samples
    and rounded, so that it takes about as many gradient samples as the plain sequence.
    """
    datasets = [plan.datasets[stage.dataset] for stage in plan.stages]
    counts = [each.samples["train"] for each in datasets]
    epochs = max(round(sum(n * s.epochs for n, s in zip(counts, plan.stages, strict=True)) / max(sum(counts), 1)), 1)
    together = PlannedDataset(
        name="joint",
        # No test part: the test part of each dataset is measured.
        samples={split: sum(each.samples[split] for each in datasets) if split != "test" else 0 for split in SPLITS},
        sha256={split: address({"joint": [each.sha256[split] for each in datasets]}) for split in SPLITS},
        train_bytes=sum(each.train_bytes for each in datasets),
    )
    stage = Stage(len(datasets), plan.stages[0].learning_rate, epochs)
    joint = replace(_without_order(plan), datasets=(*datasets, together), stages=(stage,), joint=True)
    return _with_outputs(joint, plan.outputs_in(len(plan.stages) - 1))


def separate_plan(plan: Plan, stage: Stage) -> Plan:
    """Return the plan of training on one dataset alone, at the first rate, with outputs for the classes up to it."""
    alone = replace(stage, dataset=0, learning_rate=plan.stages[0].learning_rate)
    separate = replace(_without_order(plan), datasets=(plan.datasets[stage.dataset],), stages=(alone,))
    return _with_outputs(separate, plan.outputs_in(plan.stages.index(stage)))


def _with_outputs(plan: Plan, num_outputs: int) -> Plan:
    """Return the plan with these outputs from its first stage on."""
    if num_outputs == plan.num_outputs and not plan.grown:
        return plan
    changed = replace(plan, num_outputs=num_outputs, grown=())
    return replace(changed, root=root_of(changed))


def _without_order(plan: Plan) -> Plan:
    training = plan.training.model_copy(update={"evaluations": "all"})
    return replace(plan, training=training, retention=NO_RETENTION, guard=JUST_WARN)


def gradient_samples(plan: Plan, outcome: Outcome) -> int:
    """Return the number of samples, new and replayed, in the gradients of a run."""
    total = 0
    for number, (stage, done) in enumerate(zip(plan.stages, outcome.stages, strict=False)):
        sizes, settings = (
            batch_sizes(plan.datasets[stage.dataset].samples["train"], plan.training.batch_size),
            plan.retention,
        )
        earlier = number if settings.replays else 0
        counts = Replay.counts(sizes, settings.share, settings.mix == "replaced") if earlier else [0] * len(sizes)
        new = sum(sizes) - (sum(counts) if settings.mix == "replaced" else 0)
        total += len(done.epochs) * (new + sum(counts))
    return total
