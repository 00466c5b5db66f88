"""A cache of forty items for tests of garbage collection: their age, size and remaining keys."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from cache_upkeep import age, content, fill

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.builds import journal
from fusion.cache.shards.shard import Shard

DAY = 86400.0
ANY = timedelta(0)
KEYS = [f"key{n:04d}" for n in range(40)]


def by_age(cache: FeatureCache, feature: Fingerprint) -> list[Shard]:
    return sorted(FeatureCache(cache.root).shards(feature), key=lambda shard: shard.keys)


def kept(cache: FeatureCache, feature: Fingerprint) -> list[str]:
    return sorted(content(cache, feature)) if cache.folder(feature).exists() else []


def size(cache: FeatureCache) -> int:
    return sum(path.stat().st_size for path in cache.root.rglob("*.h5"))


def used_over_days(cache: FeatureCache) -> Fingerprint:
    """Fill the cache with four shards of ten items, last used 4, 3, 2 and 1 days ago."""
    made = fill(cache)
    for days, shard in zip((4, 3, 2, 1), by_age(cache, made), strict=True):
        age(shard.path, days * DAY)
    return made


def reregister(file: Path, **changes: object) -> Path:
    """Replace the registration of a run by one with other fields; return the new file."""
    note = json.loads(file.read_text()) | changes
    note["checksum"] = journal._checksum(note)
    file.unlink()
    file = file.with_name(f"{journal._name_of(note['path'])}.json")
    file.write_text(json.dumps(note))
    return file
