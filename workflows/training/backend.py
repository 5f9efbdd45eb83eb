"""Ray Train's torch backend, connecting over the nodes' addresses in Ray (see cluster.interface)."""

from __future__ import annotations

import os
from typing import Any

from ray.train.torch import TorchConfig

from cluster.interface import set_interface

# Ray waits 30 s for each worker to leave the group, even on a lost node, and then ends them.
SHUTDOWN_TIMEOUT, SHUTDOWN_S = "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S", "3"


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Set the interface on each worker, then make the process group."""
        worker_group.execute(set_interface)
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Let the workers that still answer leave the process group."""
        os.environ.setdefault(SHUTDOWN_TIMEOUT, SHUTDOWN_S)  # the group's controller is a separate process
        super().on_shutdown(worker_group, backend_config)


class NodeAddressConfig(TorchConfig):
    """A TorchConfig whose process group connects over the nodes' addresses in Ray."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """Return the backend that Ray Train starts."""
        return _Backend
