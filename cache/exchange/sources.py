"""Rows of features made elsewhere: whose each is, and its array."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CacheError
from ..fingerprint import digest_many
from ..shards.origins import origin_text
from ..shards.rows import Array


@dataclass(frozen=True, slots=True)
class Place:
    """Which recording a row belongs to.

    Attributes
    ----------
    where : str
        The row itself, for people: ``clips.csv, line 3``.
    key : str or None
        The recording's, where the source says it; then there need not be a file.
    path : Path or None
        The recording.
    start, end : float
        Seconds; `end` None means to the end of the file.
    origin, group : str
        As the cache keeps them beside an array.
    """

    where: str
    key: str | None
    path: Path | None
    start: float
    end: float | None
    origin: str
    group: str

    def error(self, message: str, hint: str | None = None) -> CacheError:
        """An error that names the row."""
        return CacheError(f"{self.where}: {message}", hint=hint)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of arrays. Made by :func:`from_table`, :func:`from_array` and :func:`from_hdf5`.

    Attributes
    ----------
    places : sequence of Place
        Whose each row is.
    unused : sequence of str
        Columns that say nothing to the cache.
    form : callable
        Shape and dtype of a row's array, without reading it.
    read : callable
        A row's array.
    """

    places: Sequence[Place]
    unused: Sequence[str]
    form: Callable[[int], tuple[tuple[int, ...], np.dtype[Any]]]
    read: Callable[[int], Array]


def stack(
    data: Any, places: Sequence[Place], positions: Sequence[int], unused: Sequence[str]
) -> Source:
    """One array (n, ...), or a dataset like it, and where in it each row is."""

    def read(row: int) -> Array:
        try:
            return np.asarray(data[positions[row]])
        except OSError as error:
            raise places[row].error(f"The array can't be read: {error}.") from None

    return Source(places, unused, lambda row: (tuple(data.shape[1:]), data.dtype), read)


def place_of(
    where: str,
    root: Path,
    *,
    key: str | None,
    path: str | None,
    start: float = 0.0,
    end: float | None = None,
    group: str = "",
) -> Place:
    """The place of a row, from what a source says of it.

    Parameters
    ----------
    where : str
        The row itself, for people.
    root : Path
        Where a relative path starts.

    Raises
    ------
    CacheError
        If that is no recording that can be read, and there is no key either.
    """
    file = None if path is None else (root / Path(path).expanduser()).absolute()
    # Whose key is known may lie anywhere, or be no file at all: then the text stays as it is.
    known = file if file is not None and (key is None or file.exists()) else path
    origin = "" if known is None else origin_text(known, start, end)
    place = Place(where, key, file, start, end, origin, group)
    if start < 0 or (end is not None and end <= start):
        until = "its end" if end is None else f"second {end:g}"
        raise place.error(f"A part from second {start:g} to {until} has no length.")
    if key is not None:
        if not (key.isascii() and key.isprintable()):
            raise place.error(f"A key must be ASCII text, not {key!r}.")
    elif file is None:
        raise place.error("There is neither a path nor a key.")
    elif not (file.is_file() and os.access(file, os.R_OK)):
        raise place.error(f"There is no recording {file} that can be read.", hint=root_hint(root))
    return place


def root_hint(root: Path) -> str:
    """What to do when a file is not where it should be."""
    return f"Relative paths start at {root.absolute()}; --root names another folder."


def keys_of(places: Sequence[Place]) -> list[str]:
    """The key of each row's recording. Files are read whole, many at a time, each once."""
    unknown = [p for p in places if p.key is None]
    files = [(p.path, p.start, p.end) for p in unknown if p.path is not None]
    digests = iter(digest_many(files))
    return [next(digests) if p.key is None else p.key for p in places]
