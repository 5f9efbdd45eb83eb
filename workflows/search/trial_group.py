"""A data-parallel trial: one Ray Train worker group walks the plans of all trials of an actor, stage by stage.

A worker group takes 12 s to start, so it stays from trial to trial. The trial's actor sends requests through a queue, the
first worker answers and broadcasts them to the others.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from cluster.connect import set_environment
from cluster.placement import Placement
from workflows.search.context import SearchContext
from workflows.search.proposal import Proposal
from workflows.search.stage_report import StageReport
from workflows.training.channel import Channel, Sender
from workflows.training.workers import trainer_for

LISTEN_S = 1.0  # the first worker tells the others that it is still waiting, so that they do not time out
START_LIMIT_S = 300.0  # for a group's first answer, including its start


class TrialGroupError(Exception):
    """The worker group of a trial was lost, or did not start."""


@dataclass(frozen=True)
class Ready:
    """The workers of the group wait for a request."""


@dataclass(frozen=True)
class Begin:
    """Start a trial; a lost group has sent its first `skip` reports, so these stages are read from the store."""

    proposal: Proposal
    skip: int = 0


@dataclass(frozen=True)
class NextStage:
    """Do the next stage; `number` counts these requests."""

    number: int


@dataclass(frozen=True)
class End:
    """End the group."""


@dataclass(frozen=True)
class Answer:
    """The answer to request number `request`, for a stage."""

    request: int
    report: StageReport


@dataclass(frozen=True)
class Ended:
    """The group has ended, and why."""

    why: str


@dataclass(frozen=True)
class Task:
    """The input of each worker of a trial's group."""

    context: SearchContext
    requests: Any  # a ray.util.queue.Queue
    answer: Sender


def serve(task: Task) -> None:
    """Run a worker until an `End` arrives: start trials and run their stages, in step with the other workers."""
    import torch

    from workflows.fit.group import Group
    from workflows.search.walks import Walks

    torch.set_num_threads(1)
    walks, group = Walks(task.context), Group.current()
    if group.rank == 0:
        task.answer(Ready())
    while True:
        request: Begin | NextStage | End | None = None
        if group.rank == 0:
            request = _next_request(task)
        request = group.from_first(request)
        if isinstance(request, End):
            return
        if isinstance(request, Begin):
            walks.begin(request.proposal)
            for _ in range(request.skip):
                walks.next_stage()
        if isinstance(request, NextStage):
            answer = walks.next_stage()
            if group.rank == 0:
                task.answer(Answer(request.number, answer))


def _next_request(task: Task) -> Begin | NextStage | End | None:
    """Return the next request, None if there is none yet, or `End` if the queue is lost: its trial starts a new group."""
    from ray.exceptions import RayActorError
    from ray.util.queue import Empty

    try:
        request: Begin | NextStage | End = task.requests.get(timeout=LISTEN_S)
    except Empty:
        return None
    except RayActorError:
        return End()
    return request


class GroupWalks:
    """Has the methods of `Walks` for the trial's actor, and lets a group of workers do them."""

    def __init__(self, context: SearchContext):
        set_environment()
        from ray.util.queue import Queue

        self.requests = Queue(actor_options={"num_cpus": 0})
        self.events: queue.Queue[Ready | Answer | Ended] = queue.Queue()
        self.channel = Channel(self.events.put)
        self.scratch = tempfile.TemporaryDirectory(prefix="lstm-relay-")
        self.trial: Begin | None = None
        self.done = self.asked = 0
        self.ready = False
        task = Task(context, self.requests, self.channel.__enter__())
        placement = Placement(context.num_workers, context.num_workers, context.use_gpu, float(context.cpus), "a trial")
        strategy = "STRICT_PACK" if context.one_node else "PACK"
        scratch = context.scratch or self.scratch.name
        self.trainer = trainer_for(serve_task, {"task": task}, placement, scratch, strategy=strategy)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.trainer.fit()
            self.events.put(Ended("it ended"))
        except BaseException as error:  # raised in the waiting caller
            self.events.put(Ended(str(error).strip().splitlines()[-1]))

    def begin(self, proposal: Proposal) -> None:
        """Start a trial."""
        from ray.exceptions import RayActorError

        self.trial, self.done = Begin(proposal), 0
        if self.ready:
            with contextlib.suppress(RayActorError):  # of a lost queue, which the next stage reports
                self.requests.put(self.trial)

    def next_stage(self) -> StageReport:
        """Run the next stage; raises TrialGroupError if the group is lost or does not start in time.

        The group has ended then: Tune kills this process next, and cores that a group still has would stay taken.
        """
        from ray.exceptions import RayActorError

        try:
            return self._next_report()
        except (TrialGroupError, RayActorError) as error:
            self.close()
            if isinstance(error, TrialGroupError):
                raise
            raise TrialGroupError("the queue to the workers of the trial was lost") from None

    def _next_report(self) -> StageReport:
        started = time.monotonic()
        if self.ready:
            self._ask()
        while True:
            try:
                event = self.events.get(timeout=1.0)
            except queue.Empty:
                if not self.ready and time.monotonic() - started > START_LIMIT_S:
                    raise TrialGroupError(f"the workers of the trial did not start within {START_LIMIT_S:.0f} s") from None
                continue
            if isinstance(event, Ended):
                raise TrialGroupError(f"the workers of the trial were lost: {event.why}")
            if isinstance(event, Ready):  # also after workers were lost and the group was started again
                self.ready = True
                while not self.requests.empty():
                    self.requests.get_nowait()
                assert self.trial is not None
                self.requests.put(replace(self.trial, skip=self.done))
                self._ask()
            elif event.request == self.asked:
                self.done += 1
                return event.report

    def _ask(self) -> None:
        self.asked += 1
        self.requests.put(NextStage(self.asked))

    def close(self) -> None:
        """End the workers and free their cores; workers that do not end in time end with this process."""
        from ray.exceptions import RayActorError

        with contextlib.suppress(RayActorError):  # without the queue they end by themselves
            self.requests.put(End())
        self.thread.join(timeout=20)
        self.channel.__exit__()
        self.scratch.cleanup()


def serve_task(config: dict[Any, Any]) -> None:
    """Run a worker under Ray Train."""
    serve(config["task"])
