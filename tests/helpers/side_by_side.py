"""Functions that the processes of a pool run concurrently, from a common start.

The module does without pytest, so that spawned processes import it quickly.
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
    """Signal that this process of a pool is ready, and wait for the start."""
    start.with_name(f"{start.name}.{os.getpid()}").touch()
    while not start.exists():
        time.sleep(0.001)


def start_together(start: Path, count: int) -> None:
    """Start `count` processes when all of them are ready."""
    while len(list(start.parent.glob(f"{start.name}.*"))) < count:
        time.sleep(0.01)
    start.touch()


def take_over_all(folder: Path, start: Path, keys: list[str]) -> list[str]:
    """Return the keys that this process could claim."""
    claims = Claims(folder)
    wait_for_start(start)
    return [key for key in keys if claims.take(key)]


def import_it(root: Path, source: Path, start: Path) -> str:
    """Import a feature, and return the number of stored rows or the error message."""
    wait_for_start(start)
    try:
        return str(import_feature(FeatureCache(root), "video", source).stored)
    except CacheError as error:
        return error.message


class SideBySide:
    """Several arrays of the same rows as one data set."""

    def __init__(self, arrays: list[FeatureArray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitems__(self, rows: list[int]) -> Any:
        return np.stack([array.__getitems__(rows) for array in self.arrays], axis=1)


def total(array: FeatureArray) -> float:
    return float(array.load().sum())
