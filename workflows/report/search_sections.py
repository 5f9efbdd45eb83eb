"""What the page of a search says: what was tried, what it came to, what each value does, and what sharing epochs saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows.report.page import Cell, Html, Section, details, figure, listing, paragraph, pictures, table, warning
from workflows.report.picture import BLUE, GRAY, GREEN, ORANGE, Axes, Pictures, short
from workflows.report.run_sections import number
from workflows.search.plot import MAX_EFFECTS, effects

Facts = Mapping[str, Any]
MOST_TRIALS = 30


def search_figures(search: Facts) -> list[tuple[str, Cell]]:
    """The numbers that come first."""
    best = _best(search)
    error = None if best is None else number(best["metrics"]["mean_scaled_error"])
    return [
        ("trials", len(search["trials"])),
        ("lowest mean error / naive", error),
        ("epochs asked for", f"{search['epochs_requested']:,}"),
        ("epochs trained", f"{search['epochs_trained']:,}"),
        ("seconds", f"{search['seconds']:.1f}"),
    ]


def _best(search: Facts) -> Facts | None:
    return next((trial for trial in search["trials"] if trial["number"] == search["best"]), None)


def search_sections(drawing: Pictures, search: Facts, best_recipe: str | None, name: str, storage: str) -> list[Section]:
    """All parts of a search's page."""
    whole = [
        trial
        for trial in search["trials"]
        if trial["stopped_after"] is None and trial["metrics"].get("mean_scaled_error") is not None
    ]
    failed = [trial for trial in search["trials"] if "failed" in trial]
    stopped = [trial for trial in search["trials"] if trial["stopped_after"] is not None]
    parts: list[Html] = [paragraph(_in_words(search, len(whole), len(stopped), len(failed)))]
    parts += [warning(f"trial {trial['number']} failed: {trial['failed']}") for trial in failed[:5]]
    if whole:
        parts.append(pictures(_scatters(drawing, search, whole)))
    parts.append(_trials(search, whole))
    best = _best(search)
    if best is not None and best_recipe is not None:
        where = f"{storage}/runs/{name}/best.toml"
        parts.append(
            paragraph(f"python -m workflows train {where} finds all epochs of the best trial in the store.", "soft")
        )
        parts.append(details("The recipe of the best trial", listing(best_recipe)))
    found = [Section("The search", parts)]
    names = effects(whole)
    several = [each for each in names if len(names[each]) > 1]
    if several:
        drawn = [figure(_effect(drawing, each, names[each])) for each in several[:MAX_EFFECTS]]
        words = "Each dot is a trial; the lines are the mean and the lowest of the trials with the same value."
        more = f" The first {MAX_EFFECTS} of {len(several)} values are shown." if len(several) > MAX_EFFECTS else ""
        found.append(Section("What each value does", [paragraph(words + more), pictures(drawn)]))
    return found


def _in_words(search: Facts, whole: int, stopped: int, failed: int) -> str:
    words = (
        f"{len(search['trials'])} trials ({search['algorithm']}, scheduler {search['scheduler']}): {whole} went to their end"
    )
    words += f", {stopped} were stopped" if stopped else ""
    words += f", {failed} failed" if failed else ""
    trained, requested = search["epochs_trained"], search["epochs_requested"]
    words += f". They asked for {requested:,} epochs; {trained:,} were trained, the others were shared or in the store."
    return words


def _scatters(drawing: Pictures, search: Facts, whole: Sequence[Facts]) -> list[Html]:
    errors = [trial["metrics"]["mean_scaled_error"] for trial in whole]
    best = _best(search)

    def star(axes: Axes, place: float | None) -> None:
        if best is not None and place is not None:
            point = best["metrics"]["mean_scaled_error"]
            axes.plot([place], [point], "*", color=ORANGE, markersize=11, label=f"best: trial {best['number']}")
            axes.legend(loc="best")

    def cost(axes: Axes) -> None:
        axes.plot([trial["samples"] for trial in whole], errors, "o", color=BLUE, alpha=0.55, markersize=3.5)
        star(axes, None if best is None else best["samples"])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("training samples seen")
        axes.set_ylabel("mean error / naive")

    lowest = f"The lowest of {len(whole)} errors is {min(errors):.3f}, the highest {max(errors):.3f}."
    found = [
        figure(drawing.draw(cost, f"Error of each trial by its cost. {lowest}"), "What a trial costs, and what it comes to.")
    ]
    known = [trial for trial in whole if trial["metrics"].get("forgetting") is not None]
    if known:
        front = sorted(
            (trial["metrics"]["forgetting"], trial["metrics"]["mean_scaled_error"])
            for trial in known
            if trial["number"] in search["pareto"]
        )

        def pareto(axes: Axes) -> None:
            places = [trial["metrics"]["forgetting"] for trial in known]
            axes.plot(
                places,
                [trial["metrics"]["mean_scaled_error"] for trial in known],
                "o",
                color=BLUE,
                alpha=0.55,
                markersize=3.5,
            )
            if front:
                axes.plot(*zip(*front, strict=True), color=GREEN, marker="D", markersize=4, label="Pareto front")
            star(axes, None if best is None else best["metrics"].get("forgetting"))
            axes.set_xlabel("forgetting")
            axes.set_ylabel("mean error / naive")
            axes.legend(loc="best")

        alt = f"Error against forgetting of each trial; {len(front)} are not beaten in both."
        found.append(figure(drawing.draw(pareto, alt), "The Pareto front: no trial is better in both."))
    return found


def _trials(search: Facts, whole: Sequence[Facts]) -> Html:
    ranked = sorted(whole, key=lambda trial: (trial["metrics"]["mean_scaled_error"], trial["number"]))
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
    caption = (
        f"The {len(shown)} best of {len(whole)} trials that went to their end (★: the best by {search['objectives'][0]})"
    )
    return table(["trial", *keys, "mean error / naive", "forgetting", "test / naive", "epochs"], rows, caption)


def _effect(drawing: Pictures, name: str, values: Mapping[Any, Sequence[float]]) -> str:
    numeric = all(isinstance(value, (int, float)) for value in values)
    places: list[Any] = list(values) if numeric else list(range(len(values)))

    def paint(axes: Axes) -> None:
        for place, errors in zip(places, values.values(), strict=True):
            axes.plot([place] * len(errors), errors, "o", color=GRAY, alpha=0.4, markersize=3)
        axes.plot(
            places,
            [sum(errors) / len(errors) for errors in values.values()],
            color=BLUE,
            marker="s",
            markersize=4,
            label="mean",
        )
        axes.plot(places, [min(errors) for errors in values.values()], color=GREEN, marker="v", markersize=4, label="lowest")
        if len(places) <= 8:
            axes.set_xticks(places, [short(str(value), 14) for value in values])
        axes.set_xlabel(short(name, 40))
        axes.set_ylabel("mean error / naive")
        axes.legend(loc="best")

    lowest = ", ".join(f"{short(str(value), 20)}: {min(errors):.3f}" for value, errors in list(values.items())[:12])
    return drawing.draw(paint, f"Lowest mean error with each value of {name}: {lowest}.")
