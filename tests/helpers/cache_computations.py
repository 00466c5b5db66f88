"""Computations for the cache's tests, in a module that spawned processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from kill_points import arm_once

from fusion.cache import Fingerprint, Item
from fusion.cache.errors import Absent

SHAPE = (3, 5)


def fingerprint(name: str = "ramp", **parameters: Any) -> Fingerprint:
    return Fingerprint(name, "1", parameters, "float32", SHAPE, {"numpy": "2"})


def array_of(number: int, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float32]:
    return np.random.default_rng(number).random(shape, dtype=np.float32)


def items(count: int, first: int = 0) -> list[Item]:
    return [Item(f"key{n:04d}", n) for n in range(first, first + count)]


@dataclass(frozen=True)
class Ramp:
    """Computation, in `delay` seconds, of an array that depends only on the source, a number."""

    fingerprint: Fingerprint
    delay: float = 0.0
    bad: tuple[int, ...] = ()  # sources that raise
    deadly: tuple[int, ...] = ()  # sources that kill their process
    misshapen: tuple[int, ...] = ()
    log: str = ""  # file with a line for each computation

    def compute(self, source: int) -> npt.NDArray[np.float32]:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{source}\n")
        if source in self.bad:
            raise ValueError(f"number {source} is bad")
        if source in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if source in self.misshapen:
            return np.zeros(7, np.float32)
        time.sleep(self.delay)
        return array_of(source, self.fingerprint.shape)


@dataclass(frozen=True)
class Doomed(Ramp):
    """Ramp one of whose workers is killed at its first step below `folder` named `step`."""

    folder: str = ""
    step: str = ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # called in a worker, once per chunk
        if not _armed:
            _armed.append(self)
            arm_once(Path(self.folder), self.step, Path(f"{self.folder}.killed"))


_armed: list[Doomed] = []


@dataclass(frozen=True)
class DeadOnArrival(Ramp):
    """Ramp that kills every process that unpickles it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Batched(Ramp):
    """Ramp that is computed in batches; `log` has a line for each batch."""

    batch: int = 4
    processes: int | None = None
    explosive: tuple[int, ...] = ()  # fail their whole batch, and alone only themselves
    absent: tuple[int, ...] = ()  # sources without an array
    short: bool = False  # batches lack their first array

    def compute(self, source: int) -> npt.NDArray[np.float32]:
        if source in self.explosive:
            raise MemoryError(f"number {source} is too large")
        if source in self.absent:
            raise Absent(f"number {source} has none")
        return super().compute(source)

    def compute_many(self, sources: Sequence[int]) -> list[npt.NDArray[np.float32] | Exception]:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{os.getpid()}: {' '.join(map(str, sources))}\n")
        if set(sources) & set(self.explosive):
            raise MemoryError("the batch is too large")
        alone = Ramp(self.fingerprint, self.delay, self.bad, self.deadly, self.misshapen)
        found: list[npt.NDArray[np.float32] | Exception] = []
        for source in sources:
            try:
                if source in self.absent:
                    raise Absent(f"number {source} has none")
                found.append(alone.compute(source))
            except Exception as error:
                found.append(error)
        return found[1:] if self.short else found
