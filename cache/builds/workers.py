"""Pool of single-threaded worker processes that end when the parent process ends."""

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

# These variables are set before a worker starts, because libraries read variables when loaded.
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
    """Return the number of cores this process may use; a job scheduler may limit this number."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def process_pool(
    jobs: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[WorkerPool]:
    """Open a pool of fresh (spawned) processes, of one thread each.

    The workers end when this process ends, even if this process is killed. The workers ignore
    Ctrl-C. If the body of the context raises an exception, Ctrl-C included, the workers are stopped
    at once. Otherwise the workers finish their work first. Use the pool only from the thread that
    opened the pool. On Linux, a worker ends when the thread that started the worker ends.

    Parameters
    ----------
    jobs : int >= 1
        Maximum number of processes; a process is started only when there is work for the process.
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
    """Process pool executor that keeps track of its processes; see :func:`process_pool`."""

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
        """Terminate all workers now, and wait until they have ended."""
        for worker in self._context.workers:
            if worker.pid is not None:
                worker.terminate()
        self.shutdown(wait=True, cancel_futures=True)

    def workers(self) -> Sequence[SpawnProcess]:
        """Return all workers started so far, including those that have ended."""
        return self._context.workers

    def pids(self) -> set[int]:
        """Return the process ids of all workers started so far."""
        return {worker.pid for worker in self._context.workers if worker.pid is not None}

    def crashed(self) -> set[int]:
        """Return the process ids of the workers that crashed, not those that the pool ended.

        Call this method after the pool has ended.
        """
        workers = self._context.workers
        return {w.pid for w in workers if w.pid is not None and w.exitcode not in _USUAL}

    def killed(self) -> bool:
        """Return whether any worker was ended by a signal from outside this process.

        Call this method after the pool has ended.
        """
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
    """Block Ctrl-C while a worker starts.

    The worker inherits the blocked signal, so that Ctrl-C can't interrupt the worker's start.
    """
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
    """End this worker when its parent process ends.

    Without this function, a worker whose parent has ended would wait for work for ever.
    """
    if sys.platform == "linux":
        if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0:
            if os.getppid() != parent:  # the parent died before the call
                os._exit(1)
            return
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
