"""When a shard was last used, by which the garbage collector goes.

That is the later of the file's times of access and of change. The access time is set here:
what file systems do of their own accord depends on how they are mounted. The time of change
stays as it is to the nanosecond, because the index of the shards goes by it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

GRAIN_SECONDS = 3600.0  # a shard is marked at most once in this time


class Marks:
    """Marks shards as used, and remembers which it has marked."""

    def __init__(self) -> None:
        self._marked: dict[Path, float] = {}

    def mark(self, paths: Iterable[Path]) -> None:
        """Set the access time of these shards to now, where that is allowed."""
        now = time.time()
        for path in paths:
            if now - self._marked.get(path, float("-inf")) > GRAIN_SECONDS:
                self._marked[path] = now
                with contextlib.suppress(OSError):  # read-only, somebody else's, or gone
                    if now - last_used(path) > GRAIN_SECONDS:
                        os.utime(path, ns=(int(now * 1e9), path.stat().st_mtime_ns))


def last_used(path: Path) -> float:
    """When a shard was last used or written; seconds since 1970.

    Raises
    ------
    OSError
        If it has gone.
    """
    status = path.stat()
    return max(status.st_atime_ns, status.st_mtime_ns) / 1e9


@contextlib.contextmanager
def undisturbed(path: Path) -> Iterator[None]:
    """Reading a shard in this context leaves the time of its last use as it was."""
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
