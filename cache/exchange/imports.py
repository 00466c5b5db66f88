"""Import of features that another tool computed, checked completely before anything is stored.

The parameters of an imported feature are unknown. The fingerprint therefore contains the feature's
name, a version given by the user, shape and dtype, and a mark that the feature was imported.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
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
from .columns import ColumnChoice
from .source_hdf5 import from_hdf5
from .source_tables import from_array, from_table
from .sources import Place, Source, keys_of
from .tables import SUFFIXES

_IMPORTED = {"imported": True}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Result of an import; every row of the source is counted once.

    Attributes
    ----------
    fingerprint : Fingerprint
        Fingerprint of the stored arrays.
    stored : int
        Rows that are new in the cache.
    present : int
        Rows that were already stored, with equal arrays.
    repeated : int
        Rows whose recording was in an earlier row, with an equal array.
    unused : tuple of str
        Columns of the table that were ignored.
    first_key : str
        Key of the first row.
    """

    fingerprint: Fingerprint
    stored: int
    present: int
    repeated: int
    unused: tuple[str, ...]
    first_key: str


def is_imported(fingerprint: Fingerprint) -> bool:
    """Return whether a feature was imported; imported features can't be computed."""
    return dict(fingerprint.parameters) == _IMPORTED


def imported_features(cache: FeatureCache, *, elsewhere: bool = True) -> list[Fingerprint]:
    """Return the imported features that have arrays, sorted by name and version.

    Parameters
    ----------
    elsewhere : bool
        If the cache is a URL, include the features of that machine's cache.
    """
    features = {f for f in cache.features() if is_imported(f) and len(cache.catalogue(f))}
    upstream = cache.upstream
    if elsewhere and upstream is not None:
        features |= {
            f for f in upstream.features() if is_imported(f) and len(upstream.catalogue(f))
        }
    return sorted(features, key=lambda f: (f.name, f.version, f.id))


def import_feature(
    cache: FeatureCache,
    name: str,
    source: str | os.PathLike[str],
    *,
    version: str = "1",
    dtype: str | None = None,
    dataset: str | None = None,
    root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> ImportReport:
    """Store features that another tool computed, each under the key of its recording.

    All rows are read and checked before any array is stored. Arrays that are already stored are
    kept, so an import that was killed can be repeated.

    Parameters
    ----------
    name : str
        Name to give the feature.
    source : path
        One of three: a table (CSV, TSV, JSON lines, parquet, Excel) with the columns ``path`` (the
        recording) and ``feature`` (a ``.npy`` file with one array); a ``.npy`` file (n, ...) with a
        table of the same name beside it; or an HDF5 file with a dataset (n, ...) and a dataset
        ``paths``. A column ``key`` (in HDF5 a dataset ``keys``) may replace the paths. Optional
        columns are ``start`` and ``end`` (seconds) and ``group``; in HDF5 ``starts``, ``ends``
        and ``groups``.
    version : str
        Version of the arrays; arrays computed in another way need another version.
    dtype : str, optional
        Type to convert the arrays to; by default the arrays keep their type.
    dataset : str, optional
        The dataset of an HDF5 file; by default the dataset called `name`, or the only dataset.
    root : path, optional
        Folder to which relative paths refer; by default the folder of `source`.
    columns : mapping of str to str, optional
        Columns of the table by role, if they have none of the usual names: ``{"path": "Clip"}``.
    ignored : sequence of str
        Columns of the table that are not read.

    Returns
    -------
    ImportReport

    Raises
    ------
    CacheError
        If a file is missing or can't be read; if arrays differ in shape or dtype, hold NaN or
        infinite values, or can't be represented in `dtype`; if a recording is in two rows with
        different arrays, or the cache has another array for the recording. The message names
        the row.
    StorageError
        If the cache is full or can't be written to.
    """
    if not version:
        raise CacheError("A version can't be empty.")
    # Raise for invalid arguments before the source is read.
    Fingerprint(name, version, _IMPORTED, dtype or "float32", (1,), {})
    path = Path(source).expanduser()
    start = path.parent if root is None else Path(root).expanduser()
    chosen = ColumnChoice(columns or {}, tuple(ignored))
    with _opened(path, name, dataset, start, chosen) as opened:
        fingerprint = _fingerprint(opened, name, version, dtype)
        rows = _Rows(opened, fingerprint)
        with _alone(cache, name, version) as claims:
            _check_version(cache, fingerprint)
            survey = _survey(cache, rows, claims)
            _store(cache, rows, survey, claims)
    return ImportReport(
        fingerprint,
        stored=len(survey.new),
        present=survey.present,
        repeated=survey.repeated,
        unused=tuple(opened.unused),
        first_key=rows.keys[0],
    )


def _alone(cache: FeatureCache, name: str, version: str) -> AbstractContextManager[Claims]:
    """Return a context manager that excludes other imports of this version of the feature.

    Without this exclusion, two imports at once could both find the cache empty and store different
    arrays.
    """
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(cache.root, error) from None
    message = f"Another process is importing version {version} of {name!r} into {cache.root}."
    return alone(cache.root, f"import {name} {version}", message)


@contextlib.contextmanager
def _opened(
    path: Path, name: str, dataset: str | None, root: Path, chosen: ColumnChoice
) -> Iterator[Source]:
    if not path.is_file():
        raise CacheError(
            f"The source {path} {'is a folder' if path.is_dir() else 'does not exist'}.",
            hint="Supported: a table (CSV, TSV, JSON lines, parquet, Excel) of recordings and "
            ".npy files, a .npy file with a table of the same name beside it, or an HDF5 file.",
        )
    if not root.is_dir():
        raise CacheError(f"The root {root} is not a folder.")
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, ".npy"):
        with from_hdf5(path, name, dataset, root) as opened:
            yield opened
    elif dataset is not None:
        raise CacheError(f"{path} is not an HDF5 file: it has no dataset {dataset!r} to choose.")
    else:
        if suffix == ".npy":
            yield from_array(path, root, chosen)
        else:
            yield from_table(path, name, root, chosen)


# -- rows ----------------------------------------------------------------------------


def _fingerprint(source: Source, name: str, version: str, dtype: str | None) -> Fingerprint:
    """Return the fingerprint of all rows, which must agree in shape and dtype.

    This function reads only the headers of the files.
    """
    if not source.places:
        raise CacheError("The source holds no arrays.")
    first = source.form(0)
    for row, place in enumerate(source.places):
        shape, kind = source.form(row)
        if kind.kind not in "biufc":
            raise place.error(f"The array has dtype {kind}, which is not numeric.")
        if shape != first[0]:
            raise place.error(
                f"The array has shape {shape}, but {source.places[0].location} has {first[0]}.",
                hint="All arrays of a feature must have one shape: cut, pad or pool them.",
            )
        if dtype is None and kind.name != first[1].name:
            raise place.error(
                f"The array is {kind.name}, but {source.places[0].location} is {first[1].name}.",
                hint=f"Convert all arrays: --dtype {np.promote_types(kind, first[1]).name}",
            )
    # A single number becomes an array of one number, because networks need an axis.
    return Fingerprint(name, version, _IMPORTED, dtype or first[1].name, first[0] or (1,), {})


def _check_version(cache: FeatureCache, fingerprint: Fingerprint) -> None:
    """Raise if the cache has this version with another shape or dtype.

    A run identifies an imported feature by its version only.
    """
    for other in imported_features(cache):
        is_same_version = (other.name, other.version) == (fingerprint.name, fingerprint.version)
        if is_same_version and other != fingerprint:
            raise CacheError(
                f"Version {other.version} of {other.name!r} is already in the cache, with "
                f"{other.dtype} arrays of shape {other.shape}; the arrays to import are "
                f"{fingerprint.dtype} of shape {fingerprint.shape}.",
                hint="Import them as another version: --version NAME",
            )


class _Rows:
    """Rows of a source, as they will be stored.

    Attributes
    ----------
    fingerprint : Fingerprint
        Fingerprint of the arrays.
    places : sequence of Place
        Recording of each row.
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
        """Return a row's array, in the fingerprint's shape and dtype."""
        array = self._source.read(row)
        place = self.places[row]
        if array.size != math.prod(self.fingerprint.shape):
            raise place.error(f"The array was changed: its shape is now {array.shape}.")
        if not np.isfinite(array).all():
            raise place.error(
                f"The array holds NaN or infinite values, {_first_not_finite(array)}.",
                hint="Remove the row, or replace the value.",
            )
        return _converted(array, self.fingerprint.dtype, place).reshape(self.fingerprint.shape)


def _first_not_finite(array: Array) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"the first at {index}" if index else f"{array}"


def _converted(array: Array, dtype: str, place: Place) -> Array:
    wanted = np.dtype(dtype)
    # Between integer types the conversion is allowed if all values fit, which is checked below.
    whole = array.dtype.kind in "biu" and wanted.kind in "biu"
    if not whole and not np.can_cast(array.dtype, wanted, "same_kind"):
        raise place.error(
            f"The array is {array.dtype.name}; converting it to {dtype} would lose information."
        )
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    lost = converted != array if wanted.kind in "biu" else ~np.isfinite(converted)
    if lost.any():
        value = array[lost].flat[0]
        raise place.error(f"The value {value} does not fit {dtype}.")
    return converted


# -- comparison with the cache -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Survey:
    """Comparison of all rows with each other and with the cache.

    Attributes
    ----------
    new : list of int
        Rows to store.
    checksums : list of int
        Checksums of the arrays of these new rows.
    present, repeated : int
        See :class:`ImportReport`.
    """

    new: list[int]
    checksums: list[int]
    present: int
    repeated: int


def _survey(cache: FeatureCache, rows: _Rows, claims: Claims) -> _Survey:
    stored = _checksums(cache, rows)
    first: dict[str, tuple[int, int]] = {}  # row and checksum by key
    repeated = 0
    for row, key in enumerate(rows.keys):
        claims.renew()
        digest = checksum(rows.array(row))
        place = rows.places[row]
        earlier_row, earlier_digest = first.setdefault(key, (row, digest))
        if earlier_digest != digest:
            raise place.error(
                f"The recording is also in {rows.places[earlier_row].location}, with another array "
                f"(key {key}).",
                hint="Copies of a file are one recording; parts of a recording need start and end.",
            )
        if stored.get(key, digest) != digest:
            raise place.error(
                f"The cache has another array for this recording (key {key}) in version "
                f"{rows.fingerprint.version} of {rows.fingerprint.name!r}.",
                hint="If the arrays were computed again, give them another version: --version NAME",
            )
        repeated += earlier_row != row
    new = [(row, digest) for key, (row, digest) in first.items() if key not in stored]
    return _Survey(
        [row for row, _ in new],
        [digest for _, digest in new],
        present=len(first) - len(new),
        repeated=repeated,
    )


def _checksums(cache: FeatureCache, rows: _Rows) -> dict[str, int]:
    """Return a mapping from key to checksum for the rows that the cache already has."""
    catalogue = cache.catalogue(rows.fingerprint)
    at = catalogue.find(rows.keys)
    return {
        key: int(catalogue.checksums[position])
        for key, position in zip(rows.keys, at.tolist(), strict=True)
        if position >= 0
    }


def _store(cache: FeatureCache, rows: _Rows, survey: _Survey, claims: Claims) -> None:
    step = chunk_size(len(survey.new), rows.fingerprint, 1)
    for start in range(0, len(survey.new), step):
        claims.renew()
        part = survey.new[start : start + step]
        arrays: list[Array] = []
        for row, expected in zip(part, survey.checksums[start : start + step], strict=True):
            arrays.append(rows.array(row))
            if checksum(arrays[-1]) != expected:
                raise rows.places[row].error("The array was changed during the import.")
        cache.add(
            rows.fingerprint,
            [rows.keys[row] for row in part],
            arrays,
            origins=[rows.places[row].origin for row in part],
            groups=[rows.places[row].group for row in part],
        )
    cache.index(rows.fingerprint)
