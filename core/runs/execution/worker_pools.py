"""Pool of worker processes that the successive phases of a run share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from ....cache.builds.workers import WorkerPool, available_cores, process_pool

_EARLY = 3  # workers that are started before the number of jobs is known


class _SharedPool:
    """Pool that all phases within one :func:`same_processes` block use.

    `_requested` is True as soon as a phase has requested the pool.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._pool: WorkerPool | None = None
        self._jobs = 0
        self._requested = False

    def open(self, jobs: int) -> WorkerPool:
        """Open a new pool of up to `jobs` workers."""
        self._pool = self._stack.enter_context(process_pool(jobs))
        self._jobs = jobs
        return self._pool

    def start(self, jobs: int) -> None:
        """Open the pool, and start up to three workers that import the training code."""
        pool = self.open(jobs)
        # Leave one core to this process, which imports the same modules.
        for _ in range(max(1, min(_EARLY, jobs, available_cores() - 1))):
            pool.submit(importlib.import_module, "fusion.core.runs.execution.jobs")

    def request(self, jobs: int) -> WorkerPool:
        """Return the pool; the first request decides the pool's number of workers."""
        if not self._requested and (jobs != self._jobs or self._lost()):
            self.stop_unused()
        self._requested = True
        return self._pool or self.open(jobs)

    def _lost(self) -> bool:
        """Return whether a worker process has already ended."""
        workers = [] if self._pool is None else self._pool.workers()
        return any(worker.exitcode is not None for worker in workers)

    def close(self) -> None:
        """Let the workers finish their work, and end them."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool, self._requested = None, False

    def stop_unused(self) -> None:
        """End the workers at once if no phase has requested the pool."""
        if self._pool is not None and not self._requested:
            self._pool.stop()
            self._pool = None


_shared_pool: ContextVar[_SharedPool | None] = ContextVar("shared_pool", default=None)


@contextmanager
def same_processes(expected: int = 0) -> Iterator[None]:
    """Share one pool among all calls of :func:`worker_pool` in a ``with`` block.

    Workers start slowly, so the phases of a run share them. If `expected` workers
    are announced and this process has not imported torch yet, some workers start at once and
    import torch at the same time as this process. The innermost block ends the workers.
    """
    outer = _shared_pool.get()
    if outer is not None:
        yield
        outer.close()
        return
    with ExitStack() as stack:
        pool = _SharedPool(stack)
        token = _shared_pool.set(pool)
        try:
            if expected and "torch" not in sys.modules:
                pool.start(expected)
            yield
            pool.stop_unused()
        finally:
            _shared_pool.reset(token)


@contextmanager
def worker_pool(jobs: int) -> Iterator[WorkerPool]:
    """Yield a pool of up to `jobs` processes; a process starts only when there is work for it.

    Within :func:`same_processes`, yield the shared pool, whose first request decides the number
    of processes.
    """
    shared = _shared_pool.get()
    if shared is None:
        with process_pool(jobs) as pool:
            yield pool
    else:
        yield shared.request(jobs)
