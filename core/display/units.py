"""Sizes and durations: parsing of user input, and formatting for output."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>s|min|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<binary>i?)b", re.IGNORECASE)
_PREFIXES = ("", "k", "m", "g", "t")


def parse_duration(text: str, option: str) -> timedelta:
    """Convert a text such as ``"12h"``, ``"30d"``, ``"2w"`` or ``"0"`` to a duration.

    Raises
    ------
    ParameterError
        If the text is not a duration; the message names `option`.
    """
    from ..contracts.errors import ParameterError

    match = _DURATION.fullmatch(text.strip())
    try:
        if text.strip() == "0":
            return timedelta(0)
        if match:
            return timedelta(seconds=float(match["count"]) * _SECONDS[match["unit"]])
    except OverflowError:
        pass
    raise ParameterError(
        f"{option} must be a time, and is {text!r}.",
        hint=f"For example: {option} 12h, {option} 30d, {option} 2w; units are s, min, h, d and w. "
        f"{option} 0 means any age.",
    )


def parse_size(text: str, option: str) -> int:
    """Convert a text such as ``"500MB"``, ``"10GB"``, ``"10GiB"`` or ``"0"`` to bytes.

    Raises
    ------
    ParameterError
        If the text is not a size with a unit. Except 0, a number without a unit is refused,
        because it is usually a mistake. The message names `option`.
    """
    from ..contracts.errors import ParameterError

    match = _SIZE.fullmatch(text.strip())
    if text.strip() == "0":
        return 0
    if match is None or (match["binary"] and not match["prefix"]):
        raise ParameterError(
            f"{option} must be a size with a unit, and is {text!r}.",
            hint=f"For example: {option} 500MB, {option} 10GB, {option} 10GiB.",
        )
    base = 1024 if match["binary"] else 1000
    return int(float(match["count"]) * base ** _PREFIXES.index(match["prefix"].lower()))


def size(count: float) -> str:
    """Return a number of bytes as text: ``104.9 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def shortened(text: str, length: int = 40) -> str:
    """Return `text` cut to `length` characters, followed by the number of removed characters."""
    more = len(text) - length
    return text if more <= 0 else f"{text[:length]}... ({more} more)"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun in singular or plural: ``1 item``, ``3 items``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
