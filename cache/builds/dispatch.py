"""Dispatch of chunks to workers, with recovery from dead workers and waiting for other builders."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import replace

from ..errors import CacheError, FusionError
from ..shards.claims import claimed, claims_of, holders, remove_claims
from ..shards.files import remove_debris
from ..store import FeatureCache
from .executors import Workers
from .progress import Tally
from .work import Chunk, Result, compute
from .workers import WorkerPool

_MAX_DEATHS = 20
_POLL_SECONDS = (0.05, 2.0)  # first and longest pause between two checks
_LISTEN_SECONDS = 10.0  # time without a result after which the cluster is checked

_DIED = "the process that computed it died twice (killed, out of memory or crashed)."


def compute_all(chunks: Sequence[Chunk], on: Workers, tally: Tally) -> None:
    """Compute all chunks, and retry the items of a chunk whose worker died.

    The items of a chunk whose worker died are tried once more, one at a time, after all other
    chunks. Workers mostly die from a lack of memory. When items are computed one at a time, a lack
    of memory affects one item only.
    """
    suspects: list[Chunk] = []
    deaths = 0
    for retry in (False, True):
        if retry:
            chunks = [single for chunk in suspects for single in chunk.one_by_one()]
            on = replace(on, width=1)
        while chunks:
            chunks, lost = _compute_round(chunks, on, tally)
            deaths += bool(lost or chunks)
            for chunk, error in lost:
                if retry:
                    cause = "" if error is None else f" {type(error).__name__}: {error}"
                    tally.add(chunk, Result(failures=[(0, _DIED + cause)]))
                else:
                    suspects.append(chunk)
            if deaths > _MAX_DEATHS:
                last = lost[-1][0] if lost else chunks[0]
                raise CacheError(
                    f"Worker processes died {deaths} times; the last one while computing "
                    f"{last.feature!r} of {last.items[0].source}.",
                    hint="Use fewer jobs, so that each has more memory. With 1 job the cause is "
                    "easiest to see.",
                )


def _compute_round(
    chunks: Sequence[Chunk], on: Workers, tally: Tally
) -> tuple[list[Chunk], list[tuple[Chunk, Exception | None]]]:
    """Compute chunks until all are done or the executor breaks.

    The function returns two lists. The first list holds the unfinished chunks during which no
    worker died. The second list holds the chunks during which a worker died, each with the error
    of the computation, or None.
    """
    unfinished = dict(enumerate(chunks))
    lost: dict[int, Exception | None] = {}
    executor = None
    try:
        with on.open() as executor:
            for number, result in _results(executor, chunks, on, tally.strict):
                if isinstance(result, Result):
                    tally.add(unfinished.pop(number), result)
                elif not on.remote:  # a local pool reports dead workers itself
                    raise result
                else:
                    lost[number] = result
        if isinstance(executor, WorkerPool):
            lost = dict.fromkeys(_lost(executor, unfinished))
    finally:
        if isinstance(executor, WorkerPool):
            folders = {chunk.folder for chunk in chunks}
            remove_debris(folders, executor.pids())
            remove_claims(folders, executor.pids())
    if on.remote and len(lost) == len(chunks) > 1:
        error = lost[max(lost)]
        raise CacheError(
            f"No worker finished an item. The last error: {type(error).__name__}: {error}",
            hint="Every worker needs the same packages and plugins as this process, and the "
            "cache and the recordings at the same paths.",
        )
    return (
        [chunk for n, chunk in unfinished.items() if n not in lost],
        [(chunks[n], error) for n, error in lost.items()],
    )


def _results(
    executor: Executor, chunks: Sequence[Chunk], on: Workers, strict: bool
) -> Iterator[tuple[int, Result | Exception]]:
    """Yield (chunk number, result) as results arrive; the result is an error if a worker died.

    An error of the cache, such as a full disk, is raised, because every other chunk would fail too.
    """
    pending: dict[Future[Result], int] = {}
    numbers = iter(range(len(chunks)))
    broken = False
    try:
        while True:
            while not broken and len(pending) < on.width:
                number = next(numbers, None)
                if number is None:
                    break
                try:
                    pending[executor.submit(compute, chunks[number], strict)] = number
                except BrokenExecutor:
                    broken = True
            if not pending:
                return
            finished = wait(pending, _LISTEN_SECONDS, return_when=FIRST_COMPLETED).done
            if not finished and not on.alive():
                raise CacheError(
                    "The cluster that computes the features no longer answers.",
                    hint="Finished items are kept: build again when the cluster is back.",
                )
            for future in finished:
                number = pending.pop(future)
                try:
                    result: Result | Exception = future.result()
                except FusionError:
                    raise
                except BrokenExecutor:
                    broken = True
                    continue
                except Exception as error:  # computations return their errors as results
                    result = error
                yield number, result
    finally:
        for future in pending:
            future.cancel()


def _lost(pool: WorkerPool, unfinished: dict[int, Chunk]) -> list[int]:
    """Return the numbers of the chunks that the dead workers of a broken pool still claim.

    The list is empty if the workers were killed before they had claimed anything.
    """
    if not unfinished:
        return []

    folders = {chunk.folder for chunk in unfinished.values()}

    def of(pids: set[int]) -> list[int]:
        claims = {path for folder in folders for path in claims_of(folder, pids)}
        return [n for n, chunk in unfinished.items() if claims & set(chunk.claims())]

    lost = of(pool.crashed()) or of(pool.pids())
    if not lost and not pool.killed():
        raise CacheError(
            "Worker processes can't start.",
            hint="A script that builds with several jobs must guard its entry point by "
            "`if __name__ == '__main__':`; with jobs=1 this is not necessary.",
        )
    return lost


# -- waiting for other builders ------------------------------------------------------


def wait_for_others(cache: FeatureCache, deferred: Sequence[Chunk], tally: Tally) -> list[Chunk]:
    """Wait until no living builder works on the deferred items; return chunks of missing items."""
    remaining: list[Chunk] = []
    for chunk in deferred:
        pause, longest = _POLL_SECONDS
        waiting = chunk
        while waiting.items:
            busy = claimed(waiting.folder, (item.key for item in waiting.items))
            missing = set(
                cache.missing(waiting.computation.fingerprint, (item.key for item in waiting.items))
            )
            unclaimed = [p for p, i in enumerate(waiting.items) if i.key in missing - busy]
            claimed_elsewhere = [p for p, i in enumerate(waiting.items) if i.key in missing & busy]
            stored = len(waiting.items) - len(missing)
            if stored:
                tally.add(waiting, Result(present=stored))
            if unclaimed:
                remaining.append(waiting.of(unclaimed))
            waiting = waiting.of(claimed_elsewhere)
            if waiting.items:
                tally.wait(waiting, holders(waiting.folder, (i.key for i in waiting.items)))
                time.sleep(pause)
                pause = min(2 * pause, longest)
    return remaining
