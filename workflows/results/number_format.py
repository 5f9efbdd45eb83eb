"""Format numbers: with their nouns, as cells, and in tables with aligned digits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show(value: float | None, digits: int = 4) -> str:
    """Return a number for a table; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def few_digits(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits; below a million, all digits before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


def empty_table(columns: Sequence[str], texts: Collection[int] = (0,), title: str | None = None) -> Table:
    """Return a table without rows; the columns at the indices `texts` are text, all others numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index in texts else "right")
    return table


def shortened(text: str, length: int) -> str:
    """Return text of at most `length` characters, with an ellipsis in the middle if it was longer."""
    if len(text) <= length:
        return text
    tail = max(length - 1, 1) // 2
    return f"{text[: max(length - 1 - tail, 0)]}…{text[-tail:]}"
