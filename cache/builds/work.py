"""The unit of work of a build: items that become one shard, computed by one process."""

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
from ..shards.rows import most_items
from ..shards.shard import SUFFIX, Entry, misfit, raw_key, write_shard
from ..store import FeatureCache

_MIN_ITEMS = 8
_MAX_SECONDS = 300.0  # of computing that a kill can lose
_CHUNKS_PER_WORKER = 8  # so that workers end together, progress shows, and a kill loses little


@dataclass(frozen=True, slots=True)
class Item:
    """One array to have: its key, and whatever the computation needs to make it.

    Attributes
    ----------
    key : str
        Items of one key are the same array; ASCII.
    source : object
        Picklable; for people, ``str(source)`` names it.
    origin : str
        Where the source can be found again; stored with the array.
    group : str
        What it belongs to, e.g. the name of a corpus; stored with the array.
    file : FileState, optional
        The file that the key was made of, as it was then. If it is another when the array has
        been computed, that is a failure: nobody knows what the array is of.
    """

    key: str
    source: Any
    origin: str = ""
    group: str = ""
    file: FileState | None = None

    def __post_init__(self) -> None:
        raw_key(self.key)  # now, and not when it has been computed


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was at some time: path, bytes, and time of change in nanoseconds."""

    path: Path
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """As it is now; None if it can't be looked at."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(path, status.st_size, status.st_mtime_ns)


class Computation(Protocol):
    """Makes one feature. Must be picklable."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the numbers."""
        ...

    def compute(self, source: Any) -> npt.NDArray[Any]:
        """The array of one source, of the fingerprint's shape and dtype.

        Whatever it raises is that item's failure; the others go on. :class:`~.errors.Absent` is
        none: there is no such array for that source.
        """
        ...


@runtime_checkable
class BatchComputation(Computation, Protocol):
    """A computation that can also work on several sources at a time."""

    @property
    def batch(self) -> int:
        """How many sources it takes at a time, at most; >= 1."""
        ...

    @property
    def processes(self) -> int | None:
        """How many processes of one machine may compute it at a time; None leaves it open."""
        ...

    def compute_many(self, sources: Sequence[Any]) -> Sequence[npt.NDArray[Any] | Exception]:
        """For each source its array, or what :meth:`compute` would have raised.

        If this itself raises, its sources are computed one at a time.
        """
        ...


def batch_of(computation: Computation) -> int:
    """How many sources a computation takes at a time."""
    return max(1, computation.batch) if isinstance(computation, BatchComputation) else 1


def processes_of(computation: Computation) -> int | None:
    """How many processes of one machine may compute it at a time; None: any number."""
    return computation.processes if isinstance(computation, BatchComputation) else None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items that become one shard.

    Attributes
    ----------
    root : Path
        Of the cache.
    """

    root: Path
    computation: Computation
    items: tuple[Item, ...]

    @property
    def feature(self) -> str:
        return self.computation.fingerprint.name

    @property
    def folder(self) -> Path:
        return FeatureCache(self.root).folder(self.computation.fingerprint)

    def claims(self) -> list[Path]:
        """Where the claims on its items lie."""
        folder = self.folder
        return [claim_path(folder, item.key) for item in self.items]

    def of(self, positions: Iterable[int]) -> Chunk:
        return replace(self, items=tuple(self.items[p] for p in positions))

    def one_by_one(self) -> Iterator[Chunk]:
        return (self.of([position]) for position in range(len(self.items)))


def chunk_size(missing: int, fingerprint: Fingerprint, workers: int, batch: int = 1) -> int:
    """How many items each of several workers takes at a time: whole batches where they fit."""
    fair = max(_MIN_ITEMS, math.ceil(missing / (workers * _CHUNKS_PER_WORKER)))
    most = most_items(fingerprint)
    batch = min(batch, most)
    return min(math.ceil(fair / batch), most // batch) * batch


@dataclass(slots=True)
class Result:
    """What came of a chunk. The arrays went to the disk, so this is small.

    Attributes
    ----------
    computed : int
        Items that are there now.
    present : int
        Items that another builder has finished since the plan.
    deferred : list of int
        Positions of items on which another builder works.
    failures : list of (int, str)
        Positions in the chunk, and reasons.
    absent : list of (int, str)
        The same of items whose source has no such array.
    """

    computed: int = 0
    present: int = 0
    deferred: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    absent: list[tuple[int, str]] = field(default_factory=list)


def compute(chunk: Chunk, strict: bool) -> Result:
    """Compute a chunk and write it; in strict mode up to the first failure.

    It becomes one shard, or several where that takes long, so that a kill loses little.
    """
    result = Result()
    fingerprint = chunk.computation.fingerprint
    shards = _shards(chunk.root, fingerprint)
    entries: list[Entry] = []
    # Again, hours after the plan: an empty folder may have been tidied away.
    with Claims(FeatureCache(chunk.root).prepare(fingerprint)) as claims:
        mine = [claims.take(item.key) for item in chunk.items]
        # Looked at after claiming: who had an item before has written it before letting go.
        finished = shards.found(chunk.items)
        written = time.monotonic()
        todo: list[int] = []
        for position, item in enumerate(chunk.items):
            if item.key in finished:
                result.present += 1
            elif mine[position]:
                todo.append(position)
            else:
                result.deferred.append(position)
        batch = batch_of(chunk.computation)
        for start in range(0, len(todo), batch):
            positions = todo[start : start + batch]
            found = _entries(chunk.computation, [chunk.items[p] for p in positions])
            claims.renew()
            entries += _sorted_out(positions, found, result, strict)
            if strict and result.failures:
                break
            if entries and time.monotonic() - written > _MAX_SECONDS:
                result.computed += shards.write(entries)
                entries, written = [], time.monotonic()
        if entries:
            result.computed += shards.write(entries)
    return result


class _Shards:
    """A process's own view of a feature: what is finished, each new shard opened once."""

    def __init__(self, root: Path, fingerprint: Fingerprint) -> None:
        self._cache = FeatureCache(root)
        self._fingerprint = fingerprint
        self._names: set[str] | None = None
        self._newer: set[str] = set()  # keys of the shards since

    def found(self, items: Sequence[Item]) -> set[str]:
        """The keys of `items` that have an array."""
        folder = self._cache.folder(self._fingerprint)
        names = {path.name for path in folder.iterdir() if path.suffix == SUFFIX}
        if self._names is None or self._names - names:  # the first time, or some have gone
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
        """One shard more. Returns how many items that were."""
        path = write_shard(self._cache.folder(self._fingerprint), self._fingerprint, entries)
        self._newer.update(entry.key for entry in entries)
        if self._names is not None:
            self._names.add(path.name)  # no need to open it
        return len(entries)


@functools.lru_cache(maxsize=16)
def _shards(root: Path, fingerprint: Fingerprint) -> _Shards:
    return _Shards(root, fingerprint)


Found = Entry | Absent | str  # of one item: its array, that there is none, or what failed


def _sorted_out(
    positions: Sequence[int], found: Sequence[Found], result: Result, strict: bool
) -> Iterator[Entry]:
    """The arrays among `found`, up to the first failure if strict; `result` hears of the rest."""
    for position, entry in zip(positions, found, strict=True):
        if isinstance(entry, Entry):
            yield entry
        elif isinstance(entry, Absent):
            result.absent.append((position, str(entry)))
        else:
            result.failures.append((position, entry))
            if strict:
                return


def _entries(computation: Computation, items: Sequence[Item]) -> list[Found]:
    """What comes of each item of a batch."""
    if len(items) == 1 or not isinstance(computation, BatchComputation):
        return [_entry(computation, item) for item in items]
    started = time.perf_counter()
    try:
        arrays = list(computation.compute_many([item.source for item in items]))
        each = zip(items, arrays, strict=True)
        seconds = (time.perf_counter() - started) / len(items)
        return [_checked(computation, item, array, seconds) for item, array in each]
    except (Exception, SystemExit):
        # Which item it was shows one at a time, and its neighbours are not to suffer.
        return [_entry(computation, item) for item in items]


def _entry(computation: Computation, item: Item) -> Found:
    """What comes of one item."""
    started = time.perf_counter()
    try:
        array = np.asarray(computation.compute(item.source))
    except (Exception, SystemExit) as error:
        return _reason(error)
    return _checked(computation, item, array, time.perf_counter() - started)


def _checked(
    computation: Computation, item: Item, array: npt.NDArray[Any] | Exception, seconds: float
) -> Found:
    if isinstance(array, Exception):
        return _reason(array)
    array = np.asarray(array)
    if item.file is not None and FileState.of(item.file.path) != item.file:
        return f"{item.file.path} was changed while this build went on; build again."
    problem = misfit(array, computation.fingerprint)
    return problem or Entry(item.key, array, seconds, item.origin, item.group)


def _reason(error: BaseException) -> Absent | str:
    if isinstance(error, Absent):
        return error
    # An error of this house says all itself; of another one, notes may say whose it is.
    notes = () if isinstance(error, FusionError) else getattr(error, "__notes__", ())
    return ". ".join([f"{type(error).__name__}: {error}", *notes])
