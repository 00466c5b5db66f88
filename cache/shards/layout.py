"""Which files of a cache folder are the cache, by name.

What is served to other machines and read from them; all else in a cache folder (claims,
temporary files, notes of runs) concerns nobody but the machine it lies on.
"""

from __future__ import annotations

import re

from .catalogue import INDEX
from .shard import SUFFIX

FINGERPRINT_FILE = "fingerprint.json"
FEATURE_FOLDER = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)-(?P<id>[0-9a-f]{32})")

# No separators, no dot first: nothing that leads elsewhere, on any file system.
_SHARD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*" + re.escape(SUFFIX))


def is_shard(name: str) -> bool:
    """Whether a file of that name is a finished shard."""
    return _SHARD.fullmatch(name) is not None


def is_public(folder: str, name: str | None = None) -> bool:
    """Whether a folder of the cache, or a file in it, is for other machines to read."""
    if FEATURE_FOLDER.fullmatch(folder) is None:
        return False
    return name in (None, FINGERPRINT_FILE, INDEX) or is_shard(str(name))
