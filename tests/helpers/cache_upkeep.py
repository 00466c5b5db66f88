"""A filled cache for tests of upkeep, and functions to read, age and damage its files."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from cache_computations import array_of, fingerprint

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards.shard import Shard
from fusion.cache.shards.usage import undisturbed
from fusion.cache.upkeep.verify import VerifyReport

Row = tuple[bytes, float, str, str]


def fill(cache: FeatureCache, shards: int = 4, size: int = 10, name: str = "ramp") -> Fingerprint:
    """Add `shards` shards of `size` numbered items with all entry fields."""
    feature = fingerprint(name)
    for first in range(0, shards * size, size):
        numbers = range(first, first + size)
        cache.add(
            feature,
            [f"key{n:04d}" for n in numbers],
            [array_of(n) for n in numbers],
            [n / 8 for n in numbers],
            origins=[f"/speech/{n}.wav" for n in numbers],
            groups=[f"group{n % 3}" for n in numbers],
        )
    cache.index(feature)
    return feature


def content(cache: FeatureCache, feature: Fingerprint) -> dict[str, Row]:
    """Return all entries after verifying their checksums, without changing the time of use."""
    fresh = FeatureCache(cache.root)
    with contextlib.ExitStack() as stack:
        for path in cache.folder(feature).glob("*.h5"):
            stack.enter_context(undisturbed(path))
        found = fresh.catalogue(feature)
        assert fresh.problems == []
        keys = sorted({key.decode() for key in found.keys.tolist()})
        arrays = fresh.open(feature, keys, verify="always").load()
        places = found.find(keys).tolist()
        return {
            key: (array.tobytes(), float(found.seconds[at]), *found.label(at)[1:])
            for key, array, at in zip(keys, arrays, places, strict=True)
        }


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, without changing the time of use."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with undisturbed(path):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def age(path: Path, seconds: float) -> None:
    """Set the times of a file to `seconds` ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def shard_of(cache: FeatureCache, feature: Fingerprint, key: str) -> Shard:
    return next(s for s in FeatureCache(cache.root).shards(feature) if key in s.keys)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1 << bit
    path.write_bytes(raw)


def spoil(cache: FeatureCache, feature: Fingerprint, key: str) -> Path:
    """Change one bit of one array."""
    shard = shard_of(cache, feature, key)
    assert shard.file.offset is not None
    flip(shard.path, shard.file.offset + shard.keys.index(key) * array_of(0).nbytes)
    return shard.path


def bad_keys(report: VerifyReport) -> list[str]:
    return sorted(item.key for item in report.bad_items)
