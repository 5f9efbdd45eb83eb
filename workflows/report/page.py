"""A page of HTML that stands by itself: headings, tables and figures, all text escaped; no script, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
# Should anything ever slip through the escaping: the browser runs no script of this page and fetches nothing for it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Cell = str | Html | float | int | None


def text(cell: Cell) -> str:
    """The HTML of a cell or a piece of text."""
    if isinstance(cell, Html):
        return str(cell)
    return "–" if cell is None else escape(str(cell))


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own."""

    title: str
    parts: Sequence[Html]

    @property
    def anchor(self) -> str:
        """Where the page's own links lead."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def paragraph(words: Cell, kind: str = "") -> Html:
    """A paragraph of plain text."""
    return Html(f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>")


def warning(words: str) -> Html:
    """A paragraph that is to be seen."""
    return Html(f'<p class="warning">{text(words)}</p>')


def heading(words: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{text(words)}</h3>")


def marked(words: str, good: bool | None) -> Html:
    """Words in the colour of good or bad; None: as they are."""
    return Html(escape(words) if good is None else f'<span class="{"good" if good else "bad"}">{escape(words)}</span>')


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str, words: bool = False) -> Html:
    """A table whose rows begin with their names; it scrolls by itself where it is wider than the page."""
    columns = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{text(row[0])}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    label, kind = text(caption), ' class="words"' if words else ""
    return Html(
        f'<p class="caption">{label}</p>\n<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table{kind} aria-label="{label}"><thead><tr>{columns}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def figure(picture: str, caption: str = "", wide: bool = False) -> Html:
    """A picture with its caption; one that is wide scrolls by itself where the page is narrower."""
    if wide:
        picture = f'<div class="scroll wide" tabindex="0" role="region" aria-label="{text(caption)}">{picture}</div>'
    return Html(f"<figure>{picture}{f'<figcaption>{text(caption)}</figcaption>' if caption else ''}</figure>")


def pictures(each: Iterable[str]) -> Html:
    """Pictures beside each other, as many as fit."""
    return Html('<div class="pictures">' + "\n".join(each) + "</div>")


def details(summary: str, content: str) -> Html:
    """Something that is there for who asks for it."""
    return Html(f"<details><summary>{text(summary)}</summary>{content}</details>")


def listing(content: str) -> Html:
    """Text of a file."""
    return Html(f'<pre tabindex="0"><code>{escape(content)}</code></pre>')


def definitions(rows: Iterable[tuple[str, Cell, str]]) -> Html:
    """Measures with their values and what they are."""
    inner = "".join(
        f"<dt>{text(name)}: <strong>{text(value)}</strong></dt><dd>{text(words)}</dd>" for name, value, words in rows
    )
    return Html(f'<dl class="measures">{inner}</dl>')


def key_figures(figures: Iterable[tuple[str, Cell]]) -> Html:
    """The numbers that come first."""
    return Html(
        '<dl class="figures">' + "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in figures) + "</dl>"
    )


def page(title: str, intro: Sequence[Html], sections: Sequence[Section], footer: str) -> str:
    """The whole file."""
    links = "".join(f'<a href="#{each.anchor}">{text(each.title)}</a>' for each in sections)
    body = "\n".join(
        f'<section aria-labelledby="{each.anchor}"><h2 id="{each.anchor}">{text(each.title)}</h2>\n'
        + "\n".join(each.parts)
        + "</section>"
        for each in sections
    )
    head = "\n".join(
        [
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>",
            f"<style>{STYLE.read_text(encoding='utf-8')}</style>",
        ]
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n<header><h1>{text(title)}</h1>\n'
        + "\n".join(intro)
        + f'</header>\n<nav aria-label="Parts of this page">{links}</nav>\n<main>\n{body}\n</main>\n'
        + f'<footer><p class="soft">{text(footer)}</p></footer>\n</body>\n</html>\n'
    )
