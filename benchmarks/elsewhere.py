"""A call kept ready in a process of its own, so that calls with other settings take turns."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from fusion.core.training.hardware.memory import keep_freed_memory

Make = Callable[..., Callable[[], object]]


class Elsewhere:
    """Calls what ``make(*arguments)`` returns, in a process of its own.

    Parameters
    ----------
    make : callable
        Of a module that can be imported; called once, in that process.
    threads : int
        Of torch, there; 0 means as many as it takes by itself.
    worker : bool
        Whether memory is kept as in the processes in which a run trains.
    """

    def __init__(self, make: Make, *arguments: Any, threads: int = 1, worker: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, arguments, threads, worker), daemon=True
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready

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
