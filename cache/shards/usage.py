"""Time of the last use of a shard, by which the garbage collector selects items to remove.

The last use is the later of the file's access and modification times. The cache sets the access
time itself, because some file systems are mounted without access times. The modification time
stays the same to the nanosecond, because the index of the shards relies on the modification time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

GRAIN_SECONDS = 3600.0  # a shard is marked at most once within this time


class Marks:
    """Record of the shards marked as used; each shard is marked at most once per hour."""

    def __init__(self) -> None:
        self._marked: dict[Path, float] = {}

    def mark(self, paths: Iterable[Path]) -> None:
        """Set the access time of the given shards to now, if the system allows the change."""
        now = time.time()
        for path in paths:
            if now - self._marked.get(path, float("-inf")) > GRAIN_SECONDS:
                self._marked[path] = now
                with contextlib.suppress(OSError):  # read-only, another user's, or removed
                    if now - last_used(path) > GRAIN_SECONDS:
                        os.utime(path, ns=(int(now * 1e9), path.stat().st_mtime_ns))


def last_used(path: Path) -> float:
    """Return the time at which a shard was last used or written; seconds since 1970.

    Raises
    ------
    OSError
        If the file does not exist.
    """
    status = path.stat()
    return max(status.st_atime_ns, status.st_mtime_ns) / 1e9


@contextlib.contextmanager
def undisturbed(path: Path) -> Iterator[None]:
    """Keep the time of a shard's last use unchanged while this context reads the shard."""
    before = _status(path)
    try:
        yield
    finally:
        after = _status(path)
        if before and after and after.st_atime_ns != before.st_atime_ns:
            with contextlib.suppress(OSError):
                os.utime(path, ns=(before.st_atime_ns, after.st_mtime_ns))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
