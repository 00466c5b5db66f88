"""Computations for the cache's tests, in a module that spawned processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.cache import Fingerprint, Item

SHAPE = (3, 5)


def fingerprint(name: str = "ramp", **parameters: Any) -> Fingerprint:
    return Fingerprint(name, "1", parameters, "float32", SHAPE, {"numpy": "2"})


def array_of(number: int, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float32]:
    return np.random.default_rng(number).random(shape, dtype=np.float32)


def items(count: int, first: int = 0) -> list[Item]:
    return [Item(f"key{n:04d}", n) for n in range(first, first + count)]


@dataclass(frozen=True)
class Ramp:
    """Source n -> an array that depends on n alone; `delay` seconds each."""

    fingerprint: Fingerprint
    delay: float = 0.0
    bad: tuple[int, ...] = ()  # these raise
    deadly: tuple[int, ...] = ()  # these kill their process
    misshapen: tuple[int, ...] = ()
    log: str = ""  # a file that gets a line for each computation

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
