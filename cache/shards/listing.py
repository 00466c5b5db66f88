"""Listing of the shards in a folder: size and modification time, without opening a shard."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import CacheError

SUFFIX = ".h5"
_TRIES = 3  # attempts to list a folder while its shards are being rewritten


@dataclass(frozen=True, slots=True)
class Listed:
    """Size and modification time of a file, as the listing of its folder gives them.

    Attributes
    ----------
    size : int
        Bytes; -1 if the listing does not give the size.
    time : int
        Modification time in nanoseconds; -1 if the listing does not give the time.
    """

    size: int = -1
    time: int = -1


UNREADABLE = Listed(-2, -2)
"""Listing of a file that can't be examined or read; no entry of an index agrees with it."""


def shards_in(folder: Path) -> dict[str, Listed]:
    """Return the size and time of each shard in a folder, by file name.

    Raises
    ------
    CacheError
        If the folder can't be read.
    """
    for _ in range(_TRIES):
        shards: dict[str, Listed] = {}
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                        shards[entry.name] = _listed(entry)
        except FileNotFoundError:
            if not folder.exists():
                return {}
            continue  # a shard was removed; its items may be in a new shard
        except OSError as error:
            raise _unreadable(folder, error) from None
        break
    return shards


def _listed(entry: os.DirEntry[str]) -> Listed:
    """Return the listing of a shard.

    Raises
    ------
    FileNotFoundError
        If the shard was removed meanwhile.
    """
    try:
        status = entry.stat()
    except FileNotFoundError:
        if not entry.is_symlink():
            raise
        return UNREADABLE  # a link to nothing
    except OSError:  # a link to itself, for example
        return UNREADABLE
    if not os.access(entry.path, os.R_OK):
        return UNREADABLE
    return Listed(status.st_size, status.st_mtime_ns)


def sorted_entries(folder: Path) -> list[Path]:
    """Return the paths in a folder, sorted; an empty list if the folder does not exist.

    Raises
    ------
    CacheError
        If the folder can't be read.
    """
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"Can't read the cache folder {folder}: {error.strerror or error}.",
        hint="Choose another folder; FUSION_CACHE sets the default.",
    )
