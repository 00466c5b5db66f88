"""Builds: the computation of all missing arrays, on all cores or machines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import CacheError
from ..fingerprint import Fingerprint
from ..store import FeatureCache
from .dispatch import compute_all, wait_for_others
from .executors import Workers, open_workers
from .journal import Purpose, record_build
from .progress import BuildReport, Progress, Tally
from .work import Chunk, Computation, Item, batch_of, chunk_size, processes_of


def build(
    cache: FeatureCache,
    work: Sequence[tuple[Computation, Sequence[Item]]],
    *,
    jobs: int | None = None,
    on: Workers | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: Callable[[Progress], None] | None = None,
    strict: bool = False,
    purpose: Purpose = "build",
) -> BuildReport:
    """Compute every array that `cache` lacks.

    Items are computed in chunks, and the process that computed a chunk writes this chunk as a
    shard. A build that is killed or stopped loses only the chunks in progress. The next build
    computes the lost chunks.

    Builds that run at the same time, on any machines that share the folder, divide the
    work: a build claims each item before computing the item. A build ends when all items are
    stored, including items that other builds have claimed.

    Parameters
    ----------
    work : sequence of (Computation, sequence of Item)
        Each computation with the items to compute.
    jobs : int >= 1, optional
        Number of single-threaded processes; one per core by default. Computations that allow fewer
        processes (:class:`~fusion.cache.builds.work.BatchComputation`) run after all others. With 1
        job everything is computed in this process. With more jobs, a script must guard its entry
        point by ``if __name__ == "__main__"``, as :mod:`multiprocessing` requires.
    on : Workers, optional
        Workers to use instead of `jobs`; see :func:`fusion.cache.open_workers`.
    part : (int, int)
        ``(i, n)``: compute only the i-th of n parts of the items, i from 1 to n. The parts depend
        only on the keys, so n independent builds compute every item once.
    on_progress : callable, optional
        Receives a :class:`Progress` at the start and after each chunk.
    strict : bool
        Stop at the first item that fails.
    purpose : {"build", "run"}
        Whether the build runs on its own or on behalf of a run; recorded in the journal.

    Returns
    -------
    BuildReport

    Raises
    ------
    CacheError
        If `part` is invalid, if workers keep dying, or if an item fails in strict mode.
    StorageError
        If the cache is full or can't be written to.
    """
    if not 1 <= part[0] <= part[1]:
        raise CacheError(
            f"There is no part {part[0]} of {part[1]}: parts are numbered from 1 to {part[1]}."
        )
    started = time.perf_counter()
    with open_workers(jobs=jobs) if on is None else contextlib.nullcontext(on) as workers:
        plan = _plan(cache, _unique(work, part), workers.size)
        tally = Tally(sum(len(chunk.items) for chunk in plan.chunks), on_progress, strict)
        chunks = plan.chunks
        while chunks:
            for processes, together in _by_processes(chunks).items():
                compute_all(together, workers.at_most(processes), tally)
            chunks = wait_for_others(cache, tally.take_deferred(), tally)
    for fingerprint in plan.features:
        cache.index(fingerprint)
    report = BuildReport(
        tally.computed,
        plan.present + tally.present,
        tally.failures,
        time.perf_counter() - started,
        plan.fetched,
        cache.problems,
        tally.absent,
    )
    record_build(cache, report, plan.wanted, purpose)
    return report


# -- planning ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    chunks: list[Chunk]
    present: int
    fetched: int
    features: list[Fingerprint]
    wanted: dict[str, int]


_Wanted = dict[Fingerprint, tuple[Computation, list[Item]]]


def _unique(work: Sequence[tuple[Computation, Sequence[Item]]], part: tuple[int, int]) -> _Wanted:
    """Return the items of the chosen part, grouped by feature, without repeated keys."""
    by_feature: dict[Fingerprint, tuple[Computation, dict[str, Item]]] = {}
    for computation, items in work:
        _, unique = by_feature.setdefault(computation.fingerprint, (computation, {}))
        for item in items:
            unique.setdefault(item.key, item)
    number, parts = part
    wanted: _Wanted = {}
    for fingerprint, (computation, unique) in by_feature.items():
        part_keys = set(sorted(unique)[number - 1 :: parts])
        wanted[fingerprint] = computation, [unique[key] for key in unique if key in part_keys]
    return wanted


def _plan(cache: FeatureCache, wanted: _Wanted, size: int) -> _Plan:
    """Return the chunks to compute, and the number of items already stored."""
    chunks: list[Chunk] = []
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
            whole = Chunk(cache.root, computation, todo)
            workers = min(size, processes_of(computation) or size)
            step = chunk_size(len(todo), fingerprint, workers, batch_of(computation))
            chunks += (
                whole.of(range(i, min(i + step, len(todo)))) for i in range(0, len(todo), step)
            )
    counts = {f.folder_name: len(items) for f, (_, items) in wanted.items()}
    return _Plan(chunks, present - fetched, fetched, list(wanted), counts)


def _by_processes(chunks: Iterable[Chunk]) -> dict[int | None, list[Chunk]]:
    """Group chunks by maximum number of processes per machine; unlimited chunks come first."""
    groups: dict[int | None, list[Chunk]] = {None: []}
    for chunk in chunks:
        groups.setdefault(processes_of(chunk.computation), []).append(chunk)
    return {processes: together for processes, together in groups.items() if together}
