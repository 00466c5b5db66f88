"""Compute what is missing, on all cores, so that a kill at any moment loses little."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import CacheError
from .fingerprint import Fingerprint
from .shard import misfit, remove_debris, write_shard
from .store import FeatureCache
from .workers import available_cores, process_pool

_MAX_ITEMS = 256  # per shard
_MAX_BYTES = 64 * 2**20
_MIN_ITEMS = 8
_CHUNKS_PER_WORKER = 8  # so that workers end together, progress shows, and a kill loses little
_MAX_DEATHS = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One array to have: its key, and whatever the computation needs to make it.

    Attributes
    ----------
    key : str
        Items of one key are the same array; ASCII.
    source : object
        Picklable; for people, ``str(source)`` names it.
    """

    key: str
    source: Any


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
class Failure:
    """One item that could not be computed.

    Attributes
    ----------
    feature : str
        Name of the feature.
    key : str
        Of the item.
    source : object
        Of the item.
    reason : str
        What was raised: type and message.
    """

    feature: str
    key: str
    source: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is.

    Attributes
    ----------
    feature : str
        Name of the feature that was worked on last; empty at the start.
    done : int
        Items computed or failed so far, of all features.
    total : int
        Items that were missing at the start, of all features.
    failed : int
        Those of `done` that failed.
    """

    feature: str
    done: int
    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did, each item counted once per feature.

    Attributes
    ----------
    computed : int
        Items that were missing and are there now.
    present : int
        Items that were there before.
    failures : list of Failure
        Items that could not be computed.
    seconds : float
        Wall time.
    """

    computed: int
    present: int
    failures: list[Failure]
    seconds: float


def build(
    cache: FeatureCache,
    work: Sequence[tuple[Computation, Sequence[Item]]],
    *,
    jobs: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    strict: bool = False,
) -> BuildReport:
    """Compute every array that `cache` lacks.

    Items become shards in chunks, each written by the process that computed it. Killed or
    stopped, a build loses the chunks in work and nothing else; the next one takes up the rest.

    Parameters
    ----------
    work : sequence of (Computation, sequence of Item)
        What is wanted.
    jobs : int >= 1, optional
        Processes, of one thread each; all cores by default. With 1 everything is computed in
        this process. With more, a script must guard its start by
        ``if __name__ == "__main__"``, as :mod:`multiprocessing` asks.
    on_progress : callable, optional
        Receives a :class:`Progress` at the start and after each chunk.
    strict : bool
        Stop at the first item that fails.

    Returns
    -------
    BuildReport

    Raises
    ------
    CacheError
        In strict mode, for the first item that fails; or when worker processes keep dying.
    StorageError
        If the cache can't be written to or is full.
    """
    jobs = available_cores() if jobs is None else jobs
    if jobs < 1:
        raise CacheError(f"A build needs at least 1 job, not {jobs}.")
    started = time.perf_counter()
    chunks, present = _plan(cache, work, jobs)
    tally = _Tally(sum(len(chunk.items) for chunk in chunks), on_progress, strict)
    if jobs == 1:
        for chunk in chunks:
            tally.add(chunk, _compute(chunk, strict))
    else:
        _compute_in_processes(chunks, jobs, tally)
    seconds = time.perf_counter() - started
    return BuildReport(tally.computed, present, tally.failures, seconds)


# -- planning ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Items that become one shard."""

    folder: Path
    computation: Computation
    items: tuple[Item, ...]

    @property
    def feature(self) -> str:
        return self.computation.fingerprint.name

    def one_by_one(self) -> Iterator[_Chunk]:
        return (_Chunk(self.folder, self.computation, (item,)) for item in self.items)


def _plan(
    cache: FeatureCache, work: Sequence[tuple[Computation, Sequence[Item]]], jobs: int
) -> tuple[list[_Chunk], int]:
    """The chunks to compute, and how many items are there already."""
    by_fingerprint: dict[Fingerprint, tuple[Computation, dict[str, Item]]] = {}
    for computation, items in work:
        _, unique = by_fingerprint.setdefault(computation.fingerprint, (computation, {}))
        for item in items:
            unique.setdefault(item.key, item)
    chunks: list[_Chunk] = []
    present = 0
    for fingerprint, (computation, unique) in by_fingerprint.items():
        missing = [unique[key] for key in cache.missing(fingerprint, unique)]
        present += len(unique) - len(missing)
        if missing:
            folder = cache.prepare(fingerprint)
            size = _chunk_size(len(missing), fingerprint, jobs)
            chunks += (
                _Chunk(folder, computation, tuple(missing[i : i + size]))
                for i in range(0, len(missing), size)
            )
    return chunks, present


def _chunk_size(missing: int, fingerprint: Fingerprint, jobs: int) -> int:
    array_bytes = math.prod(fingerprint.shape) * np.dtype(fingerprint.dtype).itemsize
    fair = max(_MIN_ITEMS, math.ceil(missing / (jobs * _CHUNKS_PER_WORKER)))
    return max(1, min(fair, _MAX_ITEMS, _MAX_BYTES // array_bytes))


# -- computing -----------------------------------------------------------------------


@dataclass(slots=True)
class _Result:
    """What came of a chunk. The arrays went to the disk, so this is small.

    Attributes
    ----------
    failures : list of (int, str)
        Positions in the chunk, and reasons.
    """

    computed: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)


def _compute(chunk: _Chunk, strict: bool) -> _Result:
    """Compute a chunk and write its shard; in strict mode up to the first failure."""
    result = _Result()
    keys: list[str] = []
    arrays: list[npt.NDArray[Any]] = []
    seconds: list[float] = []
    for position, item in enumerate(chunk.items):
        started = time.perf_counter()
        try:
            array = np.asarray(chunk.computation.compute(item.source))
            reason = misfit(array, chunk.computation.fingerprint)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is None:
            keys.append(item.key)
            arrays.append(array)
            seconds.append(time.perf_counter() - started)
        else:
            result.failures.append((position, reason))
            if strict:
                break
    if keys:
        write_shard(chunk.folder, chunk.computation.fingerprint, keys, arrays, seconds)
    result.computed = len(keys)
    return result


class _Tally:
    """Adds up results and tells of progress."""

    def __init__(
        self, total: int, on_progress: Callable[[Progress], None] | None, strict: bool
    ) -> None:
        self.computed = 0
        self.failures: list[Failure] = []
        self.strict = strict
        self._total = total
        self._on_progress = on_progress
        self._report("")

    def add(self, chunk: _Chunk, result: _Result) -> None:
        self.computed += result.computed
        for position, reason in result.failures:
            item = chunk.items[position]
            self.failures.append(Failure(chunk.feature, item.key, item.source, reason))
        self._report(chunk.feature)
        if self.strict and result.failures:
            first = self.failures[-len(result.failures)]
            raise CacheError(
                f"Can't compute {first.feature!r} of {first.source}: {first.reason}",
                hint="What is finished stays. Without strict mode, items that fail are left out.",
            )

    def _report(self, feature: str) -> None:
        if self._on_progress is not None:
            failed = len(self.failures)
            self._on_progress(Progress(feature, self.computed + failed, self._total, failed))


# -- in processes --------------------------------------------------------------------


def _compute_in_processes(chunks: Sequence[_Chunk], jobs: int, tally: _Tally) -> None:
    """Compute all chunks. Where a worker dies, its chunk's items are tried once more, one at
    a time, after everything else: mostly memory was short, and then only for one item."""
    suspects: list[_Chunk] = []
    deaths = 0
    for retry in (False, True):
        if retry:
            chunks, jobs = [single for chunk in suspects for single in chunk.one_by_one()], 1
        while chunks:
            chunks, lost = _run_pool(chunks, jobs, tally)
            deaths += bool(lost)
            if retry:
                for chunk in lost:
                    tally.add(chunk, _Result(failures=[(0, _DIED)]))
            else:
                suspects += lost
            if deaths > _MAX_DEATHS:
                raise CacheError(
                    f"Worker processes died {deaths} times; the last one in computing "
                    f"{lost[-1].feature!r} of {lost[-1].items[0].source}.",
                    hint="Give each more memory by fewer jobs; with 1 job the reason is seen best.",
                )


_DIED = "the process that computed it died, twice (killed, out of memory or crashed)."


def _run_pool(
    chunks: Sequence[_Chunk], jobs: int, tally: _Tally
) -> tuple[list[_Chunk], list[_Chunk]]:
    """Compute chunks until all are done or a worker dies.

    Returns the chunks that were not finished through no fault of theirs, and those in which
    a worker died.
    """
    started = multiprocessing.get_context("spawn").RawArray("q", len(chunks))  # pid by chunk
    unfinished = dict(enumerate(chunks))
    pool = None
    try:
        with process_pool(min(jobs, len(chunks)), _remember, (started,)) as pool:
            futures = {}
            try:
                for number, chunk in unfinished.items():
                    futures[pool.submit(_compute_and_tell, number, chunk, tally.strict)] = number
            except BrokenProcessPool:
                pass  # the rest stays unfinished
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    continue
                tally.add(unfinished.pop(futures[future]), result)
    finally:
        if pool is not None:
            remove_debris({chunk.folder for chunk in chunks}, pool.pids())
    if not unfinished:
        return [], []
    dead = pool.crashed()
    lost = {n for n in unfinished if started[n] in dead} or {n for n in unfinished if started[n]}
    if not lost:
        raise CacheError(
            "Worker processes can't start.",
            hint="A script that builds with several jobs must guard its start by "
            "`if __name__ == '__main__':`; with jobs=1 it need not.",
        )
    return (
        [chunk for n, chunk in unfinished.items() if n not in lost],
        [chunks[n] for n in lost],
    )


_started: MutableSequence[int] = []


def _remember(started: MutableSequence[int]) -> None:
    global _started
    _started = started


def _compute_and_tell(number: int, chunk: _Chunk, strict: bool) -> _Result:
    _started[number] = os.getpid()
    return _compute(chunk, strict)
