"""Work of a build in chunks: items that one process computes and writes as one shard."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import Absent, FusionError
from ..fingerprint import Fingerprint
from ..shards.claims import Claims, claim_path
from ..shards.listing import SUFFIX
from ..shards.rows import most_items
from ..shards.shard import Entry, misfit, raw_key, write_shard
from ..store import FeatureCache

_MIN_ITEMS = 8
_MAX_SECONDS = 300.0  # maximum computing time lost by a kill
# With several chunks per worker, workers end together, progress is visible, and a kill loses
# little.
_CHUNKS_PER_WORKER = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One array to compute: its key, and the source that the computation needs.

    Attributes
    ----------
    key : str
        Key of the array; ASCII. Items with the same key have the same array.
    source : object
        Input of the computation; picklable. Messages name the source by ``str(source)``.
    origin : str
        Location of the source; stored with the array, so that the array can be computed again.
    group : str
        Group the item belongs to, e.g. the name of a corpus; stored with the array.
    file : FileState, optional
        State of the file at the time its key was computed. If the file differs after the array was
        computed, the item fails, because the array may not belong to the key.
    """

    key: str
    source: Any
    origin: str = ""
    group: str = ""
    file: FileState | None = None

    def __post_init__(self) -> None:
        raw_key(self.key)  # fail now rather than after the computation


@dataclass(frozen=True, slots=True)
class FileState:
    """State of a file at one time: path, bytes, and modification time in nanoseconds."""

    path: Path
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Return the present state of a file, or None if it can't be read."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(path, status.st_size, status.st_mtime_ns)


class Computation(Protocol):
    """Computation of one feature; must be picklable."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the arrays: everything that determines the values of the arrays."""
        ...

    def compute(self, source: Any) -> npt.NDArray[Any]:
        """Return the array of one source, with the fingerprint's shape and dtype.

        If this method raises an exception, the item counts as failed, and the other items are still
        computed. If the source does not have the feature, raise :class:`~.errors.Absent`. Such an
        item does not count as failed.
        """
        ...


@runtime_checkable
class BatchComputation(Computation, Protocol):
    """Computation that can process several sources in one call."""

    @property
    def batch(self) -> int:
        """Maximum number of sources processed at a time; >= 1."""
        ...

    @property
    def processes(self) -> int | None:
        """Maximum number of processes per machine that compute at a time; None for no limit."""
        ...

    def compute_many(self, sources: Sequence[Any]) -> Sequence[npt.NDArray[Any] | Exception]:
        """Return the array of each source, or the exception that :meth:`compute` would raise.

        If this method raises an exception, the sources are computed one at a time.
        """
        ...


def batch_of(computation: Computation) -> int:
    """Return the maximum number of sources that a computation processes at a time."""
    return max(1, computation.batch) if isinstance(computation, BatchComputation) else 1


def processes_of(computation: Computation) -> int | None:
    """Return the maximum number of processes per machine for a computation; None if unlimited."""
    return computation.processes if isinstance(computation, BatchComputation) else None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items that become one shard.

    Attributes
    ----------
    root : Path
        Folder of the cache.
    computation : Computation
        Computes the items.
    items : tuple of Item
        The items.
    """

    root: Path
    computation: Computation
    items: tuple[Item, ...]

    @property
    def feature(self) -> str:
        """Name of the feature."""
        return self.computation.fingerprint.name

    @property
    def folder(self) -> Path:
        """Folder of the feature's shards."""
        return FeatureCache(self.root).folder(self.computation.fingerprint)

    def claims(self) -> list[Path]:
        """Return the paths of the claims on this chunk's items."""
        folder = self.folder
        return [claim_path(folder, item.key) for item in self.items]

    def of(self, positions: Iterable[int]) -> Chunk:
        """Return a chunk of the items at the given positions."""
        return replace(self, items=tuple(self.items[p] for p in positions))

    def one_by_one(self) -> Iterator[Chunk]:
        """Yield one chunk per item."""
        return (self.of([position]) for position in range(len(self.items)))


def chunk_size(missing: int, fingerprint: Fingerprint, workers: int, batch: int = 1) -> int:
    """Return the number of items per chunk for several workers: whole batches if possible."""
    fair = max(_MIN_ITEMS, math.ceil(missing / (workers * _CHUNKS_PER_WORKER)))
    most = most_items(fingerprint)
    batch = min(batch, most)
    return min(math.ceil(fair / batch), most // batch) * batch


@dataclass(slots=True)
class Result:
    """Outcome of a chunk, without the arrays, which were written to the disk.

    Attributes
    ----------
    computed : int
        Items that were computed and stored.
    present : int
        Items that another builder has finished since this build was planned.
    deferred : list of int
        Positions of items that another builder has claimed.
    failures : list of (int, str)
        Positions of failed items in the chunk, with reasons.
    absent : list of (int, str)
        Positions of items whose source does not have the feature, with reasons.
    """

    computed: int = 0
    present: int = 0
    deferred: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    absent: list[tuple[int, str]] = field(default_factory=list)


def compute(chunk: Chunk, strict: bool) -> Result:
    """Compute a chunk and write its arrays; in strict mode stop at the first failure.

    The chunk becomes one shard. If computing takes long, the chunk becomes several shards, so that
    a kill loses little.
    """
    result = Result()
    fingerprint = chunk.computation.fingerprint
    shards = _shards(chunk.root, fingerprint)
    entries: list[Entry] = []
    # Make the folder again: the garbage collector may have removed the empty folder meanwhile.
    with Claims(FeatureCache(chunk.root).prepare(fingerprint)) as claims:
        is_claimed = [claims.take(item.key) for item in chunk.items]
        # Check after claiming: builders write an item's shard before they release the item.
        finished = shards.stored_keys(chunk.items)
        written = time.monotonic()
        todo: list[int] = []
        for position, item in enumerate(chunk.items):
            if item.key in finished:
                result.present += 1
            elif is_claimed[position]:
                todo.append(position)
            else:
                result.deferred.append(position)
        batch = batch_of(chunk.computation)
        for start in range(0, len(todo), batch):
            positions = todo[start : start + batch]
            outcomes = _entries(chunk.computation, [chunk.items[p] for p in positions])
            claims.renew()
            entries += _collect_entries(positions, outcomes, result, strict)
            if strict and result.failures:
                break
            if entries and time.monotonic() - written > _MAX_SECONDS:
                result.computed += shards.write(entries)
                entries, written = [], time.monotonic()
        if entries:
            result.computed += shards.write(entries)
    return result


class _Shards:
    """View of one feature's shards in one process, which opens each new shard once."""

    def __init__(self, root: Path, fingerprint: Fingerprint) -> None:
        self._cache = FeatureCache(root)
        self._fingerprint = fingerprint
        self._names: set[str] | None = None
        self._newer: set[str] = set()  # keys of shards newer than the catalogue

    def stored_keys(self, items: Sequence[Item]) -> set[str]:
        """Return the keys of `items` that have an array."""
        folder = self._cache.folder(self._fingerprint)
        names = {path.name for path in folder.iterdir() if path.suffix == SUFFIX}
        if self._names is None or self._names - names:  # first call, or shards were removed
            self._catalogue = self._cache.catalogue(self._fingerprint)
            self._newer.clear()
        else:
            for name in names - self._names:
                shard = self._cache.open_shard(self._fingerprint, folder / name)
                self._newer.update(shard.keys if shard else ())
        self._names = names
        keys = [item.key for item in items]
        at = self._catalogue.find(keys).tolist()
        return {k for k, place in zip(keys, at, strict=True) if place >= 0 or k in self._newer}

    def write(self, entries: Sequence[Entry]) -> int:
        """Write one more shard; return the number of its items."""
        path = write_shard(self._cache.folder(self._fingerprint), self._fingerprint, entries)
        self._newer.update(entry.key for entry in entries)
        if self._names is not None:
            self._names.add(path.name)  # no need to open the shard
        return len(entries)


@functools.lru_cache(maxsize=16)
def _shards(root: Path, fingerprint: Fingerprint) -> _Shards:
    return _Shards(root, fingerprint)


Outcome = Entry | Absent | str  # of an item: the array, a signal of absence, or a reason


def _collect_entries(
    positions: Sequence[int], outcomes: Sequence[Outcome], result: Result, strict: bool
) -> Iterator[Entry]:
    """Yield the computed arrays of `outcomes`, and add failed and absent items to `result`.

    In strict mode stop at the first failure.
    """
    for position, entry in zip(positions, outcomes, strict=True):
        if isinstance(entry, Entry):
            yield entry
        elif isinstance(entry, Absent):
            result.absent.append((position, str(entry)))
        else:
            result.failures.append((position, entry))
            if strict:
                return


def _entries(computation: Computation, items: Sequence[Item]) -> list[Outcome]:
    """Return the outcome of each item of a batch."""
    if len(items) == 1 or not isinstance(computation, BatchComputation):
        return [_entry(computation, item) for item in items]
    started = time.perf_counter()
    try:
        arrays = list(computation.compute_many([item.source for item in items]))
        each = zip(items, arrays, strict=True)
        seconds = (time.perf_counter() - started) / len(items)
        return [_checked(computation, item, array, seconds) for item, array in each]
    except (Exception, SystemExit):
        # Computing items one at a time shows which item failed; the other items succeed.
        return [_entry(computation, item) for item in items]


def _entry(computation: Computation, item: Item) -> Outcome:
    """Return the outcome of one item."""
    started = time.perf_counter()
    try:
        array = np.asarray(computation.compute(item.source))
    except (Exception, SystemExit) as error:
        return _reason(error)
    return _checked(computation, item, array, time.perf_counter() - started)


def _checked(
    computation: Computation, item: Item, array: npt.NDArray[Any] | Exception, seconds: float
) -> Outcome:
    if isinstance(array, Exception):
        return _reason(array)
    array = np.asarray(array)
    if item.file is not None and FileState.of(item.file.path) != item.file:
        return f"{item.file.path} was changed during this build; build again."
    problem = misfit(array, computation.fingerprint)
    return problem or Entry(item.key, array, seconds, item.origin, item.group)


def _reason(error: BaseException) -> Absent | str:
    if isinstance(error, Absent):
        return error
    # A FusionError has a complete message; the notes of other errors may name a plugin.
    notes = () if isinstance(error, FusionError) else getattr(error, "__notes__", ())
    return ". ".join([f"{type(error).__name__}: {error}", *notes])
