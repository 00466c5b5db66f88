"""Opening a cache of ten thousand shards with its index, with an outdated index, and without.

A shard of 32 MiB that the index does not know is checked once, whole.

Run with ``pytest benchmarks/test_cache_opening.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.cache import FeatureArray, FeatureCache, Fingerprint
from fusion.cache.shards import files as files_module
from fusion.cache.shards.catalogue import INDEX
from fusion.cache.shards.shard import Shard

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
    more = itertools.count(SHARDS)

    def setup() -> tuple[tuple[Path], dict[str, Any]]:
        if how == "with a shard that it lacks":  # opening adds the shard to the index
            add(FeatureCache(root), next(more))
        if how == "without":  # opening writes the index again
            (root / FeatureCache(root).folder(FEATURE).name / INDEX).unlink()
        return (root,), {}

    array = benchmark.pedantic(open_it, setup=setup, rounds=1 if how == "without" else 10)
    np.testing.assert_array_equal(array.take([0, 5])[:, 0], [0, 35])


IMAGES = Fingerprint("images", "1", {}, "float32", (1, 128, 256), {})


@pytest.mark.benchmark(group="a shard of 256 mel images, 32 MiB")
@pytest.mark.parametrize("how", ["opened", "opened and checked"])
def test_check(benchmark: Any, tmp_path: Path, how: str) -> None:
    cache = FeatureCache(tmp_path)
    arrays = np.random.default_rng(0).standard_normal((256, *IMAGES.shape)).astype(np.float32)
    cache.add(IMAGES, [key(n) for n in range(256)], list(arrays))
    (path,) = cache.folder(IMAGES).glob("*.h5")

    def work() -> Shard:
        shard = Shard.open(path)
        return shard if how == "opened" else shard.checked()

    assert benchmark(work).damaged == ()
