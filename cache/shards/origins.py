"""Text form of a source's location: a path, and for a part of a file its start and end.

Start and end are seconds, written as a media fragment (W3C, 2012): ``/data/speech.wav#t=1.5,3.0``.
"""

from __future__ import annotations

import os
import re

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?"
_FRAGMENT = re.compile(rf"#t=(?P<start>{_NUMBER}),(?P<end>(?:{_NUMBER})?)$")


def origin_text(path: str | os.PathLike[str], start: float = 0.0, end: float | None = None) -> str:
    """Return the text for a file, or for the part of a file from second `start` to `end`."""
    text = os.fspath(path)
    if not start and end is None and not _FRAGMENT.search(text):
        return text
    return f"{text}#t={float(start)!r},{'' if end is None else repr(float(end))}"


def parse_origin(origin: str) -> tuple[str, float, float | None]:
    """Return path, start and end: the inverse of :func:`origin_text`."""
    match = _FRAGMENT.search(origin)
    if match is None:
        return origin, 0.0, None
    end = float(match["end"]) if match["end"] else None
    return origin[: match.start()], float(match["start"]), end
