"""Rendering of pages with jinja2, filters for numbers, and atomic writing of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from ...contracts.errors import StorageError
from ...runs.outcome.results import interval_text, p_text, points
from ...toolkit.atomic import replaced
from .drawing import readable, with_own_ids

if TYPE_CHECKING:
    from jinja2 import Environment


class Image(NamedTuple):
    """PNG image with a text alternative and marked points.

    Attributes
    ----------
    png : str
        The image in base64.
    label : str
        Text alternative for screen readers.
    ratio : float
        Width over height.
    rings : sequence of (float, float)
        Points to mark by rings: distances from the left and from the top, in hundredths of the
        image height.
    """

    png: str
    label: str
    ratio: float
    rings: Sequence[tuple[float, float]]


class Figure(NamedTuple):
    """Small figure in a row of figures: title, drawing, and notes below it."""

    title: str
    drawn: Markup | Image
    notes: Sequence[str] = ()
    wide: bool = False


def render(template: str, **variables: Any) -> str:
    """Return the filled-in template as a page; jinja2 escapes every text that is not markup."""
    return with_own_ids(readable(environment().get_template(template).render(variables)))


@cache
def environment() -> Environment:
    """Return the jinja2 environment of the folder ``templates``; an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        autoescape=True,
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    for text in (contents, by_severity, percent, number, seconds, interval_text, p_text, points):
        jinja.filters[text.__name__] = text
    return jinja


def contents(main: str) -> list[tuple[str, Markup]]:
    """Return anchor and title of each section of a page."""
    sections = re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', main)
    return [(anchor, Markup(title)) for anchor, title in sections]


def by_severity(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the findings of a diagnosis.json, sorted by severity, severe findings first."""
    rank = {"severe": 0, "moderate": 1, "mild": 2}
    return sorted(findings, key=lambda finding: rank.get(str(finding.get("severity")), 3))


def write_page(path: Path, html: str) -> Path:
    """Write a file atomically: completely or not at all.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"The report {path} can't be written: {error.strerror or error}.",
            hint="Name another file, in a folder that you may write to: --out FILE",
        ) from error
    return path


# -- numbers as text -----------------------------------------------------------------


def percent(value: float) -> str:
    """Return a share (0 to 1) in per cent without the sign, such as ``43.2``."""
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}"


def number(value: object) -> str:
    """Return a number with four significant digits, an integer in full, None or NaN as ``n/a``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "n/a" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "n/a" if np.isnan(value) else f"{value:.4g}"


def seconds(value: float) -> str:
    """Return a duration such as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
