from __future__ import annotations

from pathlib import Path

import pytest
from cache_computations import array_of, fingerprint

from fusion.cache import FeatureCache
from fusion.cache.upkeep.naming import find_feature
from fusion.core.contracts.errors import CacheError


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    cache = FeatureCache(tmp_path)
    for hop, count in ((128, 1), (256, 2)):
        keys = [f"k{n}" for n in range(count)]
        cache.add(fingerprint("mel", hop=hop), keys, [array_of(n) for n in range(count)])
    cache.add(fingerprint("mel-2"), ["k"], [array_of(0)])
    return cache


def test_features_are_found_by_name_and_by_id(cache: FeatureCache) -> None:
    wanted = fingerprint("mel", hop=256)
    assert find_feature(cache, "mel-2") == fingerprint("mel-2")  # a name has priority over an id
    assert find_feature(cache, f"mel-{wanted.id}") == wanted
    assert find_feature(cache, f"mel-{wanted.id[:3]}") == wanted


def test_several_features_of_a_name_are_listed_with_their_differences(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="holds 2 features named 'mel'") as error:
        find_feature(cache, "mel")
    for hop, count in ((128, 1), (256, 2)):
        id = fingerprint("mel", hop=hop).id[:8]
        items = f"{count} item{'s' if count > 1 else ''}"
        assert f"\n  mel-{id}  {items}, parameters.hop={hop}" in error.value.message
    assert "dtype" not in error.value.message


def test_an_empty_folder_is_ignored(cache: FeatureCache) -> None:
    cache.prepare(fingerprint("mel-2", hop=1))
    assert find_feature(cache, "mel-2") == fingerprint("mel-2")


@pytest.mark.parametrize("text", ["me", "mel-", "mel-g", ""])
def test_an_unknown_name_is_refused(cache: FeatureCache, text: str) -> None:
    with pytest.raises(CacheError, match="no feature .* It has: mel, mel-2"):
        find_feature(cache, text)
