"""Compute what is missing, on all cores or machines, so that a kill at any moment loses little."""

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
        Processes, of one thread each; all cores by default. A computation that allows fewer
        (:class:`~fusion.cache.builds.work.BatchComputation`) has fewer, after the others. With 1
        everything is computed in this process. With more, a script must guard its start by
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
    purpose : {"build", "run"}
        For the journal: whether this is for its own sake or what a run asks for.

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
    """Chunks by how many processes may compute them at a time, those without a limit first."""
    found: dict[int | None, list[Chunk]] = {None: []}
    for chunk in chunks:
        found.setdefault(processes_of(chunk.computation), []).append(chunk)
    return {processes: together for processes, together in found.items() if together}
