"""Draw pictures with Matplotlib as SVG: inline in a page (its font and text colour, light or dark), or as a file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from data.errors import plain

Axes = Any  # Matplotlib is imported only when something is drawn

# The Okabe-Ito palette, safe for the colour-blind, in tones with enough contrast on a white and on a dark page.
BLUE, ORANGE, GREEN, PINK = "#0b7fc4", "#d9660a", "#0a9a72", "#c2689b"
GRAY = "#858b92"
LINES = (BLUE, ORANGE, GREEN, PINK, "#8a7f14", "#7d6fd0", "#4d9aa8")
MARKERS = "osD^vPX"

_INK = "#010203"  # replaced by the text colour of the page
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dataset's name may contain dollar signs
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
WIDTH, HEIGHT = 3.6, 2.3  # inches: the width of a phone, so that a picture is not scaled down there


class Pictures:
    """Draws the pictures of one page with unique ids, so that no picture uses the clip or marker of another."""

    def __init__(self) -> None:
        self.count = 0

    def draw(
        self, paint: Callable[[Axes], None], alt: str, width: float = WIDTH, height: float = HEIGHT, fixed: bool = False
    ) -> Markup:
        """Return the SVG element that `paint` draws on a pair of axes; `alt` describes it in words.

        `fixed` uses margins that fit six-digit numbers and one line of text; measuring the text takes twice the time.
        """
        import matplotlib
        from matplotlib.figure import Figure

        self.count += 1
        text = io.StringIO()
        with matplotlib.rc_context(_SETTINGS):  # a Figure without pyplot keeps no global state
            figure = Figure(figsize=(width, height), layout=None if fixed else "constrained")
            paint(figure.add_subplot())
            if fixed:
                figure.subplots_adjust(left=0.17, right=0.98, bottom=0.19, top=0.9)
            figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _inline_svg(text.getvalue(), f"p{self.count}-", alt, f"min-width: {width:.1f}in" if width > WIDTH else "")


@dataclass(frozen=True)
class Panel:
    """A picture for a page or a file: `paint` draws it, `alt` and `caption` describe it."""

    paint: Callable[[Axes], None]
    caption: str
    alt: str


def draw_sheet(panels: Sequence[Panel], title: str, columns: int = 3) -> bytes:
    """Return an SVG file with all panels on a white background."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = max(min(columns, len(panels)), 1)
    rows = -(-len(panels) // columns)
    content = io.BytesIO()
    with matplotlib.rc_context({**_SETTINGS, "savefig.facecolor": "white"}):
        figure = Figure(figsize=(4.0 * columns, 3.0 * rows + 0.4), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat) if panels else []
        for panel, axes in zip(panels, grid, strict=False):
            panel.paint(axes)
            axes.set_title(panel.caption, loc="left")
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.suptitle(title)
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _inline_svg(svg: str, prefix: str, alt: str, style: str) -> Markup:
    """Return the SVG as an element of a page, without fonts and style sheet, with prefixed ids and rounded coordinates."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid=")', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"; font-family: [^;\"]*|font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r"(?<=[\s\"])(d|x|y|transform)=\"[^\"]*\"", lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg).replace(_INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{style}"', 1))


def short(name: str, length: int = 16) -> str:
    """Shorten a name to fit an axis; its control characters are shown."""
    name = plain(name)
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plain_ticks(axis: Any, low: float, high: float, steps: Sequence[int] = (1, 2, 5)) -> None:
    """Label a logarithmic axis from `low` to `high` with plain numbers: these times powers of ten."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    ticks = [base * 10.0**power for power in range(-9, 7) for base in steps]
    ticks = [tick for tick in ticks if low / 2 <= tick <= high * 2]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
