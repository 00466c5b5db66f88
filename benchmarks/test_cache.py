"""Reading a shuffled batch: the cache against a raw file and against HDF5 as mostly used.

Run with ``pytest benchmarks/test_cache.py``. All read the same numbers from files that the
system has in memory, in the same shuffled orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from fusion.cache import FeatureArray, FeatureCache, Fingerprint

CLIPS = 1500
SHAPE = (1, 128, 256)
BATCH = 64
PER_SHARD = 94  # what a build on two cores makes of 1500 clips

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Files:
    """The same arrays in several formats."""

    one_shard: FeatureArray
    many_shards: FeatureArray
    checked: FeatureArray
    raw: Any  # numpy.memmap
    chunked: Any  # h5py.Dataset


@pytest.fixture(scope="module")
def data() -> Rows:
    return np.random.default_rng(0).random((CLIPS, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, data: Rows) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("cache")
    many = cached(folder / "many", data, PER_SHARD)
    data.tofile(folder / "raw.bin")
    with h5py.File(folder / "chunked.h5", "w") as file:
        chunked = file.create_dataset("data", data=data, chunks=(1, *SHAPE))
        yield Files(
            cached(folder / "one", data, CLIPS)(),
            many(),
            many(verify="always"),
            np.memmap(folder / "raw.bin", np.float32, "r", shape=data.shape),
            chunked,
        )


def cached(folder: Path, data: Rows, per_shard: int) -> Callable[..., FeatureArray]:
    cache = FeatureCache(folder)
    fingerprint = Fingerprint("mel", "1", {}, "float32", SHAPE, {})
    keys = [f"clip{n}" for n in range(CLIPS)]
    for start in range(0, CLIPS, per_shard):
        stop = start + per_shard
        cache.add(fingerprint, keys[start:stop], list(data[start:stop]))
    return lambda **options: cache.open(fingerprint, keys, **options)


READERS: dict[str, Callable[[Files, Indices], Rows]] = {
    "raw file, numpy.memmap.take": lambda files, rows: files.raw.take(rows, axis=0),
    "cache, one shard": lambda files, rows: files.one_shard.take(rows),
    "cache, 16 shards": lambda files, rows: files.many_shards.take(rows),
    "cache, 16 shards, verify always": lambda files, rows: files.checked.take(rows),
    "h5py, a chunk per clip, fancy index": lambda files, rows: in_order(files.chunked, rows),
}


def in_order(dataset: Any, rows: Indices) -> Rows:
    """h5py's fancy indexing takes indices in increasing order only."""
    order = np.argsort(rows)
    out = np.empty((len(rows), *SHAPE), np.float32)
    out[order] = dataset[rows[order]]
    return out


@pytest.mark.benchmark(group="a shuffled batch of 64 clips of (1, 128, 256) float32")
@pytest.mark.parametrize("name", READERS)
def test_shuffled_batch(benchmark: Any, files: Files, data: Rows, name: str) -> None:
    read = READERS[name]
    orders = [np.random.default_rng(seed).permutation(CLIPS)[:BATCH] for seed in range(20)]
    for rows in orders:
        np.testing.assert_array_equal(read(files, rows), data[rows])
    endless = itertools.cycle(orders)
    benchmark.extra_info["clips"] = BATCH
    benchmark.pedantic(
        read, setup=lambda: ((files, next(endless)), {}), rounds=200, warmup_rounds=20
    )
