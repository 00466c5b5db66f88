"""The secret that a served cache asks for: one line in a file that only its owner may read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..errors import CacheError

TOKEN = "FUSION_CACHE_TOKEN"
TOKEN_FILE = "FUSION_CACHE_TOKEN_FILE"
MIN_LENGTH = 16

_VISIBLE = re.compile(r"[!-~]+")  # what an HTTP header can hold in one word
_HOW = (
    'Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))" > FILE; '
    "chmod 600 FILE"
)
_WHOSE = "It must be the server's: the first line of the file that serves as its --token-file."


def read_token(path: Path, hint: str = _HOW) -> str:
    """The first line of a token file, without spaces around it.

    Parameters
    ----------
    hint : str
        What to do where there is no token; by default how to make one.

    Raises
    ------
    CacheError
        If the file can't be read, may be read by others, or holds no token of 16 characters
        or more. No message holds the token.
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
            f"The token file {path} may be read by others (mode {stat.S_IMODE(mode):o}).",
            hint=f"chmod 600 {path}",
        )
    return _checked(line.decode("utf-8", "replace"), f"The first line of {path}", hint)


def token_from_environment() -> str | None:
    """The token for reading another machine's cache: ``FUSION_CACHE_TOKEN``, or the first line
    of the file that ``FUSION_CACHE_TOKEN_FILE`` names. None where neither is set.

    Raises
    ------
    CacheError
        As :func:`read_token`.
    """
    if given := os.environ.get(TOKEN):
        return _checked(given, f"The environment variable {TOKEN}", _WHOSE)
    if path := os.environ.get(TOKEN_FILE):
        return read_token(Path(path).expanduser(), _WHOSE)
    return None


def _checked(text: str, where: str, hint: str) -> str:
    token = text.strip()
    if len(token) < MIN_LENGTH:
        raise CacheError(
            f"{where} holds {len(token)} characters; a token has at least {MIN_LENGTH}.", hint=hint
        )
    if not _VISIBLE.fullmatch(token):
        raise CacheError(
            f"{where} is no token: possible are ASCII letters, digits and signs, without spaces.",
            hint=hint,
        )
    return token
