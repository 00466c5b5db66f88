"""Names of the files in a cache folder that other machines may read.

Only files with these names are served to other machines and read from other machines. All other
files in a cache folder (claims, temporary files, records of runs) stay on their own machine.
"""

from __future__ import annotations

import re

from .catalogue import INDEX
from .listing import SUFFIX

FINGERPRINT_FILE = "fingerprint.json"
FEATURE_FOLDER = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)-(?P<id>[0-9a-f]{32})")

# A name has no separators and no leading dot, and therefore can't point to another folder.
_SHARD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*" + re.escape(SUFFIX))


def is_shard(name: str) -> bool:
    """Return whether a file name is that of a finished shard."""
    return _SHARD.fullmatch(name) is not None


def is_public(folder: str, name: str | None = None) -> bool:
    """Return whether other machines may read a folder of the cache, or a file in that folder."""
    if FEATURE_FOLDER.fullmatch(folder) is None:
        return False
    return name in (None, FINGERPRINT_FILE, INDEX) or is_shard(str(name))
