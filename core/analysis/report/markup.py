"""Pieces of HTML. Text that comes from outside is escaped here, and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_VOID = {"br", "hr", "img", "meta"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # HTML has no place for them


class Html(str):
    """Text that is HTML already; every other string is plain text."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as HTML: escaped, unless it is HTML already."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(readable(str(value))))


def readable(name: str) -> str:
    """`name` without what no page can show: a file's name may hold bytes that are no text."""
    return _CONTROL.sub("?", name.encode("utf-8", "replace").decode("utf-8"))


def join(parts: Iterable[object], between: str = "") -> Html:
    """The parts one after the other."""
    return Html(between.join(text(part) for part in parts))


def element(tag: str, *children: object, **attributes: str | None) -> Html:
    """``element("p", "a < b", class_="note")`` -> ``<p class="note">a &lt; b</p>``.

    An underscore within an attribute's name stands for a hyphen; None leaves it out, and the
    empty string writes the bare name.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + (f'="{text(value)}"' if value else "")
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


def section(anchor: str, title: str, *children: object) -> Html:
    """One section of the page; the table of contents points to `anchor`."""
    return element("section", element("h2", title), *children, id=anchor)


def paragraph(*children: object, class_: str | None = None) -> Html:
    return element("p", *children, class_=class_)


def missing(what: str) -> Html:
    """One line where something could be and is not."""
    return paragraph(what, class_="missing")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    label: str,
    caption: object = "",
    class_: str | None = None,
    styles: Sequence[Sequence[str | None]] | None = None,
) -> Html:
    """A table that scrolls within its box where it is too wide.

    Parameters
    ----------
    head : sequence
        Head of each column.
    rows : iterable of sequence
        The first cell of each is the head of its row.
    label : str
        What it holds, for those who can't see it.
    caption : str or Html
        How to read it.
    styles : sequence of sequence of str, optional
        CSS of each cell but the first of each row.
    """
    body = [_row(row, styles[i] if styles else None) for i, row in enumerate(rows)]
    heads = element("tr", *(element("th", cell, scope="col") for cell in head))
    whole = element("table", element("thead", heads), element("tbody", *body), class_=class_)
    box = element("div", whole, class_="scroll", role="region", aria_label=label, tabindex="0")
    return join([box, paragraph(caption, class_="caption") if caption else Html()])


def _row(cells: Sequence[object], styles: Sequence[str | None] | None) -> Html:
    first, *others = cells
    inked = styles or [None] * len(others)
    return element(
        "tr",
        element("th", first, scope="row"),
        *(element("td", cell, style=style) for cell, style in zip(others, inked, strict=True)),
    )


def figures(
    panels: Iterable[tuple[object, Html]], *, caption: object = "", legend: Html | None = None
) -> Html:
    """Small figures side by side, each with its title; as many in a row as there is room for.

    Empty where there is no panel.
    """
    each = [
        element("div", element("h4", title) if title else Html(), drawn, class_="panel")
        for title, drawn in panels
    ]
    if not each:
        return Html()
    return element(
        "figure",
        legend or Html(),
        element("div", *each, class_="panels"),
        element("figcaption", caption) if caption else Html(),
    )


def details(summary: str, *children: object) -> Html:
    """Folded away until asked for."""
    return element("details", element("summary", summary), *children)


def code(text_: str) -> Html:
    """A command or a file, to be copied."""
    return element("pre", element("code", text_), tabindex="0")
