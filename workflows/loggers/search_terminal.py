"""Show a search: a line for each trial that ends, and a table of the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from workflows.loggers.terminal import Screen, report_command
from workflows.relay.events import EpochDone
from workflows.results.events import Event, LevelDone, SearchFinished, SearchPlanned, StoredTrials, TrialDone, TrialLost
from workflows.results.number_format import counted, empty_table, show
from workflows.results.search_result import SearchResult, TrialResult

NUM_SHOWN = 10


class SearchScreen(Screen):
    """Shows the events of a search; preparation and warnings are shown as for a run."""

    trials = ended = 0

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case SearchPlanned():
                self._show_search(event)
            case StoredTrials(stored, trials):
                self.ended += stored
                self.say(f"{stored} of {trials} trials are complete in the store and are not run again")
            case EpochDone():
                self._show_epoch(event)
            case TrialDone(trial, trained):
                self._show_trial(trial, trained)
            case LevelDone():
                self._show_level(event)
            case TrialLost(number):
                self.say(f"trial {number}: its process was lost; the trial resumes from the store", "yellow")
            case SearchFinished():
                self._show_best(event)
            case _:
                super().__call__(event)

    def _show_search(self, event: SearchPlanned) -> None:
        placement = event.placement
        self.trials = event.trials
        where = counted(placement.num_workers, "worker") if placement.num_workers else "a process"
        trials = counted(self.trials, "trial")
        self.say(f"{trials}, {placement.num_concurrent} at a time, each in {where} ({placement.reason})")
        for order in event.orders:
            self.say(order)
        self._phase("starting")

    def _show_epoch(self, event: EpochDone) -> None:
        self.trained += 1
        self.status = (
            f"{self.ended}/{self.trials} trials, {counted(self.trained, 'epoch')} trained; trial {event.trial}: "
            f"{event.dataset} epoch {event.epoch + 1}/{event.epochs}"
        )

    def _show_trial(self, trial: TrialResult, trained: int) -> None:
        self.ended += 1
        words = f"[{self.ended}/{self.trials}] trial {trial.number}: {config_words(trial.config)}"
        if trial.failed is not None:
            self.say(f"{words}  failed: {trial.failed}", "red")
            return
        if trial.stopped_after is not None and trial.level is not None:
            return  # a level has hundreds of them and prints one line
        words += f"  error {show(trial.metrics.mean_scaled_error)}  forgetting {show(trial.metrics.forgetting)}"
        words += f"  {trained} of {counted(sum(trial.epochs), 'epoch')} trained"
        self.say(words + ("" if trial.stopped_after is None else f"  stopped after {trial.stopped_after}"))

    def _show_level(self, event: LevelDone) -> None:
        best = event.kept[0]
        numbers = ", ".join(str(trial.number) for trial in event.kept)
        self.say(
            f"dataset {event.level}, {best.stopped_after}: best error {show(best.metrics.mean_scaled_error)} "
            f"({config_words(best.config)}); trials {numbers} continue"
        )

    def _show_best(self, event: SearchFinished) -> None:
        self._end_line()
        result = event.result
        self.console.print(best_table(result))
        self.say(search_words(result))
        self.say(f"result: {event.folder}/search.json; best recipe: best.toml, plot: search.svg")
        self.say(f"report: {report_command(event.folder)}")


def short_name(name: str) -> str:
    """Return a searched key without its section."""
    if name.startswith("datasets.") and name.endswith(".epochs"):
        return name.removeprefix("datasets.").replace(".epochs", " epochs")
    return name.removeprefix("training.")


def config_words(config: Mapping[str, Any]) -> str:
    """Return the values of a trial on one line."""
    return "  ".join(
        f"{short_name(name)} {value:.4g}" if isinstance(value, float) else f"{short_name(name)} {value}"
        for name, value in config.items()
    )


def best_table(result: SearchResult) -> Table:
    """Return a table of the trials with the lowest errors; those on the Pareto front are marked."""
    known = sorted(result.complete, key=lambda trial: (trial.metrics.objective(result.objectives[0]), trial.number))
    columns = ("trial", "values", "mean scaled error", "forgetting", "test / naive", "Pareto")
    title = f"{result.name}: the best of {counted(len(result.trials), 'trial')}"
    table = empty_table(columns, texts=(1,), title=title)
    for trial in known[:NUM_SHOWN]:
        metrics = trial.metrics
        table.add_row(
            str(trial.number),
            Text(config_words(trial.config)),
            show(metrics.mean_scaled_error),
            show(metrics.forgetting),
            show(metrics.test_mean_scaled_error),
            "*" if trial.number in result.pareto else "",
        )
    return table


def search_words(result: SearchResult) -> str:
    """Return a summary of a search."""
    failed, stopped = len(result.failed), len(result.stopped)
    words = [f"{counted(len(result.trials), 'trial')} in {result.seconds:.1f} s"]
    if result.beam_width is not None:
        words += [f"{len(result.complete)} over all datasets"]
    else:
        words += [f"{stopped} stopped early"] if stopped else []
    words += [f"{failed} failed"] if failed else []
    asked, trained = result.epochs_requested, result.epochs_trained
    if not trained:
        return f"{', '.join(words)}. All {counted(asked, 'epoch')} requested were in the store: nothing was trained."
    return f"{', '.join(words)}. {counted(asked, 'epoch')} requested, {trained} trained" + (
        ", the others were shared or in the store." if trained < asked else "."
    )
