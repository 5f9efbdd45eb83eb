"""Report which datasets add classes, so that misspelt labels are noticed."""

from __future__ import annotations

from collections.abc import Sequence

from data.prepared.encoding import EncodedDataset
from workflows.relay.plan import Plan


def new_classes(plan: Plan, datasets: Sequence[EncodedDataset]) -> list[str]:
    """Return a message for each dataset that adds classes to those of the earlier datasets."""
    messages = []
    for number in range(1, len(plan.grown)):
        before, now = plan.grown[number - 1 : number + 1]
        dataset = datasets[plan.stages[number].dataset]
        labels = dataset.encoding.classes[before:now]
        if labels:
            more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
            messages.append(
                f"dataset {dataset.name!r} adds the classes {', '.join(labels[:8])}{more}: the model has {now} from there on"
            )
    return messages
