"""A filled cache for tests of reading from another machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cache_computations import SHAPE, array_of, fingerprint

from fusion.cache import Entry, FeatureCache, Fingerprint
from fusion.cache.shards.shard import write_shard

N = 30
KEYS = [f"key{n:04d}" for n in range(N)]
ROW = int(np.prod(SHAPE)) * 4  # bytes per array


def filled(root: Path) -> FeatureCache:
    """Return a cache with thirty arrays in three shards and an index."""
    cache = FeatureCache(root)
    fill(cache, range(0, 10), range(10, 20), range(20, N))
    cache.index(fingerprint())
    return cache


def fill(cache: FeatureCache, *shards: range, made: Fingerprint | None = None) -> None:
    made = made or fingerprint()
    for numbers in shards:
        entries = [entry(n, made) for n in numbers]
        write_shard(cache.prepare(made), made, entries)


def entry(n: int, made: Fingerprint) -> Entry:
    return Entry(f"key{n:04d}", array_of(n, made.shape), n / 8, f"/speech/{n}.wav", "talks")


def shards_of(cache: FeatureCache) -> dict[int, Path]:
    """Return the file of each shard by the first number in it."""
    found = {}
    for shard in cache.shards(fingerprint()):
        found[min(map(number, shard.keys))] = shard.path
    return found


def number(key: str) -> int:
    return int(key[3:])


def entries_of(cache: FeatureCache) -> dict[str, tuple[bytes, float, str, str]]:
    return {
        e.key: (e.array.tobytes(), e.seconds, e.origin, e.group)
        for shard in cache.shards(fingerprint())
        for e in shard.entries(range(len(shard.keys)))
    }
