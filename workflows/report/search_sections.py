"""The report sections of a search: trials, epochs saved by sharing, effect of each value."""

from __future__ import annotations

from collections.abc import Sequence

from workflows.loggers.search_terminal import config_words, short_name
from workflows.report.page import Cell, Details, Figure, Gallery, Listing, Paragraph, Part, Section, Table
from workflows.report.run_sections import number
from workflows.results.number_format import counted
from workflows.results.picture import Panel, Pictures
from workflows.results.search_result import SearchResult, TrialResult
from workflows.search.plot import MAX_EFFECTS, effect_panels, search_panels

MOST_TRIALS = 30
MOST_COLUMNS = 6  # of searched keys; more become one column


def search_figures(search: SearchResult) -> list[tuple[str, Cell]]:
    """Return the key figures of a search."""
    best = search.best_trial
    return [
        ("trials", len(search.trials)),
        ("lowest mean error / naive", None if best is None else number(best.metrics.mean_scaled_error)),
        ("epochs requested", f"{search.epochs_requested:,}"),
        ("epochs trained", f"{search.epochs_trained:,}"),
        ("seconds", f"{search.seconds:.1f}"),
    ]


def search_sections(
    drawing: Pictures, search: SearchResult, best_recipe: str | None, name: str, storage: str
) -> list[Section]:
    """Return all sections of a search."""
    parts: list[Part] = [Paragraph(_summary(search))]
    parts += [Paragraph(f"trial {trial.number} failed: {trial.failed}", "warning") for trial in search.failed[:5]]
    if search.complete:
        parts.append(_gallery(drawing, search_panels(search)))
    parts += _trials(search)
    if search.best_trial is not None and best_recipe is not None:
        command = f"lstm-relay train {storage}/runs/{name}/best.toml --storage {storage}"
        parts.append(Paragraph(f"{command} loads every epoch of the best trial from the store.", "soft"))
        parts.append(Details("Recipe of the best trial", Listing(best_recipe)))
    sections = [Section("Search", parts)]
    if search.beam_width is not None:
        sections.append(_levels(search))
    panels = effect_panels(search)
    if panels:
        words = "Each dot is a trial. The lines connect the mean and the lowest error of the trials with the same value."
        more = f" Shown: the first {MAX_EFFECTS} of {len(panels)} values." if len(panels) > MAX_EFFECTS else ""
        gallery = _gallery(drawing, panels[:MAX_EFFECTS])
        sections.append(Section("Effect of each value", [Paragraph(words + more), gallery]))
    return sections


def _gallery(drawing: Pictures, panels: Sequence[Panel]) -> Gallery:
    return Gallery([Figure(drawing.draw(panel.paint, panel.alt), f"{panel.caption}.") for panel in panels])


def _summary(search: SearchResult) -> str:
    complete, stopped, failed = len(search.complete), len(search.stopped), len(search.failed)
    how = f"scheduler {search.scheduler}" if search.beam_width is None else f"width {search.beam_width}"
    words = f"{len(search.trials)} trials ({search.algorithm}, {how}): {complete} complete"
    words += f", {stopped} {'stopped early' if search.beam_width is None else 'prefixes'}" if stopped else ""
    words += f", {failed} failed" if failed else ""
    trained, requested = search.epochs_trained, search.epochs_requested
    return f"{words}. {requested:,} epochs requested, {trained:,} trained; the others were shared or in the store."


def _trials(search: SearchResult) -> list[Part]:
    """Return the best trials, with their values in columns, or in a folded table if there are too many keys."""
    complete = search.complete
    shown = sorted(complete, key=_rank)[:MOST_TRIALS]
    keys = list(dict.fromkeys(key for trial in shown for key in trial.config))
    wide = len(keys) > MOST_COLUMNS
    rows: list[list[Cell]] = [
        [
            f"{trial.number}{' ★' if trial.number == search.best else ''}",
            *([] if wide else [str(trial.config.get(key, "–")) for key in keys]),
            *(number(each) for each in _measures(trial)),
            "+".join(str(count) for count in trial.epochs) if len(trial.epochs) <= 8 else sum(trial.epochs),
        ]
        for trial in shown
    ]
    caption = f"Best {len(shown)} of {len(complete)} complete trials (★: best by {search.objectives[0]})"
    head = ["trial", *([] if wide else _names(keys)), "mean error / naive", "forgetting", "test / naive", "epochs"]
    parts: list[Part] = [Table(head, rows, caption)]
    if wide:
        values: list[list[Cell]] = [[str(trial.number), config_words(trial.config)] for trial in shown]
        parts.append(Details("Values of these trials", Table(["trial", "values"], values, "Searched values", words=True)))
    return parts


def _names(keys: Sequence[str]) -> Sequence[str]:
    """Return the searched keys without their sections, unless two of them would be equal."""
    names = [short_name(key) for key in keys]
    return names if len(set(names)) == len(keys) else keys


def _measures(trial: TrialResult) -> tuple[float | None, ...]:
    metrics = trial.metrics
    return metrics.mean_scaled_error, metrics.forgetting, metrics.test_mean_scaled_error


def _levels(search: SearchResult) -> Section:
    """Return the prefixes that a beam search kept after each dataset, and the choices they added."""
    by_number = {trial.number: trial for trial in search.trials}
    extended = {trial.parent for trial in search.trials if trial.parent is not None} | set(search.pareto)
    path = {trial.number for trial in search.way_to_best}
    rows: list[list[Cell]] = []
    for level in sorted({trial.level for trial in search.trials if trial.level is not None}):
        trials = [trial for trial in search.trials if trial.level == level]
        kept = sorted((trial for trial in trials if trial.number in extended or trial.number == search.best), key=_rank)
        for index, trial in enumerate(kept):
            parent_config = by_number[trial.parent].config if trial.parent in by_number else {}
            added = {key: value for key, value in trial.config.items() if key not in parent_config}
            first = [level, counted(len(trials), "trial")] if index == 0 else ["", ""]
            star = " ★" if trial.number in path else ""
            rows.append([*first, f"{trial.number}{star}", number(trial.metrics.mean_scaled_error), config_words(added)])
    words = "After each dataset the best prefixes are extended by every choice for the next one (★: leads to the best)."
    head = ["datasets", "tried", "kept", "mean error / naive", "added"]
    return Section("Beam", [Paragraph(words), Table(head, rows, "Prefixes that were kept after each dataset", words=True)])


def _rank(trial: TrialResult) -> tuple[float, int]:
    return trial.metrics.objective("mean_scaled_error"), trial.number
