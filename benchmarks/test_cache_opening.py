"""Opening a cache of ten thousand shards with its index, with an outdated index, and without.

Run with ``pytest benchmarks/test_cache_opening.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.cache import FeatureArray, FeatureCache, Fingerprint
from fusion.cache.shards import files as files_module
from fusion.cache.shards.catalogue import INDEX

SHARDS, ITEMS = 10_000, 16  # number of shards, items per shard
WANTED = 10_000
FEATURE = Fingerprint("small", "1", {}, "float32", (8,), {})


def key(number: int) -> str:
    return f"{number * 2654435761 % 2**64:032x}"  # unordered, like digests


def add(cache: FeatureCache, shard: int) -> None:
    numbers = range(shard * ITEMS, (shard + 1) * ITEMS)
    cache.add(
        FEATURE,
        [key(n) for n in numbers],
        [np.full(8, n, np.float32) for n in numbers],
        origins=[f"/data/corpus/speaker{n % 100:03d}/recording{n:08d}.wav" for n in numbers],
        groups=["corpus"] * ITEMS,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    cache = FeatureCache(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files_module, "sync", lambda path: None)  # only while the cache is created
        for shard in range(SHARDS):
            add(cache, shard)
    cache.index(FEATURE)
    yield folder


def open_it(root: Path) -> FeatureArray:
    return FeatureCache(root).open(FEATURE, [key(n * 7) for n in range(WANTED)])


@pytest.mark.benchmark(group=f"open {WANTED:,} of {SHARDS * ITEMS:,} items in {SHARDS:,} shards")
@pytest.mark.parametrize("how", ["with the index", "with a shard that it lacks", "without"])
def test_open(benchmark: Any, root: Path, how: str) -> None:
    if how == "with a shard that it lacks":
        add(FeatureCache(root), SHARDS)

    def setup() -> tuple[tuple[Path], dict[str, Any]]:
        if how == "without":  # opening writes the index again
            (root / FeatureCache(root).folder(FEATURE).name / INDEX).unlink()
        return (root,), {}

    array = benchmark.pedantic(open_it, setup=setup, rounds=1 if how == "without" else 10)
    np.testing.assert_array_equal(array.take([0, 5])[:, 0], [0, 35])
