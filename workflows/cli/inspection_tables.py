"""Show an inspection as tables that fit the screen; values that all datasets share are printed once."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from workflows.prepare.inspection import InspectedDataset, Inspection, Scale, by_difference
from workflows.prepare.order import order_words
from workflows.results.number_format import empty_table, few_digits

Cells = dict[str, list[str]]  # a column's heading, and its text for each dataset

ALIKE = 0.0005  # distance of two samples of one distribution, by chance
EDGE = 3  # characters between the columns of a table
FIGURE_WIDTH = 7  # characters of a distance with its space


def inspection(inspected: Inspection, width: int) -> list[RenderableType]:
    """Return everything to show of an inspection on a screen of `width` characters, in order."""
    names = [each.name for each in inspected.datasets]
    shown = [
        *_folded("Rows", names, _row_cells(inspected.datasets)),
        *_folded("Samples", names, _sample_cells(inspected.datasets)),
        *_scales(inspected.datasets, names, width),
        *_targets(inspected.datasets, names, width),
    ]
    if len(names) > 1:
        shown += [*_distances(inspected, width), *_order(inspected)]
    return shown


def _row_cells(datasets: Sequence[InspectedDataset]) -> Cells:
    gaps = [each.longest_gap for each in datasets]
    return {
        "rows": [f"{each.rows:,}" for each in datasets],
        "series": [f"{each.series:,}" for each in datasets],
        "from": [_moment(each.first) for each in datasets],
        "to": [_moment(each.last) for each in datasets],
        "step": [str(each.frequency or "-") for each in datasets],
        "missing": [_share(each.missing_share) for each in datasets],
        "longest gap": ["-" if gap is None else f"{gap.rows:,} x {gap.column}" for gap in gaps],
    }


def _sample_cells(datasets: Sequence[InspectedDataset]) -> Cells:
    cells = {s: [f"{each.samples[s]:,}" for each in datasets] for s in ("train", "validation", "test")}
    windows = [each.window for each in datasets]
    for end in ("shortest", "median", "longest"):
        cells[f"{end} window"] = [f"{getattr(window, end):,g}" for window in windows]
    if all(window.shortest == window.longest for window in windows):
        cells["window"] = cells.pop("longest window")
        del cells["shortest window"], cells["median window"]
    return cells


def _folded(title: str, names: Sequence[str], cells: Cells) -> list[RenderableType]:
    """Return a table of the values that differ between the datasets, and a line of those that do not."""
    same = {head: texts[0] for head, texts in cells.items() if len(set(texts)) == 1 and len(names) > 1}
    varied = {head: texts for head, texts in cells.items() if head not in same}
    words = ", ".join(f"{head} {texts}" for head, texts in same.items() if texts != "-")
    shown: list[RenderableType] = [Text(f"{title}; the same in all: {words}" if words else title)]
    return [*shown, _table(names, varied) if varied else Text()]


def _table(names: Sequence[str], cells: Cells) -> Table:
    table = empty_table(["dataset", *cells])
    for row, name in enumerate(names):
        table.add_row(Text(name), *(Text(texts[row]) for texts in cells.values()))
    return table


def _scales(datasets: Sequence[InspectedDataset], names: Sequence[str], width: int) -> list[RenderableType]:
    """Show mean and deviation of the columns that differ most between the datasets, as many as fit."""
    columns = by_difference(datasets, list(datasets[0].columns))
    cells = {name: [_mean_and_deviation(each.columns[name]) for each in datasets] for name in columns}
    return _table_that_fits("Scales of the train rows: mean ± standard deviation", names, cells, width)


def _targets(datasets: Sequence[InspectedDataset], names: Sequence[str], width: int) -> list[RenderableType]:
    classes = [each.classes for each in datasets if each.classes is not None]
    if classes:
        cells = {
            "classes": [str(len(each)) for each in classes],
            "samples of the rarest": [f"{min(each.values()):,} {min(each, key=each.__getitem__)}" for each in classes],
            "of the most frequent": [f"{max(each.values()):,} {max(each, key=each.__getitem__)}" for each in classes],
        }
        return _folded("Classes of the train samples", names, cells)
    targets = by_difference(datasets, datasets[0].targets)
    return _table_that_fits(
        "Ranges of the targets in the train rows",
        names,
        {name: [_range(each.columns[name]) for each in datasets] for name in targets},
        width,
    )


def _table_that_fits(title: str, names: Sequence[str], cells: Cells, width: int) -> list[RenderableType]:
    """Return a table of the columns that fit, and a line that names the others."""
    left = width - EDGE - max(map(len, [*names, "dataset"]))
    shown: Cells = {}
    for head, texts in cells.items():
        left -= max(map(len, [*texts, head])) + EDGE
        if left < 0 and shown:
            break
        shown[head] = texts
    rest = [head for head in cells if head not in shown]
    if rest:
        few = ", ".join(rest[:8]) + (f" and {len(rest) - 8} more" if len(rest) > 8 else "")
        title += f"; {few} differ{'s' if len(rest) == 1 else ''} less between the datasets"
    return [Text(title), _table(names, shown)]


def _distances(inspected: Inspection, width: int) -> list[RenderableType]:
    """Show each dataset's distances in the suggested order: to all others, or to the nearest and farthest."""
    names, suggested = inspected.order.names, inspected.order.suggested
    order = [names.index(name) for name in suggested]
    distances = inspected.distances
    longest = max(map(len, [*names, "dataset"]))
    whole = EDGE + longest + EDGE + 2 + FIGURE_WIDTH * (len(names) + 1) <= width
    numbers = [str(number) for number in range(1, len(names) + 1)]
    table = empty_table(
        ["", "dataset", *([*numbers, "mean"] if whole else ["mean", "nearest", "farthest"])], (1,) if whole else (1, 3, 4)
    )
    for number, index in enumerate(order, 1):
        # By chance the distance of similar datasets may be slightly negative.
        to_others = [max(0.0, 1000 * each) for each in distances[index]]
        others = [other for other in order if other != index]
        ends = [min(others, key=lambda other: to_others[other]), max(others, key=lambda other: to_others[other])]
        mean = f"{max(0.0, 1000 * inspected.mean_distance[index]):.1f}"
        cells = [
            *("-" if other == index else f"{to_others[other]:.1f}" for other in order if whole),
            mean,
            *(f"{to_others[other]:.1f} {names[other]}" for other in ends if not whole),
        ]
        table.add_row(str(number), Text(names[index]), *map(Text, cells))
    return [Text("Distances between the train samples, in thousandths (below 0.5: the same), in the suggested order"), table]


def _order(inspected: Inspection) -> list[RenderableType]:
    order = inspected.order
    words = [Text(order_words(order.suggested))]
    if max(map(max, inspected.distances)) < ALIKE:
        words.append(Text("Their train samples have the same distribution: the order matters little."))
    if order.used == "suggested":
        words.append(Text('The recipe says order = "suggested": it is trained in this order.'))
    elif order.names == order.suggested:
        words.append(Text("The recipe already has this order."))
    else:
        words.append(Text('Trained in the order of the recipe; set order = "suggested" at its top to use this one.'))
    return list(words)


def _moment(time: str | None) -> str:
    """Return a time to the minute where its seconds are zero."""
    return "-" if time is None else time.removesuffix(":00") if time.count(":") == 2 else time


def _share(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.2f} %" if share >= 0.0001 else "< 0.01 %"


def _mean_and_deviation(column: Scale) -> str:
    return "-" if column.mean is None else f"{few_digits(column.mean)} ± {few_digits(column.deviation)}"


def _range(column: Scale) -> str:
    return "-" if column.low is None else f"{few_digits(column.low)} to {few_digits(column.high)}"
