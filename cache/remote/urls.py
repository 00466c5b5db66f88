"""URLs without secrets, for messages."""

from __future__ import annotations

import re

from ..errors import CacheError

_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"https?://.*[?#]", re.IGNORECASE | re.DOTALL)


def without_user(text: str) -> str:
    """Return a URL, or a message that contains URLs, without user names and passwords."""
    return _USER.sub("", text)


def names_user(url: str) -> bool:
    """Return whether a URL contains a user name."""
    return _USER.search(url) is not None


def check_no_query(url: str) -> None:
    """Raise if a web address has a query or fragment, which may contain a secret.

    Raises
    ------
    CacheError
        If the URL contains ``?`` or ``#``. The message does not quote the URL, because the
        characters can be part of a password.
    """
    if _QUERY.match(url):
        raise CacheError(
            "The URL of a cache on a web server can't hold '?' or '#'.",
            hint="In a password, write %3F for '?' and %23 for '#'. Otherwise remove the character "
            "and the text after it; put a token into a file that FUSION_CACHE_TOKEN_FILE names.",
        )
