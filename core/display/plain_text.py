"""Text from outside, such as file names and labels, without what commands a terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return `text` with ``?`` for control characters and for bytes that are no UTF-8.

    File names and labels may hold either: an escape sequence would command the terminal, and a
    name that is no UTF-8 can't be printed at all. Tabs and line breaks stay.
    """
    return _CONTROL.sub("?", text.encode("utf-8", "replace").decode())
