"""Ray Train's torch backend, connecting over the nodes' addresses in Ray (see cluster.interface)."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchConfig

from cluster.interface import set_interface


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Set the interface on each worker, then make the process group."""
        worker_group.execute(set_interface)
        super().on_start(worker_group, backend_config)


class NodeAddressConfig(TorchConfig):
    """A TorchConfig whose process group connects over the nodes' addresses in Ray."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """Return the backend that Ray Train starts."""
        return _Backend
