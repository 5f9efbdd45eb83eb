"""Write report.html: one page on a run or a search, from the store alone. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace

from data.errors import InputError
from workflows.recipe.checks import suggest
from workflows.recipe.recipe import Recipe
from workflows.relay.failures import RunFailedError
from workflows.relay.guard import sentence_of
from workflows.relay.metrics import mean_of, naive_error
from workflows.report.against import against_section, choose_other
from workflows.report.comparison_section import comparison_section
from workflows.report.data_section import data_section
from workflows.report.forecast_section import choose_datasets, forecast_section
from workflows.report.measures_section import measures_section
from workflows.report.page import Cell, Details, Heading, KeyFigures, Listing, Paragraph, Part, Section, Table, page
from workflows.report.run_sections import (
    clock,
    matrix_section,
    naive_section,
    number,
    sequence_section,
    transfer_section,
    work_section,
)
from workflows.report.search_sections import search_figures, search_sections
from workflows.report.timeline import timeline
from workflows.results.partial import kept_tests, partial_result, unopened_result
from workflows.results.picture import Pictures
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import RunResult
from workflows.results.search_result import SearchResult
from workflows.results.sessions import calls_of, total_seconds
from workflows.results.stored_runs import Run, search_under_way, stored_run, stored_search
from workflows.results.tables import stages_reached
from workflows.results.trained import TrainedRun, recipe_of, reopen
from workflows.store.store import Store


def make_report(store: Store, name: str, against: str | None = None) -> str:
    """Return the page of a run, a search, or both if they share the name; raises InputError if there is neither."""
    run, search, under_way = stored_run(store, name), stored_search(store, name), search_under_way(store, name)
    if run is None and search is None and under_way is None:
        hint = suggest(name, store.storage.names("runs"))
        raise InputError(f"{name}: no such run or search in {store.address}: {hint}")
    if against is not None and run is None:
        raise InputError(f"--against {against}: {name!r} is a search; only runs can be compared")
    drawing = Pictures()
    sections: list[Section] = []
    intro: list[Part] = []
    if run is not None:
        run_intro, run_sections = _run_parts(drawing, store, run, against)
        intro += run_intro
        sections += run_sections
    if under_way is not None:
        words = f"{under_way.trials_ended} of {under_way.trials_asked} trials have ended"
        status = f"{under_way.status}, last update {clock(under_way.when)}"
        intro.append(Paragraph(f"The search of this name has not finished ({status}): {words}.", "warning"))
    if search is not None:
        best = search.best_recipe or _text(store, name, "best.toml")  # searches of earlier versions have only this file
        intro += [
            Paragraph(f"Search {search.name}, finished {clock(search.when)}."),
            KeyFigures(search_figures(search)),
        ]
        sections += search_sections(drawing, search, best, name, store.address)
    sections.append(_origin(store, name, run, search))
    return page(name, intro, sections, f"{store.address}/runs/{name}, written by lstm-relay report.")


def _run_parts(drawing: Pictures, store: Store, stored: Run, against: str | None) -> tuple[list[Part], list[Section]]:
    recipe, opened, reason = _open_run(store, stored)
    if isinstance(stored, RunProgress):
        if opened is None:
            status = _status(unopened_result(stored), stages_reached(stored))
            return [*status, Paragraph(f"Its progress cannot be shown: {reason}.", "warning")], []
        model = opened.plan.model
        naive = [naive_error(dataset, "validation", model.loss) for dataset in opened.datasets]
        run, other = partial_result(stored, opened.plan, store, naive), None
    else:
        run = stored
        if run.status == "rolled back" and opened is not None:
            run = replace(run, test=kept_tests(opened, store))
        measured = against is not None or run.error_matrix.validation
        other = choose_other(store, run, against) if measured else None
    epochs = {key: store.record(key) for stage in run.stages for key in stage.keys}
    stages = timeline(run.stages, epochs, recipe.training if recipe else None)
    sections: list[Section | None] = []
    if stages:
        sections += [sequence_section(drawing, run, stages), matrix_section(drawing, run)]
        sections.append(naive_section(run, recipe.entries[0].settings.targets if recipe else []))
        sections.append(measures_section(run.test))
        sections.append(comparison_section(store, run))
        if other is not None:
            sections.append(against_section(drawing, run, other))
        sections.append(transfer_section(run))
        sections.append(_forecasts(drawing, store, run, opened, reason))
        sections.append(None if opened is None else data_section(opened.datasets))
        sections.append(work_section(run, epochs))
    hint = _hint(store, run, other) if isinstance(stored, RunResult) else []
    return [*_status(run, stages_reached(run)), *hint], [each for each in sections if each is not None]


def _open_run(store: Store, run: Run) -> tuple[Recipe | None, TrainedRun | None, str]:
    """Return the recipe and the opened run, each None if the store no longer has it, and the reason."""
    recipe = None
    try:
        recipe = recipe_of(store, run)
        return recipe, reopen(store, run), ""
    except (InputError, OSError, ValueError, KeyError) as error:
        return recipe, None, str(error)


def _forecasts(drawing: Pictures, store: Store, run: RunResult, opened: TrainedRun | None, reason: str) -> Section:
    from workflows.report.forecasts import sample_forecasts

    if opened is not None:
        chosen = choose_datasets([dataset.name for dataset in opened.datasets], run.test)
        try:
            shown = sample_forecasts(store, opened, chosen)
        except (RunFailedError, OSError) as error:
            reason = str(error)
        else:
            return forecast_section(drawing, shown, len(opened.datasets))
    return Section("Forecasts", [Paragraph(f"Forecasts are not available: {reason}.", "warning")])


def _status(run: RunResult, reached: str) -> list[Part]:
    """Return the status of a run, its key figures and its warnings."""
    words = {"finished": "Finished", "rolled back": "Rolled back to an earlier stage"}.get(
        run.status, run.status.capitalize()
    )
    parts: list[Part] = [Paragraph(f"{words} {clock(run.when)}. Retention: {run.retention}.")]
    if run.status in ("failed", "interrupted", "running"):
        reason = f": {run.message}" if run.message else ""
        parts = [
            Paragraph(f"This run has not finished ({run.status}, last update {clock(run.when)}){reason}.", "warning"),
            Paragraph("The page shows the epochs in the store so far; the same train command resumes the run.", "soft"),
        ]
    parts.append(
        KeyFigures(
            [
                ("datasets", reached),
                ("mean error / naive", number(run.mean_scaled_error)),
                ("mean test error / naive", number(mean_of([each.scaled_error for each in run.test.values()]))),
                ("forgetting", number(run.forgetting)),
                ("epochs", _epochs(run, sum(len(stage.keys) for stage in run.stages))),
                ("seconds", number(total_seconds(calls_of(run)).total, 1) if calls_of(run) else None),
            ]
        )
    )
    parts += [Paragraph(f"guard: {sentence_of(each)}", "warning") for each in run.guard]
    parts += [Paragraph(f"warning: {each}", "warning") for each in run.warnings]
    return parts


def _epochs(run: RunResult, done: int) -> str:
    if run.epochs_trained is None:
        return f"{done} of {run.epochs_requested}"
    calls = calls_of(run)
    trained, again = sum(each.epochs_trained for each in calls), sum(each.epochs_tried_again for each in calls)
    if again:
        return f"{trained} trained, {again} in further attempts"
    # Attempts that the guard rejected count as trained.
    return f"{done} kept of {trained} trained" if trained > done else f"{trained} trained, {done - trained} reused"


def _hint(store: Store, run: RunResult, other: RunResult | None) -> list[Part]:
    if other is not None or run.retention == "none":
        return []
    command = (
        f"lstm-relay train {store.address}/runs/{run.name}/recipe.toml --name {run.name}-plain --set retention.method=none"
    )
    return [
        Paragraph(
            f"To see the effect of retention, train the plain sequence: {command} --storage {store.address}",
            "soft",
        )
    ]


def _origin(store: Store, name: str, run: Run | None, search: SearchResult | None) -> Section:
    parts: list[Part] = []
    addresses: list[list[Cell]] = [] if run is None else [["final state", run.key]]
    if search is not None and search.key:
        addresses.append(["best trial", search.key])
    if run is not None:
        for dataset, folder in list(zip(run.datasets, run.prepared, strict=False))[:60]:
            addresses += [[f"prepared {dataset}", folder]]
    if addresses:
        parts += [
            Heading("Addresses"),
            Details("In the store", Table(["", "address"], addresses, store.address, words=True)),
        ]
    versions = run.versions if isinstance(run, RunResult) else search.versions if search is not None else {}
    if versions:
        parts += [Heading("Versions"), Paragraph(", ".join(f"{package} {version}" for package, version in versions.items()))]
    recipe = _text(store, name, "recipe.toml")
    if recipe is not None:
        parts += [Heading("Recipe"), Listing(recipe)]
    return Section("Provenance", parts)


def _text(store: Store, name: str, file: str) -> str | None:
    try:
        return store.storage.read(f"runs/{name}/{file}").decode()
    except FileNotFoundError:
        return None
