"""Features made elsewhere into the cache, checked whole before anything is stored.

An imported feature has no parameters that anybody here could know: its fingerprint says its
name, a version that the user gave, shape and dtype, and that it was imported.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..builds.work import chunk_size
from ..errors import CacheError
from ..fingerprint import Fingerprint
from ..shards.claims import Claims, alone
from ..shards.files import storage_error
from ..shards.rows import Array
from ..shards.shard import checksum
from ..store import FeatureCache
from .source_hdf5 import from_hdf5
from .source_tables import from_array, from_table
from .sources import Place, Source, keys_of
from .tables import SUFFIXES

_IMPORTED = {"imported": True}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did; every row of the source is counted once.

    Attributes
    ----------
    fingerprint : Fingerprint
        Of the arrays as they are stored.
    stored : int
        Rows that are new in the cache.
    present : int
        Rows that were there, with equal arrays.
    repeated : int
        Rows whose recording stood in an earlier row, with an equal array.
    unused : tuple of str
        Columns of the table that were not looked at.
    first_key : str
        The key of the first row.
    """

    fingerprint: Fingerprint
    stored: int
    present: int
    repeated: int
    unused: tuple[str, ...]
    first_key: str


def is_imported(fingerprint: Fingerprint) -> bool:
    """Whether a feature was imported: nothing here can compute it."""
    return dict(fingerprint.parameters) == _IMPORTED


def imported_features(cache: FeatureCache, *, elsewhere: bool = True) -> list[Fingerprint]:
    """Features that were imported and have arrays, by name and version.

    Parameters
    ----------
    elsewhere : bool
        Those of the other machine's cache, if there is one, too.
    """
    found = {f for f in cache.features() if is_imported(f) and len(cache.catalogue(f))}
    there = cache.upstream
    if elsewhere and there is not None:
        found |= {f for f in there.features() if is_imported(f) and len(there.catalogue(f))}
    return sorted(found, key=lambda f: (f.name, f.version, f.id))


def import_feature(
    cache: FeatureCache,
    name: str,
    source: str | os.PathLike[str],
    *,
    version: str = "1",
    dtype: str | None = None,
    dataset: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Store features that another tool made, each under the key of its recording.

    Everything is read and checked before anything is stored. What the cache has already is
    left as it is, so that an import that was killed can be repeated.

    Parameters
    ----------
    name : str
        What to call the feature.
    source : path
        A table (``.csv``, ``.tsv``) with the columns ``path`` (the recording) and ``feature``
        (a ``.npy`` file, one array each); a ``.npy`` file (n, ...) with a table of the same
        name beside it; or an HDF5 file with a dataset (n, ...) and, beside it, ``paths``. In
        the place of the recordings there may be their keys (``key``, ``keys``). Optional are
        ``start`` and ``end`` (seconds) and ``group``; in HDF5 ``starts``, ``ends``, ``groups``.
    version : str
        Another one for arrays that were made in another way.
    dtype : str, optional
        Convert to it; by default arrays stay as they are.
    dataset : str, optional
        The dataset of an HDF5 file; by default the one called `name`, or the only one.
    root : path, optional
        Where relative paths start; by default the folder of `source`.

    Returns
    -------
    ImportReport

    Raises
    ------
    CacheError
        Naming the row: if a file is missing or can't be read, arrays differ in shape or
        dtype, hold NaN or infinite values, or do not fit `dtype`; if a recording stands in two
        rows with different arrays, or the cache has another array for it.
    StorageError
        If the cache can't be written to or is full.
    """
    if not version:
        raise CacheError("A version can't be empty.")
    # Anything wrong with these is found before the source is read.
    Fingerprint(name, version, _IMPORTED, dtype or "float32", (1,), {})
    path = Path(source).expanduser()
    start = path.parent if root is None else Path(root).expanduser()
    with _opened(path, name, dataset, start) as found:
        fingerprint = _fingerprint(found, name, version, dtype)
        rows = _Rows(found, fingerprint)
        with _alone(cache, name, version) as turn:
            _check_version(cache, fingerprint)
            survey = _survey(cache, rows, turn)
            _store(cache, rows, survey, turn)
    return ImportReport(
        fingerprint,
        stored=len(survey.new),
        present=survey.present,
        repeated=survey.repeated,
        unused=tuple(found.unused),
        first_key=rows.keys[0],
    )


def _alone(cache: FeatureCache, name: str, version: str) -> AbstractContextManager[Claims]:
    """Two imports of one feature at once could both find nothing, and store different arrays."""
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(cache.root, error) from None
    others = f"Another process is importing version {version} of {name!r} into {cache.root}."
    return alone(cache.root, f"import {name} {version}", others)


@contextlib.contextmanager
def _opened(path: Path, name: str, dataset: str | None, root: Path) -> Iterator[Source]:
    if not path.is_file():
        raise CacheError(
            f"The source {path} {'is a folder' if path.is_dir() else 'does not exist'}.",
            hint="It may be a table (.csv, .tsv) of recordings and .npy files, a .npy file with "
            "a table of the same name beside it, or an HDF5 file.",
        )
    if not root.is_dir():
        raise CacheError(f"The root {root} is no folder.")
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, ".npy"):
        with from_hdf5(path, name, dataset, root) as found:
            yield found
    elif dataset is not None:
        raise CacheError(f"{path} is no HDF5 file: it has no dataset {dataset!r} to choose.")
    else:
        yield from_array(path, root) if suffix == ".npy" else from_table(path, name, root)


# -- what the arrays are -------------------------------------------------------------


def _fingerprint(source: Source, name: str, version: str, dtype: str | None) -> Fingerprint:
    """Of all rows, which must agree; nothing is read but what their files say of themselves."""
    if not source.places:
        raise CacheError("The source holds no arrays.")
    first = source.form(0)
    for row, place in enumerate(source.places):
        shape, kind = source.form(row)
        if kind.kind not in "biufc":
            raise place.error(f"Its array is of dtype {kind}, which is no kind of number.")
        if shape != first[0]:
            raise place.error(
                f"Its array has shape {shape}, and that of {source.places[0].where} {first[0]}.",
                hint="All arrays of a feature must have one shape: cut, pad or pool them.",
            )
        if dtype is None and kind.name != first[1].name:
            raise place.error(
                f"Its array is {kind.name}, and that of {source.places[0].where} {first[1].name}.",
                hint=f"Convert all of them: --dtype {np.promote_types(kind, first[1]).name}",
            )
    # A single number is an array of one: networks need something to count.
    return Fingerprint(name, version, _IMPORTED, dtype or first[1].name, first[0] or (1,), {})


def _check_version(cache: FeatureCache, fingerprint: Fingerprint) -> None:
    """One version has one shape and dtype: a run names no more than the version."""
    for other in imported_features(cache):
        same = (other.name, other.version) == (fingerprint.name, fingerprint.version)
        if same and other != fingerprint:
            raise CacheError(
                f"Version {other.version} of {other.name!r} is in the cache already, with arrays "
                f"of shape {other.shape}, {other.dtype}; these are {fingerprint.shape}, "
                f"{fingerprint.dtype}.",
                hint="Give these another version: --version NAME",
            )


class _Rows:
    """The rows of a source as they are to be stored.

    Attributes
    ----------
    fingerprint : Fingerprint
        Of the arrays.
    places : sequence of Place
        Whose each row is.
    keys : list of str
        Key of each row.
    """

    def __init__(self, source: Source, fingerprint: Fingerprint) -> None:
        self.fingerprint = fingerprint
        self.places: Sequence[Place] = source.places
        self.keys = keys_of(source.places)
        self._source = source

    def __len__(self) -> int:
        return len(self.keys)

    def array(self, row: int) -> Array:
        """A row's array, in the fingerprint's shape and dtype."""
        given = self._source.read(row)
        place = self.places[row]
        if given.size != math.prod(self.fingerprint.shape):
            raise place.error(f"Its array has changed, and is of shape {given.shape} now.")
        if not np.isfinite(given).all():
            raise place.error(
                f"Its array holds NaN or infinite values, {_first_not_finite(given)}.",
                hint="Leave the row out, or put a number there.",
            )
        return _converted(given, self.fingerprint.dtype, place).reshape(self.fingerprint.shape)


def _first_not_finite(array: Array) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"the first at {index}" if index else f"{array}"


def _converted(array: Array, dtype: str, place: Place) -> Array:
    wanted = np.dtype(dtype)
    whole = array.dtype.kind in "biu" and wanted.kind in "biu"  # then the values decide
    if not whole and not np.can_cast(array.dtype, wanted, "same_kind"):
        raise place.error(f"Its array is {array.dtype.name}, which would lose as {dtype}.")
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    lost = converted != array if wanted.kind in "biu" else ~np.isfinite(converted)
    if lost.any():
        value = array[lost].flat[0]
        raise place.error(f"Its value {value} does not fit {dtype}.")
    return converted


# -- what is new ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Survey:
    """What all rows hold, compared with each other and with the cache.

    Attributes
    ----------
    new : list of int
        Rows to store.
    checksums : list of int
        Of their arrays.
    """

    new: list[int]
    checksums: list[int]
    present: int
    repeated: int


def _survey(cache: FeatureCache, rows: _Rows, turn: Claims) -> _Survey:
    stored = _checksums(cache, rows)
    first: dict[str, tuple[int, int]] = {}  # key -> row and checksum
    repeated = 0
    for row, key in enumerate(rows.keys):
        turn.renew()
        found = checksum(rows.array(row))
        place = rows.places[row]
        earlier, before = first.setdefault(key, (row, found))
        if before != found:
            raise place.error(
                f"Its recording stands in {rows.places[earlier].where} too, with another array "
                f"(key {key}).",
                hint="Copies of one file are one recording; parts of it need start and end.",
            )
        if stored.get(key, found) != found:
            raise place.error(
                f"The cache has another array for its recording (key {key}) in version "
                f"{rows.fingerprint.version} of {rows.fingerprint.name!r}.",
                hint="If the arrays were made anew, give them another version: --version NAME",
            )
        repeated += earlier != row
    new = [(row, found) for key, (row, found) in first.items() if key not in stored]
    return _Survey(
        [row for row, _ in new],
        [found for _, found in new],
        present=len(first) - len(new),
        repeated=repeated,
    )


def _checksums(cache: FeatureCache, rows: _Rows) -> dict[str, int]:
    """Those of the rows that the cache has, by key."""
    catalogue = cache.catalogue(rows.fingerprint)
    at = catalogue.find(rows.keys)
    return {
        key: int(catalogue.checksums[position])
        for key, position in zip(rows.keys, at.tolist(), strict=True)
        if position >= 0
    }


def _store(cache: FeatureCache, rows: _Rows, survey: _Survey, turn: Claims) -> None:
    step = chunk_size(len(survey.new), rows.fingerprint, 1)
    for start in range(0, len(survey.new), step):
        turn.renew()
        part = survey.new[start : start + step]
        arrays: list[Array] = []
        for row, expected in zip(part, survey.checksums[start : start + step], strict=True):
            arrays.append(rows.array(row))
            if checksum(arrays[-1]) != expected:
                raise rows.places[row].error("Its array was changed while it was imported.")
        cache.add(
            rows.fingerprint,
            [rows.keys[row] for row in part],
            arrays,
            origins=[rows.places[row].origin for row in part],
            groups=[rows.places[row].group for row in part],
        )
    cache.index(rows.fingerprint)
