"""Workers that several phases of a run have one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from ..cache.workers import WorkerPool, process_pool

_kept: ContextVar[tuple[ExitStack, list[WorkerPool]] | None] = ContextVar("kept", default=None)


@contextmanager
def same_processes() -> Iterator[None]:
    """Within, every :func:`worker_pool` is the same one: its workers take long to start."""
    with ExitStack() as stack:
        token = _kept.set((stack, []))
        try:
            yield
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
        return
    stack, pools = kept
    if not pools:
        pools.append(stack.enter_context(process_pool(jobs)))
    yield pools[0]
