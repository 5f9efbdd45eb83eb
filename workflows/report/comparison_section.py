"""The section that shows a run beside joint and separate training, if `compare` measured them."""

from __future__ import annotations

from workflows.report.page import Paragraph, Section, Table
from workflows.report.run_sections import number
from workflows.results.comparison import read_comparison
from workflows.results.run_result import RunResult
from workflows.store.store import Store

HEAD = ("dataset", "sequence", "joint", "separate", "naive", "seasonal naive")


def comparison_section(store: Store, run: RunResult) -> Section | None:
    """Return the section of a run; None without a comparison, or if the run was trained further since."""
    comparison = read_comparison(store, run.name)
    if comparison is None or comparison.key != run.key:
        return None
    rows = [
        [dataset, *map(number, (each.sequence, each.joint, each.separate, each.naive, each.seasonal_naive))]
        for dataset, each in [*comparison.datasets.items(), ("mean", comparison.mean)]
    ]
    costs = ", ".join(f"{kind} {count:,}" for kind, count in comparison.samples.items())
    return Section(
        "Compared with joint and separate training",
        [
            Paragraph(
                "The same model and settings, trained on all datasets at once (joint) and on each alone (separate). "
                f"Gradient samples: {costs}."
            ),
            Table(HEAD, rows, "Test error relative to the last-value naive forecast (1 = equal)"),
        ],
    )
