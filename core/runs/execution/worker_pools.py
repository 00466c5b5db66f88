"""Workers that several phases of a run have one after the other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from ....cache.builds.workers import WorkerPool, available_cores, process_pool

_EARLY = 3  # workers that are started before it is known how many there will be


class _Kept:
    """The pool of a :func:`same_processes`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._pool: WorkerPool | None = None
        self._jobs = 0
        self._asked = False

    def open(self, jobs: int) -> WorkerPool:
        self._pool = self._stack.enter_context(process_pool(jobs))
        self._jobs = jobs
        return self._pool

    def start(self, jobs: int) -> None:
        pool = self.open(jobs)
        # A core is left to this process, which imports the same.
        for _ in range(max(1, min(_EARLY, jobs, available_cores() - 1))):
            pool.submit(importlib.import_module, "fusion.core.runs.execution.jobs")

    def ask(self, jobs: int) -> WorkerPool:
        if not self._asked and (jobs != self._jobs or self._lost()):
            self.give_up()
        self._asked = True
        return self._pool or self.open(jobs)

    def _lost(self) -> bool:
        """Whether a worker died before anybody asked."""
        workers = [] if self._pool is None else self._pool.workers()
        return any(worker.exitcode is not None for worker in workers)

    def close(self) -> None:
        """End the workers, which have done what they were asked for."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool, self._asked = None, False

    def give_up(self) -> None:
        """End workers that nobody has asked for."""
        if self._pool is not None and not self._asked:
            self._pool.stop()
            self._pool = None


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def same_processes(expected: int = 0) -> Iterator[None]:
    """Within, every :func:`worker_pool` is the same one: its workers take long to start.

    Where so many are `expected`, and this process still has to import torch, some of them are
    started now, and import it at the same time. They end with the innermost block.
    """
    outer = _kept.get()
    if outer is not None:
        yield
        outer.close()
        return
    with ExitStack() as stack:
        kept = _Kept(stack)
        token = _kept.set(kept)
        try:
            if expected and "torch" not in sys.modules:
                kept.start(expected)
            yield
            kept.give_up()
        finally:
            _kept.reset(token)


@contextmanager
def worker_pool(jobs: int) -> Iterator[WorkerPool]:
    """Up to `jobs` processes, each started when there is work for it.

    Within :func:`same_processes`, as many as the first who asked wanted.
    """
    kept = _kept.get()
    if kept is None:
        with process_pool(jobs) as pool:
            yield pool
    else:
        yield kept.ask(jobs)
