"""What processes of a pool do side by side, from one moment on, however long each took to start.

In a module without pytest: spawned processes import it in no time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from fusion.cache import FeatureArray, FeatureCache, import_feature
from fusion.cache.errors import CacheError
from fusion.cache.shards.claims import Claims


def wait_for_start(start: Path) -> None:
    """In a process of a pool: say that it is there, and wait for the others."""
    start.with_name(f"{start.name}.{os.getpid()}").touch()
    while not start.exists():
        time.sleep(0.001)


def start_together(start: Path, count: int) -> None:
    """Let `count` processes begin, once all are there."""
    while len(list(start.parent.glob(f"{start.name}.*"))) < count:
        time.sleep(0.01)
    start.touch()


def take_over_all(folder: Path, start: Path, keys: list[str]) -> list[str]:
    """Claim everything that can be had."""
    claims = Claims(folder)
    wait_for_start(start)
    return [key for key in keys if claims.take(key)]


def import_it(root: Path, source: Path, start: Path) -> str:
    """Import; how many rows were stored, or what was wrong."""
    wait_for_start(start)
    try:
        return str(import_feature(FeatureCache(root), "video", source).stored)
    except CacheError as error:
        return error.message


class SideBySide:
    """Several arrays of the same rows, as one data set."""

    def __init__(self, arrays: list[FeatureArray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitems__(self, rows: list[int]) -> Any:
        return np.stack([array.__getitems__(rows) for array in self.arrays], axis=1)


def total(array: FeatureArray) -> float:
    return float(array.load().sum())
