"""Does a build scale with its processes?

python benchmarks/workers.py [--jobs 2,16] [--clips N] [--rounds N] [--out docs/img/workers.json]

A real build of a fresh cache, by one process and by several in turn. The processes were started,
and have computed something, before the clock runs; what their start takes is said apart. They
write the shards themselves: what comes back of a chunk is measured, and is no array.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import speech
from timing import busy, keep

from fusion import Recording
from fusion.cache import FeatureCache, Item, build
from fusion.cache.builds.executors import Workers
from fusion.cache.builds.work import Computation
from fusion.cache.builds.workers import available_cores, process_pool
from fusion.core.data.extraction import computation_of, make_extractor
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.persistence import Persistence

FEATURES = (Mel, Persistence)


class Kept(Executor):
    """Processes that stay when a build ends; counts the bytes that come back from them."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool
        self.largest = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self.pool.submit(fn, *args, **kwargs)
        future.add_done_callback(self._weigh)
        return future

    def _weigh(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.largest = max(self.largest, len(pickle.dumps(future.result())))


@contextlib.contextmanager
def started(jobs: int) -> Iterator[tuple[Workers, Kept, float]]:
    """That many processes that have extracted a clip each, and the seconds that took."""
    begun = time.perf_counter()
    with process_pool(jobs) as pool:
        kept = Kept(pool)
        workers = Workers(jobs, 2 * jobs, lambda: contextlib.nullcontext(kept))
        with tempfile.TemporaryDirectory() as folder:
            # Enough work for each to take some: processes are started as work comes in.
            path = speech.chirp(Path(folder) / "chirp.wav", 3.0)
            items = [Item(f"{n:032x}", Recording(path)) for n in range(16 * jobs)]
            cache = FeatureCache(Path(folder) / "cache")
            build(cache, [(c, items) for c in computations()], on=workers)
        yield workers, kept, time.perf_counter() - begun


def computations() -> list[Computation]:
    return [computation_of(make_extractor(cls, {})) for cls in FEATURES]


def items_of(paths: Sequence[Path]) -> list[Item]:
    return [Item(f"{n:032x}", Recording(path)) for n, path in enumerate(paths)]


def timed_build(items: Sequence[Item], workers: Workers, folder: Path) -> tuple[float, Path]:
    """Seconds of a build of everything into an empty cache, and where that is."""
    root = Path(tempfile.mkdtemp(dir=folder))
    begun = time.perf_counter()
    report = build(FeatureCache(root), [(c, items) for c in computations()], on=workers)
    assert report.computed == len(FEATURES) * len(items), report
    return time.perf_counter() - begun, root


def same(first: Path, second: Path, items: Sequence[Item]) -> None:
    """Both caches hold the same bits."""
    keys = [item.key for item in items]
    for computation in computations():
        one, other = (
            FeatureCache(root).open(computation.fingerprint, keys).take(range(len(keys)))
            for root in (first, second)
        )
        assert one.tobytes() == other.tobytes(), computation.fingerprint.name


def measure(jobs: int, paths: Sequence[Path], rounds: int, folder: Path) -> dict[str, Any]:
    """One process against `jobs`, in turn, each of its own pool."""
    items = items_of(paths)
    taken: dict[int, list[float]] = {1: [], jobs: []}
    with started(1) as one, started(jobs) as many:
        pools = {1: one[0], jobs: many[0]}
        same(*(timed_build(items, workers, folder)[1] for workers in pools.values()), items)
        for _ in range(rounds):
            for number, workers in pools.items():
                taken[number].append(timed_build(items, workers, folder)[0])
        largest = max(one[1].largest, many[1].largest)
    seconds = {number: statistics.median(times) for number, times in taken.items()}
    return {
        "jobs": jobs,
        "clips": len(paths),
        "seconds with one": seconds[1],
        "seconds": seconds[jobs],
        "ratio": seconds[1] / seconds[jobs],
        "seconds to start": many[2],
        "largest result in bytes": largest,
    }


def line(figures: dict[str, Any]) -> str:
    return (
        f"{figures['clips']} clips, mel + persistence: "
        f"1 process {figures['seconds with one']:.2f} s, "
        f"{figures['jobs']} processes {figures['seconds']:.2f} s, {figures['ratio']:.2f} x; "
        f"to start those {figures['seconds to start']:.1f} s; the largest result that travelled "
        f"between processes: {figures['largest result in bytes']} bytes"
    )


def paths_for(folder: Path, count: int) -> list[Path]:
    """So many recordings, of all lengths."""
    found = speech.by_length()
    if not found:
        return [speech.chirp(folder / f"{n}.wav", 2.5 + n % 5 / 2) for n in range(count)]
    return found[:: max(1, len(found) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", default=str(available_cores()), help="e.g. 2,4,16")
    parser.add_argument("--clips", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the figures in this file")
    given = parser.parse_args()
    print(busy(), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = paths_for(folder, given.clips)
        for jobs in map(int, given.jobs.split(",")):
            if jobs > (os.cpu_count() or 1):
                print(f"{jobs} processes: this machine has {os.cpu_count()} cores; not measured.")
                continue
            found.append(measure(jobs, paths, given.rounds, folder))
            print(line(found[-1]), flush=True)
    if given.out:
        keep({"builds": found}, given.out)


if __name__ == "__main__":
    main()
