"""A picture inside a page: drawn by Matplotlib, as SVG whose text is the page's own, legible on paper and in the dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

Axes = Any  # of Matplotlib, which is imported when something is drawn

# Okabe and Ito's colours, told apart by the colour-blind, in tones that stand out from a white page and from a dark one.
BLUE, ORANGE, GREEN, PINK = "#0b7fc4", "#d9660a", "#0a9a72", "#c2689b"
GRAY = "#858b92"
LINES = (BLUE, ORANGE, GREEN, PINK, "#8a7f14", "#7d6fd0", "#4d9aa8")
MARKERS = "osD^vPX"

_INK = "#010203"  # stands for the colour of the page's text
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dataset's name may have dollars in it
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.3,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
WIDTH, HEIGHT = 3.6, 2.3  # inches: as wide as a phone, so that letters are as large there as those of the text


class Pictures:
    """Draws the pictures of one page; each has identifiers of its own, so that one never takes another's clip or marker."""

    def __init__(self) -> None:
        self.count = 0

    def draw(
        self, paint: Callable[[Axes], None], alt: str, width: float = WIDTH, height: float = HEIGHT, fixed: bool = False
    ) -> str:
        """The SVG element of what `paint` does to a pair of axes; `alt` says in words what is to be seen.

        `fixed`: margins that fit numbers of six digits and one line of words, for half the time of measuring them.
        """
        import matplotlib
        from matplotlib.figure import Figure

        self.count += 1
        text = io.StringIO()
        with matplotlib.rc_context(_SETTINGS):  # a figure of its own, without pyplot: nothing is kept
            figure = Figure(figsize=(width, height), layout=None if fixed else "constrained")
            paint(figure.add_subplot())
            if fixed:
                figure.subplots_adjust(left=0.17, right=0.98, bottom=0.19, top=0.9)
            figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _inline(text.getvalue(), f"p{self.count}-", alt, f"min-width: {width:.1f}in" if width > WIDTH else "")


def _inline(svg: str, prefix: str, alt: str, style: str) -> str:
    """The SVG as an element of a page: no fonts, style sheet or identifiers that would reach beyond it, and short."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid=")', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"; font-family: [^;\"]*|font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r"(?<=[\s\"])(d|x|y|transform)=\"[^\"]*\"", lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg).replace(_INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{style}"', 1)


def short(name: str, length: int = 16) -> str:
    """A name that fits an axis."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plain_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks of a logarithmic axis around numbers from low to high, as plain numbers."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    ticks = [base * 10.0**power for power in range(-6, 7) for base in (1, 2, 5)]
    ticks = [tick for tick in ticks if low / 2 <= tick <= high * 2]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
