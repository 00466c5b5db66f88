"""Times in tables: seconds, clock times, and the time deltas of pandas."""

from __future__ import annotations

import math
import re

_CLOCK = re.compile(
    r"(?:(?P<days>\d+)\s*(?:d|days?)\s*,?\s*)?"
    r"(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?"
    r"(?P<seconds>\d+(?:[.,]\d+)?)"
)
_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "sec": 1.0, "ms": 1e-3}
_WITH_UNIT = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})")
_ISO = re.compile(r"P(?:(\d+)D)?T(?:(\d+)H)?(?:(\d+)M)?(\d+(?:\.\d+)?)S")
_EMPTY = {"", "nat"}


def parse_seconds(text: str) -> float | None:
    """Return the number of seconds that `text` states; None for an empty time such as ``NaT``.

    Accepted are seconds (``3.795``), numbers with a unit (``3795ms``), clock times
    (``00:00:03.795``, ``0:03``, with a comma before the milliseconds as in subtitles), pandas time
    deltas (``0 days 00:00:03.795``) and ISO 8601 durations (``P0DT0H0M3.795S``).

    Raises
    ------
    ValueError
        If `text` is no time.
    """
    text = text.strip()
    if text.casefold() in _EMPTY:
        return None
    try:
        value = float(text)
    except ValueError:
        return _clock(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def seconds_text(seconds: float) -> str:
    """Return seconds to a microsecond, without zeros at the end: ``"3.795"``, ``"4"``."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _clock(text: str) -> float:
    if match := _WITH_UNIT.fullmatch(text):
        return float(match[1]) * _UNITS[match[2]]
    if match := _ISO.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    match = _CLOCK.fullmatch(text)
    # "1,5" is refused: it could be a decimal or a thousands separator.
    if match is None or not (match["minutes"] or match["days"]):
        raise ValueError(text)
    days, hours, minutes = (float(match[name] or 0) for name in ("days", "hours", "minutes"))
    seconds = float(match["seconds"].replace(",", "."))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
