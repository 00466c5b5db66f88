"""Compute what is missing, on all cores or machines, so that a kill at any moment loses little."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .claims import Claims, claimed, claimed_by, remove_claims
from .errors import CacheError, FusionError
from .executors import Workers, open_workers
from .files import remove_debris
from .fingerprint import Fingerprint
from .shard import Entry, misfit, write_shard
from .store import FeatureCache
from .workers import WorkerPool

_MAX_ITEMS = 256  # per shard
_MAX_BYTES = 64 * 2**20
_MIN_ITEMS = 8
_CHUNKS_PER_WORKER = 8  # so that workers end together, progress shows, and a kill loses little
_MAX_DEATHS = 20
_POLL_SECONDS = (
    0.05,
    2.0,
)  # first and longest pause in looking for what others do


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
        Items that were there before, or that another build has computed in the meantime.
    fetched : int
        Items that were copied from another machine's cache.
    failures : list of Failure
        Items that could not be computed.
    seconds : float
        Wall time.
    """

    computed: int
    present: int
    failures: list[Failure]
    seconds: float
    fetched: int = 0


def build(
    cache: FeatureCache,
    work: Sequence[tuple[Computation, Sequence[Item]]],
    *,
    jobs: int | None = None,
    on: Workers | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: Callable[[Progress], None] | None = None,
    strict: bool = False,
) -> BuildReport:
    """Compute every array that `cache` lacks.

    Items become shards in chunks, each written by the process that computed it. Killed or
    stopped, a build loses the chunks in work and nothing else; the next one takes up the rest.
    Builds that run at the same time, on any machines that share the folder, divide the work
    among themselves: each item is claimed before it is computed, and a build ends when what
    others have claimed is there too.

    Parameters
    ----------
    work : sequence of (Computation, sequence of Item)
        What is wanted.
    jobs : int >= 1, optional
        Processes, of one thread each; all cores by default. With 1 everything is computed in
        this process. With more, a script must guard its start by
        ``if __name__ == "__main__"``, as :mod:`multiprocessing` asks.
    on : Workers, optional
        Where to compute instead; see :func:`fusion.cache.open_workers`.
    part : (int, int)
        ``(i, n)``: only the i-th of n parts of the items, i from 1 to n. The parts depend on
        the keys alone, so n builds that know nothing of each other do everything once.
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
        In strict mode, for the first item that fails; or when workers keep dying.
    StorageError
        If the cache can't be written to or is full.
    """
    if not 1 <= part[0] <= part[1]:
        raise CacheError(f"There is no part {part[0]} of {part[1]}: they count from 1 to n.")
    if on is None:
        with open_workers(jobs=jobs) as here:
            return _build(cache, work, here, part, on_progress, strict)
    return _build(cache, work, on, part, on_progress, strict)


def _build(
    cache: FeatureCache,
    work: Sequence[tuple[Computation, Sequence[Item]]],
    on: Workers,
    part: tuple[int, int],
    on_progress: Callable[[Progress], None] | None,
    strict: bool,
) -> BuildReport:
    started = time.perf_counter()
    plan = _plan(cache, _unique(work, part), on.size)
    tally = _Tally(sum(len(chunk.items) for chunk in plan.chunks), on_progress, strict)
    chunks = plan.chunks
    while chunks:
        _compute_all(chunks, on, tally)
        chunks = _wait_for_others(cache, tally.take_deferred(), tally)
    for fingerprint in plan.features:
        cache.index(fingerprint)
    seconds = time.perf_counter() - started
    return BuildReport(
        tally.computed, plan.present + tally.present, tally.failures, seconds, plan.fetched
    )


# -- planning ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chunk:
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

    def of(self, positions: Iterable[int]) -> _Chunk:
        return replace(self, items=tuple(self.items[p] for p in positions))

    def one_by_one(self) -> Iterator[_Chunk]:
        return (self.of([position]) for position in range(len(self.items)))


@dataclass(frozen=True, slots=True)
class _Plan:
    chunks: list[_Chunk]
    present: int
    fetched: int
    features: list[Fingerprint]


_Wanted = dict[Fingerprint, tuple[Computation, list[Item]]]


def _unique(work: Sequence[tuple[Computation, Sequence[Item]]], part: tuple[int, int]) -> _Wanted:
    """Items by feature, those of one key once, and of these the wanted part."""
    found: dict[Fingerprint, tuple[Computation, dict[str, Item]]] = {}
    for computation, items in work:
        _, unique = found.setdefault(computation.fingerprint, (computation, {}))
        for item in items:
            unique.setdefault(item.key, item)
    number, parts = part
    wanted: _Wanted = {}
    for fingerprint, (computation, unique) in found.items():
        mine = set(sorted(unique)[number - 1 :: parts])
        wanted[fingerprint] = computation, [unique[key] for key in unique if key in mine]
    return wanted


def _plan(cache: FeatureCache, wanted: _Wanted, size: int) -> _Plan:
    """The chunks to compute, and how much is there already."""
    chunks: list[_Chunk] = []
    present = fetched = 0
    for fingerprint, (computation, items) in wanted.items():
        keys = [item.key for item in items]
        lacking = cache.missing(fingerprint, keys)
        if lacking:
            copied = cache.fetch(fingerprint, lacking)
            fetched += copied
            lacking = cache.missing(fingerprint, lacking) if copied else lacking
        missing = set(lacking)
        present += len(items) - len(missing)
        if missing:
            cache.prepare(fingerprint)
            todo = tuple(item for item in items if item.key in missing)
            whole = _Chunk(cache.root, computation, todo, cache.newest(fingerprint))
            step = _chunk_size(len(todo), fingerprint, size)
            chunks += (
                whole.of(range(i, min(i + step, len(todo)))) for i in range(0, len(todo), step)
            )
    return _Plan(chunks, present - fetched, fetched, list(wanted))


def _chunk_size(missing: int, fingerprint: Fingerprint, workers: int) -> int:
    array_bytes = math.prod(fingerprint.shape) * np.dtype(fingerprint.dtype).itemsize
    fair = max(_MIN_ITEMS, math.ceil(missing / (workers * _CHUNKS_PER_WORKER)))
    return max(1, min(fair, _MAX_ITEMS, _MAX_BYTES // array_bytes))


# -- computing -----------------------------------------------------------------------


@dataclass(slots=True)
class _Result:
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


def _compute(chunk: _Chunk, strict: bool) -> _Result:
    """Compute a chunk and write its shard; in strict mode up to the first failure."""
    result = _Result()
    fingerprint = chunk.computation.fingerprint
    entries: list[Entry] = []
    with Claims(chunk.folder) as claims:
        mine = [claims.take(item.key) for item in chunk.items]
        # Looked at after claiming: who had an item before has written it before letting go.
        finished = _cache(chunk.root).keys_since(fingerprint, chunk.newest)
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
            write_shard(chunk.folder, fingerprint, entries)
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


class _Tally:
    """Adds up results and tells of progress."""

    def __init__(
        self, total: int, on_progress: Callable[[Progress], None] | None, strict: bool
    ) -> None:
        self.computed = 0
        self.present = 0
        self.failures: list[Failure] = []
        self.strict = strict
        self._deferred: list[_Chunk] = []
        self._total = total
        self._on_progress = on_progress
        self._report("")

    def add(self, chunk: _Chunk, result: _Result) -> None:
        self.computed += result.computed
        self.present += result.present
        if result.deferred:
            self._deferred.append(chunk.of(result.deferred))
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

    def take_deferred(self) -> list[_Chunk]:
        """What other builders had claimed, once."""
        deferred, self._deferred = self._deferred, []
        return deferred

    def _report(self, feature: str) -> None:
        if self._on_progress is not None:
            failed = len(self.failures)
            done = self.computed + self.present + failed
            self._on_progress(Progress(feature, done, self._total, failed))


def _wait_for_others(
    cache: FeatureCache, deferred: Sequence[_Chunk], tally: _Tally
) -> list[_Chunk]:
    """Wait until no living builder works on these items; what is missing then is ours."""
    left: list[_Chunk] = []
    for chunk in deferred:
        pause, longest = _POLL_SECONDS
        waiting = chunk
        while waiting.items:
            busy = claimed(waiting.folder, (item.key for item in waiting.items))
            missing = set(
                cache.missing(waiting.computation.fingerprint, (item.key for item in waiting.items))
            )
            ours = [p for p, i in enumerate(waiting.items) if i.key in missing - busy]
            others = [p for p, i in enumerate(waiting.items) if i.key in missing & busy]
            there = len(waiting.items) - len(missing)
            if there:
                tally.add(waiting, _Result(present=there))
            if ours:
                left.append(waiting.of(ours))
            waiting = waiting.of(others)
            if waiting.items:
                time.sleep(pause)
                pause = min(2 * pause, longest)
    return left


# -- where workers can die -----------------------------------------------------------

_DIED = "the process that computed it died, twice (killed, out of memory or crashed)."


def _compute_all(chunks: Sequence[_Chunk], on: Workers, tally: _Tally) -> None:
    """Compute all chunks. Where a worker dies, its chunk's items are tried once more, one at
    a time, after everything else: mostly memory was short, and then only for one item."""
    suspects: list[_Chunk] = []
    deaths = 0
    for retry in (False, True):
        if retry:
            chunks = [single for chunk in suspects for single in chunk.one_by_one()]
            on = replace(on, width=1)
        while chunks:
            chunks, lost = _compute_round(chunks, on, tally)
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


def _compute_round(
    chunks: Sequence[_Chunk], on: Workers, tally: _Tally
) -> tuple[list[_Chunk], list[_Chunk]]:
    """Compute chunks until all are done or the executor breaks.

    Returns the chunks that were not finished through no fault of theirs, and those in which
    a worker died.
    """
    unfinished = dict(enumerate(chunks))
    lost: list[int] = []
    error: Exception | None = None
    executor = None
    try:
        with on.open() as executor:
            for number, result in _results(executor, chunks, on.width, tally.strict):
                if isinstance(result, _Result):
                    tally.add(unfinished.pop(number), result)
                elif not on.remote:  # no death: of these the pool itself tells
                    raise result
                else:
                    lost.append(number)
                    error = result
        if isinstance(executor, WorkerPool):
            lost = _lost(executor, unfinished)
    finally:
        if isinstance(executor, WorkerPool):
            folders = {chunk.folder for chunk in chunks}
            remove_debris(folders, executor.pids())
            remove_claims(folders, executor.pids())
    if error is not None and len(lost) == len(chunks) > 1:
        raise CacheError(
            f"No worker finished anything. The last error: {type(error).__name__}: {error}",
            hint="Every worker needs the same packages and plugins as this process, and the "
            "cache and the recordings at the same paths.",
        )
    return (
        [chunk for n, chunk in unfinished.items() if n not in lost],
        [chunks[n] for n in lost],
    )


def _results(
    executor: Executor, chunks: Sequence[_Chunk], width: float, strict: bool
) -> Iterator[tuple[int, _Result | Exception]]:
    """Results as they come, by the chunk's number; for a chunk whose worker died, the error.

    Raises what is wrong with the cache itself: then going on would help nobody.
    """
    pending: dict[Future[_Result], int] = {}
    numbers = iter(range(len(chunks)))
    broken = False
    try:
        while True:
            while not broken and len(pending) < width:
                number = next(numbers, None)
                if number is None:
                    break
                try:
                    pending[executor.submit(_compute, chunks[number], strict)] = number
                except BrokenExecutor:
                    broken = True
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                number = pending.pop(future)
                try:
                    result: _Result | Exception = future.result()
                except FusionError:
                    raise
                except BrokenExecutor:
                    broken = True
                    continue
                except Exception as error:  # a computation's own errors are results
                    result = error
                yield number, result
    finally:
        for future in pending:
            future.cancel()


def _lost(pool: WorkerPool, unfinished: dict[int, _Chunk]) -> list[int]:
    """The chunks in which a process of a broken pool died: they are still claimed by it."""
    if not unfinished:
        return []

    def of(pids: set[int]) -> list[int]:
        return [
            n for n, chunk in unfinished.items()
            if claimed_by(chunk.folder, (item.key for item in chunk.items), pids)
        ]  # fmt: skip

    lost = of(pool.crashed()) or of(pool.pids())
    if not lost:
        raise CacheError(
            "Worker processes can't start.",
            hint="A script that builds with several jobs must guard its start by "
            "`if __name__ == '__main__':`; with jobs=1 it need not.",
        )
    return lost
