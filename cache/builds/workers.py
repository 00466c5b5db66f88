"""Processes that compute side by side: one thread each, gone when their parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

# Set before the worker starts: the libraries read them when they are loaded.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
_USUAL = (None, 0, -signal.SIGTERM)  # exit codes of workers that ended with their pool
_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>

_starting = threading.Lock()


def available_cores() -> int:
    """Cores that this process may run on, which a job scheduler can have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def process_pool(
    jobs: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[WorkerPool]:
    """A pool of fresh (spawned) processes, of one thread each.

    The workers die with this process, however it dies, and ignore Ctrl-C. When the body is
    left by an exception, Ctrl-C included, they are stopped at once; otherwise their
    work is finished first. Use the pool from the thread that opened it: on Linux a worker
    dies with the thread that started it.

    Parameters
    ----------
    jobs : int >= 1
        Processes at most; each is started when there is work for it.
    initializer : callable, optional
        Called in each worker with `initargs` before any work.

    Yields
    ------
    WorkerPool
        A :class:`concurrent.futures.ProcessPoolExecutor`.
    """
    pool = WorkerPool(jobs, initializer, initargs)
    try:
        yield pool
        pool.shutdown(wait=True)
    except BaseException:
        pool.stop()
        raise


class WorkerPool(ProcessPoolExecutor):
    """An executor that knows its processes. Made by :func:`process_pool`."""

    def __init__(
        self, jobs: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        self._context = _WorkerContext()
        super().__init__(
            jobs,
            mp_context=self._context,
            initializer=_initialize,
            initargs=(os.getpid(), initializer, initargs),
        )

    def stop(self) -> None:
        """End all workers now, and wait until they are gone."""
        for worker in self._context.workers:
            if worker.pid is not None:
                worker.terminate()
        self.shutdown(wait=True, cancel_futures=True)

    def workers(self) -> Sequence[SpawnProcess]:
        """All so far, those that are gone included."""
        return self._context.workers

    def pids(self) -> set[int]:
        """Of all workers so far."""
        return {worker.pid for worker in self._context.workers if worker.pid is not None}

    def crashed(self) -> set[int]:
        """After the pool's end: the workers that died of something else than the pool's end."""
        workers = self._context.workers
        return {w.pid for w in workers if w.pid is not None and w.exitcode not in _USUAL}

    def killed(self) -> bool:
        """After the pool's end: whether a signal ended a worker, and not this process."""
        return any((w.exitcode or 0) < 0 and w.exitcode not in _USUAL for w in self.workers())


class _WorkerContext(SpawnContext):
    def __init__(self) -> None:
        super().__init__()
        self.workers: list[_Worker] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Worker:  # type: ignore[override]  # noqa: N802
        worker = _Worker(*args, **kwargs)
        self.workers.append(worker)
        return worker


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _starting, _one_thread(), _without_interrupt():
            super().start()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back. A worker inherits that, so that it can't be hit before it is ready."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in a worker ---------------------------------------------------------------------


def _initialize(
    parent: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if initializer is not None:
        initializer(*initargs)


def _die_with_parent(parent: int) -> None:
    """A worker waits for work for ever; nothing tells it that nobody is left to give any."""
    if sys.platform == "linux":
        if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0:
            if os.getppid() != parent:  # it died before the call
                os._exit(1)
            return
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
