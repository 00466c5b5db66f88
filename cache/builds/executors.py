"""Workers of a build: this process, processes of this machine, or a Dask or Ray cluster.

Each kind is a :class:`concurrent.futures.Executor`; the builder treats all kinds alike.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..errors import CacheError, not_installed
from .workers import available_cores, process_pool

Kind = Literal["processes", "dask", "ray"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Workers:
    """Means of computation: an executor and its capacity.

    Attributes
    ----------
    size : int
        Number of computations that run at a time.
    width : float
        Maximum number of submitted, unfinished computations; infinite if a scheduler queues them.
    open : callable
        Opens the executor; each call opens a new one, so that a broken executor can be replaced.
    remote : bool
        If true, the death of a worker appears as an error of the worker's current computation.
    alive : callable
        Returns whether the workers can still send results.
    """

    size: int
    width: float
    open: Callable[[], AbstractContextManager[Executor]]
    remote: bool = False
    alive: Callable[[], bool] = lambda: True

    def at_most(self, processes: int | None) -> Workers:
        """Return workers limited to the given number of local processes.

        Without a limit (None), and for a cluster, the workers are returned unchanged.
        """
        if processes is None or processes >= self.size or self.remote:
            return self
        return _processes(processes)


@contextlib.contextmanager
def open_workers(
    kind: Kind = "processes", *, jobs: int | None = None, scheduler: str | None = None
) -> Iterator[Workers]:
    """Return a context manager that opens the workers of the given kind.

    Parameters
    ----------
    kind : {"processes", "dask", "ray"}
        ``"processes"`` are single-threaded processes of this machine; with one job, the calling
        process computes.
    jobs : int >= 1, optional
        Number of processes on this machine; one per core by default.
    scheduler : str, optional
        Address of the Dask scheduler (``tcp://HOST:8786``) or the Ray cluster
        (``ray://HOST:10001``, ``auto``).

    Raises
    ------
    CacheError
        If the arguments contradict each other, a package is not installed, or the scheduler does
        not answer.
    """
    if kind not in KINDS:
        raise CacheError(f"There is no executor {kind!r}. Known: {', '.join(KINDS)}.")
    if kind != "processes" and jobs is not None:
        raise CacheError(
            f"jobs can't be combined with {kind}: the cluster sets the number of workers.",
            hint="Leave out --jobs, or start the cluster with as many workers as you want.",
        )
    if kind == "processes":
        if scheduler is not None:
            raise CacheError(
                f"The scheduler {scheduler!r} can't be combined with processes of this machine.",
                hint="Name the kind of the cluster: --executor dask or --executor ray",
            )
        yield _local(available_cores() if jobs is None else jobs)
    else:
        with (_dask if kind == "dask" else _ray)(scheduler) as workers:
            yield workers


def _local(jobs: int) -> Workers:
    if jobs < 1:
        raise CacheError(f"A build needs at least 1 job, not {jobs}.")
    if jobs == 1:
        return Workers(1, 1, lambda: contextlib.nullcontext(_ThisProcess()))
    return _processes(jobs)


def _processes(jobs: int) -> Workers:
    # Two chunks per process: when a chunk ends, the next chunk is already waiting.
    return Workers(jobs, 2 * jobs, functools.partial(process_pool, jobs))


class _ThisProcess(Executor):
    """Executor that computes in this process, at the time of submission."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


# -- clusters ------------------------------------------------------------------------


@contextlib.contextmanager
def _dask(scheduler: str | None) -> Iterator[Workers]:
    distributed = _package("distributed", "dask")
    if scheduler is None:
        raise CacheError(
            "A build on Dask needs the address of a scheduler.",
            hint="Add --scheduler tcp://HOST:8786. `dask scheduler` starts a scheduler and "
            "prints its address.",
        )
    try:
        client = distributed.Client(scheduler, set_as_default=False)
    except (OSError, ValueError) as error:  # a time-out is an OSError
        raise CacheError(
            f"No Dask scheduler answers at {scheduler!r}: {error}",
            hint="Use the address that `dask scheduler` prints, such as tcp://HOST:8786.",
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise CacheError(
                f"The Dask scheduler at {scheduler} has no workers.",
                hint=f"Start workers: dask worker {scheduler} --nthreads 1",
            )
        # The executor does not close the Dask client; the `with` statement closes the client.
        yield _remote(
            threads,
            lambda: client.get_executor(pure=False),
            lambda: client.status in ("running", "connecting"),
        )


@contextlib.contextmanager
def _ray(scheduler: str | None) -> Iterator[Workers]:
    ray = _package("ray", "ray")
    started = not ray.is_initialized()
    try:
        if started:
            ray.init(address=scheduler, log_to_driver=False, logging_level="warning")
    except (OSError, ValueError, RuntimeError) as error:
        raise CacheError(
            f"No Ray cluster answers at {scheduler!r}: {error}",
            hint="Start a cluster with `ray start --head`, or leave out --scheduler to use this "
            "machine.",
        ) from None
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        yield _remote(cores, lambda: _RayExecutor(ray), ray.is_initialized)
    finally:
        if started:
            ray.shutdown()


def _remote(size: int, executor: Callable[[], Executor], alive: Callable[[], bool]) -> Workers:
    return Workers(
        size, math.inf, lambda: contextlib.nullcontext(executor()), remote=True, alive=alive
    )


class _RayExecutor(Executor):
    """Executor that runs Ray tasks."""

    def __init__(self, ray: Any) -> None:
        # Ray must not retry tasks, because the builder retries item by item.
        self._call = ray.remote(max_retries=0)(_call)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self._call.remote(fn, *args, **kwargs).future()
        return future


def _call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise not_installed(f"Building on {extra.capitalize()}", name, extra) from None
