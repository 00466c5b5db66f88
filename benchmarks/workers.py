"""Scaling of a cache build with the number of processes.

python benchmarks/workers.py [--jobs 2,16] [--clips N] [--rounds N] [--out docs/img/workers.json]

A real build of a fresh cache runs with one process and with several, alternately. The processes
have started and have computed something before the clock starts; their start-up time is reported
separately. Processes write the shards themselves. The size of their results for a chunk is
measured too; it contains no arrays.
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


class KeptPool(Executor):
    """Pool of processes that outlives a build and records the largest result in bytes."""

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
def started(jobs: int) -> Iterator[tuple[Workers, KeptPool, float]]:
    """Start processes that have extracted a clip each; yield also the seconds this took."""
    begun = time.perf_counter()
    with process_pool(jobs) as pool:
        executor = KeptPool(pool)
        workers = Workers(jobs, 2 * jobs, lambda: contextlib.nullcontext(executor))
        with tempfile.TemporaryDirectory() as folder:
            # Enough work for every process, because the pool starts processes on demand.
            path = speech.chirp(Path(folder) / "chirp.wav", 3.0)
            items = [Item(f"{n:032x}", Recording(path)) for n in range(16 * jobs)]
            cache = FeatureCache(Path(folder) / "cache")
            build(cache, [(c, items) for c in computations()], on=workers)
        yield workers, executor, time.perf_counter() - begun


def computations() -> list[Computation]:
    return [computation_of(make_extractor(cls, {})) for cls in FEATURES]


def items_of(paths: Sequence[Path]) -> list[Item]:
    return [Item(f"{n:032x}", Recording(path)) for n, path in enumerate(paths)]


def timed_build(items: Sequence[Item], workers: Workers, folder: Path) -> tuple[float, Path]:
    """Build all features into an empty cache; return the seconds and the cache's folder."""
    root = Path(tempfile.mkdtemp(dir=folder))
    begun = time.perf_counter()
    report = build(FeatureCache(root), [(c, items) for c in computations()], on=workers)
    assert report.computed == len(FEATURES) * len(items), report
    return time.perf_counter() - begun, root


def check_same(first: Path, second: Path, items: Sequence[Item]) -> None:
    """Raise if the arrays of two caches differ in any bit."""
    keys = [item.key for item in items]
    for computation in computations():
        one, other = (
            FeatureCache(root).open(computation.fingerprint, keys).take(range(len(keys)))
            for root in (first, second)
        )
        assert one.tobytes() == other.tobytes(), computation.fingerprint.name


def measure(jobs: int, paths: Sequence[Path], rounds: int, folder: Path) -> dict[str, Any]:
    """Return the times of builds by one process and by `jobs`, measured alternately."""
    items = items_of(paths)
    times: dict[int, list[float]] = {1: [], jobs: []}
    with started(1) as single, started(jobs) as many:
        pools = {1: single[0], jobs: many[0]}
        check_same(*(timed_build(items, workers, folder)[1] for workers in pools.values()), items)
        for _ in range(rounds):
            for number, workers in pools.items():
                times[number].append(timed_build(items, workers, folder)[0])
        largest = max(single[1].largest, many[1].largest)
    seconds = {number: statistics.median(each) for number, each in times.items()}
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
        f"start of these processes {figures['seconds to start']:.1f} s; largest result sent "
        f"between processes {figures['largest result in bytes']} bytes"
    )


def paths_for(folder: Path, count: int) -> list[Path]:
    """Return `count` recordings of all lengths; without speech, write chirps to `folder`."""
    files = speech.by_length()
    if not files:
        return [speech.chirp(folder / f"{n}.wav", 2.5 + n % 5 / 2) for n in range(count)]
    return files[:: max(1, len(files) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", default=str(available_cores()), help="e.g. 2,4,16")
    parser.add_argument("--clips", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    print(busy(), flush=True)
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = paths_for(folder, options.clips)
        for jobs in map(int, options.jobs.split(",")):
            if jobs > (os.cpu_count() or 1):
                print(f"Not measured: {jobs} processes on {os.cpu_count()} cores.")
                continue
            figures.append(measure(jobs, paths, options.rounds, folder))
            print(line(figures[-1]), flush=True)
    if options.out:
        keep({"builds": figures}, options.out)


if __name__ == "__main__":
    main()
