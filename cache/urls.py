"""URLs as people may see them."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s]*@")


def without_user(text: str) -> str:
    """A URL, or a message that holds some, without user names and passwords."""
    return _USER.sub("", text)


def names_user(url: str) -> bool:
    """Whether a URL says who asks."""
    return _USER.search(url) is not None
