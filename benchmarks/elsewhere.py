"""Calls in separate processes, so that calls with different settings can alternate."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from fusion.core.training.hardware.memory import keep_freed_memory

Make = Callable[..., Callable[[], object]]


class Elsewhere:
    """The call that ``make(*arguments)`` returns, executed in a separate process.

    Parameters
    ----------
    make : callable
        Function of an importable module, called once in that process.
    threads : int
        Number of torch threads in that process; 0 means one per core.
    worker : bool
        Whether freed memory is kept, as in the processes in which a run trains.
    """

    def __init__(self, make: Make, *arguments: Any, threads: int = 1, worker: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, arguments, threads, worker), daemon=True
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()  # wait until the process is ready

    def __call__(self) -> None:
        self._pipe.send("go")
        self._pipe.recv()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(
    pipe: Connection, make: Make, arguments: tuple[Any, ...], threads: int, worker: bool
) -> None:
    torch.set_num_threads(threads or multiprocessing.cpu_count())
    if worker:
        keep_freed_memory()
    call = make(*arguments)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        call()
        pipe.send("done")
