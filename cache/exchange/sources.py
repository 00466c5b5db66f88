"""Rows of features computed by other tools: the recording and the array of each row."""

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
    """Recording of one row of a source.

    Attributes
    ----------
    location : str
        Location of the row, for messages: ``clips.csv, line 3``.
    key : str or None
        Key of the recording if the source contains keys; the recording then need not exist.
    path : Path or None
        The recording.
    start, end : float
        Start and end of the part in seconds; `end` is None for the end of the file.
    origin, group : str
        Origin and group, as the cache stores them with an array.
    """

    location: str
    key: str | None
    path: Path | None
    start: float
    end: float | None
    origin: str
    group: str

    def error(self, message: str, hint: str | None = None) -> CacheError:
        """Return an error that names the row."""
        return CacheError(f"{self.location}: {message}", hint=hint)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of arrays; see :func:`from_table`, :func:`from_array` and :func:`from_hdf5`.

    Attributes
    ----------
    places : sequence of Place
        Recording of each row.
    unused : sequence of str
        Columns that the import ignores.
    form : callable
        Returns shape and dtype of a row's array, without reading the array.
    read : callable
        Returns a row's array.
    """

    places: Sequence[Place]
    unused: Sequence[str]
    form: Callable[[int], tuple[tuple[int, ...], np.dtype[Any]]]
    read: Callable[[int], Array]


def stack(
    data: Any, places: Sequence[Place], positions: Sequence[int], unused: Sequence[str]
) -> Source:
    """Return a source of the rows at the given positions of an array or dataset (n, ...)."""

    def read(row: int) -> Array:
        try:
            return np.asarray(data[positions[row]])
        except OSError as error:
            raise places[row].error(f"The array can't be read: {error}.") from None

    return Source(places, unused, lambda row: (tuple(data.shape[1:]), data.dtype), read)


def place_of(
    location: str,
    root: Path,
    *,
    key: str | None,
    path: str | None,
    start: float = 0.0,
    end: float | None = None,
    group: str = "",
) -> Place:
    """Return the recording of a row, given the cells of the row.

    Parameters
    ----------
    location : str
        Location of the row, for messages.
    root : Path
        Folder to which a relative path refers.

    Raises
    ------
    CacheError
        If start or end is invalid, or the row has neither a valid key nor a readable recording.
    """
    file = None if path is None else (root / Path(path).expanduser()).absolute()
    # If the row has a key, the file need not exist. The path is then stored unchanged.
    origin_path = file if file is not None and (key is None or file.exists()) else path
    origin = "" if origin_path is None else origin_text(origin_path, start, end)
    place = Place(location, key, file, start, end, origin, group)
    if start < 0 or (end is not None and end <= start):
        until = "its end" if end is None else f"second {end:g}"
        raise place.error(f"There is no part from second {start:g} to {until}.")
    if key is not None:
        if not (key.isascii() and key.isprintable()):
            raise place.error(f"A key must be ASCII text, not {key!r}.")
    elif file is None:
        raise place.error("There is neither a path nor a key.")
    elif not (file.is_file() and os.access(file, os.R_OK)):
        raise place.error(f"There is no recording {file} that can be read.", hint=root_hint(root))
    return place


def root_hint(root: Path) -> str:
    """Return the hint for a file that does not exist."""
    return f"Relative paths start at {root.absolute()}; --root names another folder."


def keys_of(places: Sequence[Place]) -> list[str]:
    """Return the key of each row's recording.

    Each file is read once and completely. Several files are read at a time.
    """
    unknown = [p for p in places if p.key is None]
    files = [(p.path, p.start, p.end) for p in unknown if p.path is not None]
    digests = iter(digest_many(files))
    return [next(digests) if p.key is None else p.key for p in places]
