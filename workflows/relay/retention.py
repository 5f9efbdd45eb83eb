"""The retention of a stage: samples of earlier datasets, a teacher, or weights with their importance.

All of it is computed from the chain, so a resumed stage continues with the same values. Only the importance, which costs
a pass over samples, is stored with its state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from models.head import load_weights
from models.lstm import LSTM
from models.retention import Anchor
from workflows.fit.group import Group
from workflows.fit.replay import NOTHING_TO_REPLAY, Replay, kept_samples
from workflows.fit.retention import NO_RETENTION, Retention, Teacher, accumulate, importance
from workflows.recipe.settings import FEW_SAMPLES
from workflows.relay.plan import Epoch, Plan
from workflows.relay.state import first_model
from workflows.store.store import Store


class Memory:
    """One worker's view of the earlier stages. All workers of the group make the same calls."""

    def __init__(
        self,
        plan: Plan,
        datasets: Sequence[EncodedDataset],
        store: Store,
        group: Group,
        device: str,
        first_does: Callable[[Callable[[], Any]], Any],
    ):
        self.plan, self.datasets, self.store, self.group, self.device = plan, datasets, store, group, device
        self.first_does = first_does
        self.last: tuple[object, Retention] = (None, NO_RETENTION)

    def retention(self, epoch: Epoch) -> Retention:
        """Return the retention of the epoch's stage; computed once per stage."""
        settings = epoch.retention
        if settings.method == "none" or epoch.stage == 0:
            return NO_RETENTION
        asked = (epoch.starts, settings)
        if self.last[0] != asked:
            replay = self._replay(epoch) if settings.replays else NOTHING_TO_REPLAY
            teacher = self._teacher(epoch) if settings.parts.teaches else None
            anchor = self._anchor(epoch) if settings.parts.anchors else None
            self.last = (asked, Retention(replay, teacher, anchor))
        return self.last[1]

    def _teacher(self, epoch: Epoch) -> Teacher:
        """Return the model before the epoch's stage. With replay it teaches only what it can know.

        Numbers: it does not teach on the new dataset. On validation splits (ETT, one seed, two orders) the final error was
        1.03 of joint training's, and 1.06 with the teacher on new samples too. Classes: it does not teach those it has
        not learnt, which it would suppress: 78 % of nine speakers' sequences were right, 62 % with a teacher of all.
        Without replay nothing else retains earlier datasets, so it teaches everything (speakers: 58 % against 34 %).
        """
        model, settings = self._model(epoch.starts[-1]), epoch.retention
        classes = self.plan.model.classifies
        if not settings.replays:
            return Teacher(model, settings.strength)
        return Teacher(model, settings.strength, classes, self._known_classes(epoch) if classes else None)

    def _known_classes(self, epoch: Epoch) -> tuple[int, ...]:
        """Return the classes of the datasets before the epoch's."""
        earlier = [self.datasets[stage.dataset] for stage in self.plan.stages[: epoch.stage]]
        seen = {label for each in earlier for label in each.prepared.train_categories(each.prepared.targets[0])}
        return tuple(number for number, label in enumerate(earlier[0].encoding.classes) if label in seen)

    def _replay(self, epoch: Epoch) -> Replay:
        earlier = self.plan.stages[: epoch.stage]
        kept = [self._kept(epoch, number) for number in range(len(earlier))]
        settings = epoch.retention
        return Replay(
            [self.datasets[stage.dataset] for stage in earlier],
            kept,
            settings.share,
            settings.strength,
            settings.mix == "replaced",
        )

    def _kept(self, epoch: Epoch, number: int) -> npt.NDArray[np.int64]:
        """Return the samples that are kept of the dataset of an earlier stage."""
        stage = self.plan.stages[number]
        memory = self.plan.kept_of(stage, epoch.retention)
        return kept_samples(self.datasets[stage.dataset].num_samples("train"), memory, (self.plan.seed, number))

    def _model(self, key: str) -> LSTM:
        """Return the model of a checkpoint in evaluation mode."""
        model = first_model(self.plan)
        load_weights(model, self.first_does(lambda: self.store.load(key)).model)
        return model.to(self.device).eval()

    def _anchor(self, epoch: Epoch) -> Anchor:
        weights = dict(self._model(epoch.starts[-1]).named_parameters())
        anchored = {name: value.detach() for name, value in weights.items()}
        weighs = epoch.retention.parts.importance is not None
        return Anchor(anchored, self._importance(epoch) if weighs else None, epoch.retention.strength)

    def _importance(self, epoch: Epoch) -> dict[str, Tensor]:
        """Return the importance of each weight for all datasets before the epoch's, from the store if possible."""
        importances, stored_stages = None, epoch.stage
        while stored_stages and (importances := self._kept_importance(epoch, stored_stages)) is None:
            stored_stages -= 1
        for number in range(stored_stages + 1, epoch.stage + 1):
            importances = accumulate(importances, self._importance_of_one(epoch, number), epoch.retention.importance_decay)
            self._keep_importance(epoch, number, {name: value.cpu() for name, value in importances.items()})
        assert importances is not None
        return {name: value.to(self.device) for name, value in importances.items()}

    def _importance_of_one(self, epoch: Epoch, number: int) -> dict[str, Tensor]:
        """Return the importance for the last of the first `number` datasets alone."""
        dataset = self.datasets[self.plan.stages[number - 1].dataset]
        kept, seed = self._kept(epoch, number - 1), (self.plan.seed, number)
        measure = epoch.retention.parts.importance
        assert measure is not None
        model, head = self._model(epoch.starts[number]), self._head(number - 1)
        return importance(measure, model, self.plan.model, dataset, kept, self.plan.num_outputs, seed, self.group, head)

    def _head(self, stage: int) -> int | None:
        return stage if self.plan.model.dataset_heads else None

    def _kept_importance(self, epoch: Epoch, number: int) -> dict[str, Tensor] | None:
        name = self._importance_name(epoch, number)
        stored: dict[str, Tensor] | None = self.first_does(lambda: self.store.kept_tensors(epoch.starts[number], name))
        return stored

    def _keep_importance(self, epoch: Epoch, number: int, importances: dict[str, Tensor]) -> None:
        name = self._importance_name(epoch, number)
        self.first_does(lambda: self.store.keep_tensors(epoch.starts[number], name, importances))

    def _importance_name(self, epoch: Epoch, number: int) -> str:
        """Return the name of the importance after `number` stages, hashed from everything that affects it."""
        settings = epoch.retention
        earlier = [self.plan.datasets[stage.dataset].sha256["train"] for stage in self.plan.stages[:number]]
        memory = settings.memory or FEW_SAMPLES
        decided_by = [self.plan.seed, list(epoch.starts[: number + 1]), earlier, memory, settings.importance_decay]
        decided_by += [] if settings.method == "ewc" else [settings.method]  # ewc was the only method with importance
        return "importance-" + hashlib.sha256(json.dumps(decided_by).encode()).hexdigest()[:16]
