"""Which colour each model has, and how figures are written: the same on the whole page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...runs.execution.jobs import FUSED
from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import ENSEMBLE
from .drawing import INK, SERIES, Mark, series_colour

_MODALITIES = SERIES - 2  # colours that are theirs: the first is the fused model's, the last the
_DOTS = {FUSED: "o", ENSEMBLE: "s", CHOSEN: "D"}  # ensemble's


def colour_of(model: str, modalities: Sequence[str]) -> str:
    """Stand-in colour of a model of the table."""
    if model in modalities:
        return series_colour(1 + list(modalities).index(model) % _MODALITIES)
    return {FUSED: series_colour(0), ENSEMBLE: series_colour(SERIES - 1)}.get(model, INK)


def line_of(model: str, modalities: Sequence[str], dashes: str = "-") -> Mark:
    return Mark(colour_of(model, modalities), dashes)


def dot_of(model: str, modalities: Sequence[str]) -> Mark:
    return Mark(colour_of(model, modalities), marker=_DOTS.get(model, "^"))


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
