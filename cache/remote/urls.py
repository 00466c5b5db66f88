"""URLs as people may see them."""

from __future__ import annotations

import re

from ..errors import CacheError

_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"https?://.*[?#]", re.IGNORECASE | re.DOTALL)


def without_user(text: str) -> str:
    """A URL, or a message that holds some, without user names and passwords."""
    return _USER.sub("", text)


def names_user(url: str) -> bool:
    """Whether a URL says who asks."""
    return _USER.search(url) is not None


def check_no_query(url: str) -> None:
    """Refuse a web address with a query or fragment, which may hold a secret.

    Raises
    ------
    CacheError
        Without a word of the URL: a password can hold those signs as well.
    """
    if _QUERY.match(url):
        raise CacheError(
            "The URL of a cache on a web server can't hold '?' or '#'.",
            hint="Leave them out, and what follows. A token belongs into a file that "
            "FUSION_CACHE_TOKEN_FILE names; in a password write %3F and %23.",
        )
