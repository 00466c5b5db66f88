"""Checks of the contents of a cache after a build."""

from __future__ import annotations

import numpy as np
from cache_computations import array_of, fingerprint

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards.shard import Shard


def stored(cache: FeatureCache, numbers: list[int], feature: Fingerprint | None = None) -> None:
    """Check that the cache contains exactly the arrays of these numbers."""
    feature = feature or fingerprint()
    fresh = FeatureCache(cache.root)
    keys = [f"key{n:04d}" for n in numbers]
    assert sorted({key for shard in fresh.shards(feature) for key in shard.keys}) == keys
    found = fresh.open(feature, keys, verify="always").load()
    np.testing.assert_array_equal(found, np.stack([array_of(n, feature.shape) for n in numbers]))


def shards(cache: FeatureCache, feature: Fingerprint | None = None) -> list[Shard]:
    """Open, check and return all shards of a feature."""
    folder = cache.folder(feature or fingerprint())
    return [Shard.open(path) for path in sorted(folder.glob("*.h5"))]
