"""Token that protects a served cache: one line in a file that only its owner may read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..errors import CacheError

TOKEN = "FUSION_CACHE_TOKEN"
TOKEN_FILE = "FUSION_CACHE_TOKEN_FILE"
MIN_LENGTH = 16

_VISIBLE = re.compile(r"[!-~]+")  # characters of one word in an HTTP header
_CREATE_HINT = (
    'Create one: python -c "import secrets; print(secrets.token_urlsafe(32))" > FILE; '
    "chmod 600 FILE"
)
_SERVER_HINT = "The token must be that of the server: the first line of its --token-file."


def read_token(path: Path, hint: str = _CREATE_HINT) -> str:
    """Return the first line of a token file, without surrounding spaces.

    Parameters
    ----------
    hint : str
        Hint of the error message; by default the hint explains how to create a token file.

    Raises
    ------
    CacheError
        If the file can't be read, if other users may read the file, or if the file holds no token
        of 16 characters or more. No message contains the token.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(4096)
    except OSError as error:
        raise CacheError(
            f"Can't read the token file {path}: {error.strerror or error}.", hint=hint
        ) from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise CacheError(
            f"Other users may read the token file {path} (mode {stat.S_IMODE(mode):o}).",
            hint=f"chmod 600 {path}",
        )
    return _checked(line.decode("utf-8", "replace"), f"The first line of {path}", hint)


def token_from_environment() -> str | None:
    """Return the token for reading another machine's cache, or None if no token is set.

    The token is the value of ``FUSION_CACHE_TOKEN``, or the first line of the file that
    ``FUSION_CACHE_TOKEN_FILE`` names.

    Raises
    ------
    CacheError
        If there is no valid token; see :func:`read_token`.
    """
    if token := os.environ.get(TOKEN):
        return _checked(token, f"The environment variable {TOKEN}", _SERVER_HINT)
    if path := os.environ.get(TOKEN_FILE):
        return read_token(Path(path).expanduser(), _SERVER_HINT)
    return None


def _checked(text: str, source: str, hint: str) -> str:
    token = text.strip()
    if len(token) < MIN_LENGTH:
        raise CacheError(
            f"{source} holds {len(token)} characters; a token has at least {MIN_LENGTH}.", hint=hint
        )
    if not _VISIBLE.fullmatch(token):
        raise CacheError(
            f"{source} is not a token: use ASCII letters, digits and punctuation without spaces.",
            hint=hint,
        )
    return token
