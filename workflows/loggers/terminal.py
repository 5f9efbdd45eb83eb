"""Show a run: one redrawn line on a terminal, plain lines in a file or a job's log."""

from __future__ import annotations

import shlex
import time
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from data.errors import plain
from workflows.loggers.result_table import result_table
from workflows.relay.events import (
    Damaged,
    EpochDone,
    EpochStarted,
    EvaluationStarted,
    Guarded,
    Noticed,
    Placed,
    Planned,
    Preparing,
    StepDone,
    Waiting,
    WorkersLost,
    Working,
)
from workflows.relay.guard import sentence_of
from workflows.relay.plan import Plan
from workflows.results.events import Event, Finished
from workflows.results.number_format import counted, shortened
from workflows.results.run_result import RunResult

MUCH_FORGOTTEN = 0.1  # relative to the naive forecast's error


class Screen:
    """Shows the events of a run. Use it as a context manager; call it with each event."""

    def __init__(self, console: Console):
        self.console = console
        self.live: Live | None = None
        self.plan: Plan | None = None
        self.status = ""
        self.to_train = self.trained = self.workers = 0
        self.rate: float | None = None  # samples per second in the last epoch
        self.samples_left = 0
        self.now = EpochStarted(0, 0, "", 0)
        self.phase_started = time.monotonic()

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._line, console=self.console, refresh_per_second=4, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._end_line()

    def _end_line(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the live display."""
        self.console.print(Text(plain(text), style=style), soft_wrap=True)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Preparing(recipe):
                self._phase(f"{recipe}: preparing the datasets")
            case Planned():
                self._show_plan(event)
            case Placed():
                self._show_placement(event)
            case Working(workers=workers):
                self._show_workers(workers)
            case WorkersLost():
                self._show_loss(event)
            case EpochStarted():
                self.now = event
                self._show_progress(0)
            case StepDone(seen=seen):
                self._show_progress(seen)
            case EpochDone():
                self._show_epoch(event)
            case EvaluationStarted():
                self._phase(f"evaluating {counted(event.datasets, 'dataset')} ({event.split})")
            case Guarded(report, over):
                self.say(f"guard: {sentence_of(report, over)}", "yellow")
            case Damaged(message):
                self.say(f"warning: {message}; it will be retrained", "yellow")
            case Waiting(message) | Noticed(message):
                self.say(message, "yellow")
            case Finished():
                self._show_result(event)
            case _:
                pass  # the events of a search: see SearchScreen

    def _phase(self, status: str) -> None:
        self.status, self.phase_started = status, time.monotonic()

    def _line(self) -> RenderableType:
        # One line at any width: redrawing a wrapped line would leave its first half on the screen.
        seconds = _clock(time.monotonic() - self.phase_started)
        status = shortened(self.status, self.console.width - len(seconds) - 5)
        return Text(f"  {status}  {seconds}", style="dim", no_wrap=True, overflow="ellipsis")

    def _show_plan(self, event: Planned) -> None:
        self.plan = plan = event.plan
        requested = sum(stage.epochs for stage in plan.stages)
        self.to_train = requested - event.held
        self.samples_left = _samples_after(plan, event.held)
        rows = ", ".join(f"{d.name} {d.samples['train']:,}" for d in plan.datasets[:4])
        more = f" and {len(plan.datasets) - 4} more" if len(plan.datasets) > 4 else ""
        self.say(f"{counted(len(plan.datasets), 'dataset')} prepared in {event.seconds:.1f} s; train samples: {rows}{more}")
        if event.order:
            self.say(event.order)
        for warning in event.warnings:
            self.say(f"warning: {warning}", "yellow")
        if event.held:
            self.say(f"{event.held} of {requested} epochs are in the store and are reused")

    def _show_placement(self, event: Placed) -> None:
        placement = event.placement
        where = "this process" if placement.num_workers == 0 else counted(placement.num_workers, "worker")
        where += f" or up to {placement.max_workers}" if placement.max_workers > placement.num_workers else ""
        where += " with a GPU each" if placement.use_gpu else ""
        self.say(f"training in {where} ({placement.reason})")
        self._phase("starting the workers")

    def _show_workers(self, workers: int) -> None:
        if self.workers and workers != self.workers:
            self.say(f"continuing with {counted(workers, 'worker')} ({self.workers} before)")
        elif self.workers:
            self.say(f"{counted(workers, 'worker')} continue from the last epoch in the store")
        self.workers = workers

    def _show_loss(self, event: WorkersLost) -> None:
        where = f"{event.node}: " if event.node else ""
        self.say(f"workers were lost ({where}{event.cause}); restarting from the last epoch in the store", "yellow")
        self._phase("restarting the workers")

    def _show_progress(self, seen: int) -> None:
        assert self.plan is not None
        now, stages = self.now, self.plan.stages
        text = (
            f"{shortened(now.dataset, 24)} ({now.stage + 1}/{len(stages)})  epoch {now.epoch + 1}/{stages[now.stage].epochs}"
        )
        text += f"  {seen / max(now.samples, 1):4.0%}"
        if self.rate:
            text += f"  {self.rate:,.0f} samples/s  {_clock((self.samples_left - seen) / self.rate)} left"
        self.status = text
        if seen == 0:
            self.phase_started = time.monotonic()

    def _show_epoch(self, event: EpochDone) -> None:
        assert self.plan is not None
        self.trained += 1
        self.samples_left -= event.samples
        self.rate = event.samples / max(event.seconds, 1e-9)
        self.say(
            f"[{event.stage + 1}/{len(self.plan.stages)}] {event.dataset}  "
            f"epoch {event.epoch + 1}/{event.epochs}  loss {event.train_loss:.4f}  "
            f"rate {event.learning_rate:.2g}  {self.rate:,.0f} samples/s  "
            f"{_clock(self.samples_left / self.rate)} left"
        )

    def _show_result(self, event: Finished) -> None:
        self._end_line()
        result = event.result
        self.console.print(result_table(result))
        self.say(closing_words(result))
        self.say(f"result: {event.folder}/result.json")
        self.say(f"report: {report_command(event.folder)}")


def report_command(folder: str) -> str:
    """Return the command that writes the report of a run or a search in a folder."""
    storage, _, name = folder.rpartition("/runs/")
    return f"lstm-relay report {shlex.quote(name)} --storage {shlex.quote(storage)}"


def _samples_after(plan: Plan, num_stored: int) -> int:
    counts = [plan.datasets[stage.dataset].samples["train"] for stage in plan.stages for _ in range(stage.epochs)]
    return sum(counts[num_stored:])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes}:{rest:02d}"


def closing_words(result: RunResult) -> str:
    """Return a few sentences on the result of a run and its cost."""
    words = []
    mean, forgotten = result.mean_scaled_error, result.forgetting
    if result.status == "stopped":
        words.append(f"The guard stopped the run before {result.guard[-1].dataset}.")
    if mean is not None:
        words.append(f"Mean scaled error at the end {mean:.3f} (naive = 1).")
    elif any(each is not None for each in result.error_matrix.validation[-1]):
        words.append("The naive forecast has no error (constant targets), so there is nothing to compare with.")
    else:
        losses = ", ".join(f"{stage.train_loss[-1]:.4f}" for stage in result.stages)
        words.append(f"No validation split (see split), so errors are unknown; last losses: {losses}.")
    if forgotten is not None:
        words.append(f"Average forgetting {forgotten:.3f}.")
        if forgotten > MUCH_FORGOTTEN and result.retention == "none":
            words.append('Write method = "replay" in [retention] to forget less.')
    return " ".join([*words, _work(result)])


def _work(result: RunResult) -> str:
    if not result.epochs_trained or result.seconds is None:
        return "All epochs were in the store: nothing was trained."
    trained, retried, seconds = result.epochs_trained, result.epochs_tried_again, result.seconds
    how_many = f"{trained} of {result.epochs_requested} epochs trained"
    if retried:  # attempts may exceed the requested epochs
        how_many = f"{counted(trained, 'epoch')} trained ({retried} of them in further attempts)"
    phases = {"prepare": seconds.prepare, "start": seconds.start, "fit": seconds.fit, "evaluate": seconds.evaluate}
    return f"{how_many} in {seconds.total:.1f} s: {', '.join(f'{name} {value:.1f}' for name, value in phases.items())}."
