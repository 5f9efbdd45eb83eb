"""The parts of a report page, and the page, rendered by Jinja2 with autoescape.

The page needs no script and fetches nothing: style and pictures are inside the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data.errors import plain

# A second line of defence behind autoescape: the browser runs no script of this page and fetches nothing for it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Marked:
    """A table cell in the colour of good or bad."""

    text: str
    good: bool


Cell = str | float | int | Marked | None


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; `kind` is "", "soft" or "warning"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table with row names in its first column; it scrolls sideways if it is wider than the page."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    words: bool = False  # the cells are text, aligned to the left


@dataclass(frozen=True)
class Figure:
    """An SVG picture with a caption; a wide one scrolls sideways if the page is narrower."""

    picture: Markup
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as fit."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Listing:
    """The text of a file."""

    text: str


@dataclass(frozen=True)
class Measures:
    """Measures with their values and definitions: (name, value, definition)."""

    rows: Sequence[tuple[str, Cell, str]]


@dataclass(frozen=True)
class KeyFigures:
    """The numbers at the top of the page: (name, value)."""

    rows: Sequence[tuple[str, Cell]]


@dataclass(frozen=True)
class Details:
    """A part that is folded until the reader opens it."""

    summary: str
    content: Paragraph | Table | Listing


PARTS = (Paragraph, Heading, Table, Figure, Gallery, Listing, Measures, KeyFigures, Details)
Part = Paragraph | Heading | Table | Figure | Gallery | Listing | Measures | KeyFigures | Details


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading, linked from the top."""

    title: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """Return the id that the links of the page point to."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def page(title: str, intro: Sequence[Part], sections: Sequence[Section], footer: str) -> str:
    """Return the whole HTML file."""
    loader = PackageLoader("workflows.report")
    environment = Environment(
        loader=loader, autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for kind in (*PARTS, Marked):
        environment.tests[kind.__name__.lower()] = _is_a(kind)
    style = Markup(loader.get_source(environment, "style.css")[0])
    template = environment.get_template("page.html")
    return template.render(title=title, intro=intro, sections=sections, footer=footer, style=style, policy=POLICY)


def _is_a(kind: type[Any]) -> Any:
    return lambda value: isinstance(value, kind)


def _shown(value: Any) -> Any:
    """Return text with control and bidirectional characters escaped, any other value unchanged."""
    return plain(value) if type(value) is str else value
