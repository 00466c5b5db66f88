"""The unit of work of a build: items that become one shard, computed by one process."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .claims import Claims
from .fingerprint import Fingerprint
from .shard import Entry, misfit, write_shard
from .store import FeatureCache

_MAX_ITEMS = 256  # per shard
_MAX_BYTES = 64 * 2**20
_MIN_ITEMS = 8
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
    """

    key: str
    source: Any
    origin: str = ""
    group: str = ""


class Computation(Protocol):
    """Makes one feature. Must be picklable."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the numbers."""
        ...

    def compute(self, source: Any) -> npt.NDArray[Any]:
        """The array of one source, of the fingerprint's shape and dtype.

        Whatever it raises is that item's failure; the others go on.
        """
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items that become one shard.

    Attributes
    ----------
    root : Path
        Of the cache.
    newest : int
        Time of change, in nanoseconds by the file system's clock, of the newest shard that
        was there when these items were missing.
    """

    root: Path
    computation: Computation
    items: tuple[Item, ...]
    newest: int

    @property
    def feature(self) -> str:
        return self.computation.fingerprint.name

    @property
    def folder(self) -> Path:
        return FeatureCache(self.root).folder(self.computation.fingerprint)

    def of(self, positions: Iterable[int]) -> Chunk:
        return replace(self, items=tuple(self.items[p] for p in positions))

    def one_by_one(self) -> Iterator[Chunk]:
        return (self.of([position]) for position in range(len(self.items)))


def chunk_size(missing: int, fingerprint: Fingerprint, workers: int) -> int:
    array_bytes = math.prod(fingerprint.shape) * np.dtype(fingerprint.dtype).itemsize
    fair = max(_MIN_ITEMS, math.ceil(missing / (workers * _CHUNKS_PER_WORKER)))
    return max(1, min(fair, _MAX_ITEMS, _MAX_BYTES // array_bytes))


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
    """

    computed: int = 0
    present: int = 0
    deferred: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)


def compute(chunk: Chunk, strict: bool) -> Result:
    """Compute a chunk and write its shard; in strict mode up to the first failure."""
    result = Result()
    fingerprint = chunk.computation.fingerprint
    entries: list[Entry] = []
    cache = _cache(chunk.root)
    # Again, hours after the plan: an empty folder may have been tidied away.
    with Claims(cache.prepare(fingerprint)) as claims:
        mine = [claims.take(item.key) for item in chunk.items]
        # Looked at after claiming: who had an item before has written it before letting go.
        finished = cache.keys_since(fingerprint, chunk.newest)
        for position, item in enumerate(chunk.items):
            if item.key in finished:
                result.present += 1
                continue
            if not mine[position]:
                result.deferred.append(position)
                continue
            entry = _entry(chunk.computation, item)
            claims.renew()
            if isinstance(entry, Entry):
                entries.append(entry)
                continue
            result.failures.append((position, entry))
            if strict:
                break
        if entries:
            write_shard(cache.folder(fingerprint), fingerprint, entries)
    result.computed = len(entries)
    return result


@functools.lru_cache(maxsize=4)
def _cache(root: Path) -> FeatureCache:
    """A process's own view of a cache: it opens each shard of other builders once."""
    return FeatureCache(root)


def _entry(computation: Computation, item: Item) -> Entry | str:
    """The array of one item, or why there is none."""
    started = time.perf_counter()
    try:
        array = np.asarray(computation.compute(item.source))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    problem = misfit(array, computation.fingerprint)
    return problem or Entry(item.key, array, seconds, item.origin, item.group)
