"""Ten arrays with all their entry fields, to be written as a shard."""

from __future__ import annotations

from cache_computations import array_of

from fusion.cache.shards.shard import Entry

KEYS = [f"key{n}" for n in range(10)]
ARRAYS = [array_of(n) for n in range(10)]
SECONDS = [n / 8 for n in range(10)]
ENTRIES = [Entry(*row) for row in zip(KEYS, ARRAYS, SECONDS, strict=True)]
