"""jinja2's environment for the pages, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from ...contracts.errors import StorageError
from ...runs.outcome.results import interval_text, p_text, points
from .drawing import readable, with_own_ids

if TYPE_CHECKING:
    from jinja2 import Environment


class Image(NamedTuple):
    """A PNG in base64, its label for those who can't see it, its width by its height, and what is
    marked by rings: right and down from the corner, the image is 100 high."""

    png: str
    label: str
    ratio: float
    rings: Sequence[tuple[float, float]]


class Figure(NamedTuple):
    """One of the small figures of a row: its title, what is drawn, notes below it."""

    title: str
    drawn: Markup | Image
    notes: Sequence[str] = ()
    wide: bool = False


def render(template: str, **given: Any) -> str:
    """Fill in a page's template; jinja2 escapes every text in it that is no drawing."""
    return with_own_ids(readable(environment().get_template(template).render(given)))


@cache
def environment() -> Environment:
    """jinja2 over the folder ``templates``; a name that a template misses is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    for text in (contents, gravest_first, percent, number, seconds, interval_text, p_text, points):
        made.filters[text.__name__] = text
    return made


def contents(main: str) -> list[tuple[str, Markup]]:
    """Anchor and title of each section of a page."""
    found = re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', main)
    return [(anchor, Markup(title)) for anchor, title in found]


def gravest_first(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The findings of a diagnosis.json by severity."""
    rank = {"severe": 0, "moderate": 1, "mild": 2}
    return sorted(findings, key=lambda found: rank.get(str(found.get("severity")), 3))


def write_page(path: Path, html: str) -> Path:
    """Write a file whole or not at all.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"The report {path} could not be written: {error.strerror or error}.",
            hint="Name another file with --out, in a folder that you may write to.",
        ) from error
    return path


# -- numbers as text -----------------------------------------------------------------


def percent(value: float) -> str:
    """A share as per cent, without the sign: ``43.2``."""
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}"


def number(value: object) -> str:
    """A figure of any size, four digits; ``n/a`` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "n/a" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "n/a" if np.isnan(value) else f"{value:.4g}"


def seconds(value: float) -> str:
    """``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
