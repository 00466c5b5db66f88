"""Fixtures: empty, filled and remote caches, a small file system, and an unprivileged user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cache_elsewhere
import cache_upkeep
import pytest

from fusion.cache import FeatureCache, Fingerprint


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """An empty cache."""
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def feature(cache: FeatureCache) -> Fingerprint:
    """A feature with four shards of ten items in `cache`."""
    return cache_upkeep.fill(cache)


@pytest.fixture
def there(tmp_path: Path) -> FeatureCache:
    """The cache of another machine: thirty arrays in three shards."""
    return cache_elsewhere.filled(tmp_path / "there")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, if one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs '{folder}' 2>/dev/null") != 0:
        pytest.skip("making a small file system takes root on Linux")
    yield folder
    os.system(f"umount -l '{folder}'")  # lazily, because arrays may still be mapped


@pytest.fixture
def nobody() -> Iterator[None]:
    """Run as an unprivileged user if this process is root."""
    if os.name != "posix":
        pytest.skip("needs permissions as POSIX has them")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)
