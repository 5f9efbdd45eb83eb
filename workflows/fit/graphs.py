"""CUDA graphs: the kernels of a step are recorded once and launched together, without Python between them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Hashable

import torch

WARM_UP = 2  # runs before recording: libraries and the optimizer allocate their buffers
MOST_GRAPHS = 32  # kinds of work that are recorded; rarer ones run without a graph


class Graphs:
    """Recorded work by kind. Work of one kind launches the same kernels on the same memory every time."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.recorded: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self.seen: Counter[Hashable] = Counter()
        self.pool = torch.cuda.graph_pool_handle()

    def _record(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Record work as a graph, without running it.

        torch's context manager first returns all free memory to the GPU, which blocks every process that shares it.
        Garbage collection is off meanwhile: destroying a graph spoils a recording.
        """
        graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.disable()
        try:
            with torch.cuda.stream(self.stream):
                self.stream.synchronize()
                # Other threads of the process may use the GPU meanwhile; only what this one does is recorded.
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                work()
                graph.capture_end()
        finally:
            if collects:
                gc.enable()
        return graph

    def clear(self) -> None:
        """Forget all recorded work, because the memory it uses has changed."""
        self.recorded.clear()
        self.seen.clear()
        self.pool = torch.cuda.graph_pool_handle()  # a handle's memory is freed with its last graph

    def run(self, kind: Hashable, work: Callable[[], None]) -> None:
        """Run work on the lane's stream: directly at first, from the third time on by its graph.

        Memory allocated by the work belongs to the graph; everything that outlives it must exist before.
        """
        graph = self.recorded.get(kind)
        if graph is None:
            self.seen[kind] += 1
            if self.seen[kind] <= WARM_UP or len(self.recorded) >= MOST_GRAPHS:
                with torch.cuda.stream(self.stream):
                    work()
                return
            graph = self.recorded[kind] = self._record(work)
        with torch.cuda.stream(self.stream):
            graph.replay()
