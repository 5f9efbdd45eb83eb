"""The report sections of a search: trials, epochs saved by sharing, effect of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows.report.page import Cell, Details, Figure, Gallery, Listing, Paragraph, Part, Section, Table
from workflows.report.run_sections import number
from workflows.results.picture import Panel, Pictures
from workflows.search.plot import MAX_EFFECTS, best_trial, complete_trials, effect_panels, search_panels

Facts = Mapping[str, Any]
MOST_TRIALS = 30


def search_figures(search: Facts) -> list[tuple[str, Cell]]:
    """Return the key figures of a search."""
    best = best_trial(search)
    return [
        ("trials", len(search["trials"])),
        ("lowest mean error / naive", None if best is None else number(best["metrics"]["mean_scaled_error"])),
        ("epochs requested", f"{search['epochs_requested']:,}"),
        ("epochs trained", f"{search['epochs_trained']:,}"),
        ("seconds", f"{search['seconds']:.1f}"),
    ]


def search_sections(drawing: Pictures, search: Facts, best_recipe: str | None, name: str, storage: str) -> list[Section]:
    """Return all sections of a search."""
    complete = complete_trials(search)
    failed = [trial for trial in search["trials"] if "failed" in trial]
    stopped = sum(trial["stopped_after"] is not None for trial in search["trials"])
    parts: list[Part] = [Paragraph(_summary(search, len(complete), stopped, len(failed)))]
    parts += [Paragraph(f"trial {trial['number']} failed: {trial['failed']}", "warning") for trial in failed[:5]]
    if complete:
        parts.append(_gallery(drawing, search_panels(search)))
    parts.append(_trials(search, complete))
    if best_trial(search) is not None and best_recipe is not None:
        command = f"lstm-relay train {storage}/runs/{name}/best.toml --storage {storage}"
        parts.append(Paragraph(f"{command} loads every epoch of the best trial from the store.", "soft"))
        parts.append(Details("Recipe of the best trial", Listing(best_recipe)))
    sections = [Section("Search", parts)]
    panels = effect_panels(search)
    if panels:
        words = "Each dot is a trial. The lines connect the mean and the lowest error of the trials with the same value."
        more = f" Shown: the first {MAX_EFFECTS} of {len(panels)} values." if len(panels) > MAX_EFFECTS else ""
        gallery = _gallery(drawing, panels[:MAX_EFFECTS])
        sections.append(Section("Effect of each value", [Paragraph(words + more), gallery]))
    return sections


def _gallery(drawing: Pictures, panels: Sequence[Panel]) -> Gallery:
    return Gallery([Figure(drawing.draw(panel.paint, panel.alt), f"{panel.caption}.") for panel in panels])


def _summary(search: Facts, complete: int, stopped: int, failed: int) -> str:
    words = f"{len(search['trials'])} trials ({search['algorithm']}, scheduler {search['scheduler']}): {complete} complete"
    words += f", {stopped} stopped early" if stopped else ""
    words += f", {failed} failed" if failed else ""
    trained, requested = search["epochs_trained"], search["epochs_requested"]
    return f"{words}. {requested:,} epochs requested, {trained:,} trained; the others were shared or in the store."


def _trials(search: Facts, complete: Sequence[Facts]) -> Table:
    ranked = sorted(complete, key=lambda trial: (trial["metrics"]["mean_scaled_error"], trial["number"]))
    shown = ranked[:MOST_TRIALS]
    keys = list(dict.fromkeys(key for trial in shown for key in trial["config"]))
    rows: list[list[Cell]] = [
        [
            f"{trial['number']}{' ★' if trial['number'] == search['best'] else ''}",
            *(str(trial["config"].get(key, "–")) for key in keys),
            *(number(trial["metrics"].get(each)) for each in ("mean_scaled_error", "forgetting", "test_mean_scaled_error")),
            "+".join(str(count) for count in trial["epochs"]) if len(trial["epochs"]) <= 8 else sum(trial["epochs"]),
        ]
        for trial in shown
    ]
    caption = f"Best {len(shown)} of {len(complete)} complete trials (★: best by {search['objectives'][0]})"
    return Table(["trial", *keys, "mean error / naive", "forgetting", "test / naive", "epochs"], rows, caption)
