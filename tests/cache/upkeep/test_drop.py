"""Repairs: damaged items are dropped, and other items are kept."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from shutil import copytree

import h5py
import pytest
from cache_upkeep import bad_keys, content, files, fill, flip, shard_of, spoil
from kill_points import Kills
from kill_variants import both_ways

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards.catalogue import INDEX
from fusion.cache.upkeep.drop import drop
from fusion.cache.upkeep.rewrite import codec_used, pack, working_alone
from fusion.cache.upkeep.verify import verify
from fusion.core.contracts.errors import CacheError

posix = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


forms = pytest.mark.parametrize("codec", [None, "zstd", "blosc2"])


@forms
def test_damaged_items_are_dropped(cache: FeatureCache, feature: Fingerprint, codec) -> None:  # type: ignore[no-untyped-def]
    before = content(cache, feature)
    if codec:
        pack(cache, codec)
        raw = shard_of(cache, feature, "key0013")
        with h5py.File(raw.path) as file:
            flip(raw.path, file["data"].id.get_chunk_info_by_coord((3, 0, 0)).byte_offset + 20)
    else:
        spoil(cache, feature, "key0013")
    shard_of(cache, feature, "key0030").path.write_bytes(b"no HDF5")
    report = verify(cache)
    missing = {"key0013", *(f"key{n:04d}" for n in range(30, 40))}
    assert set(bad_keys(report)) == missing
    assert drop(cache, report) == []
    assert content(cache, feature) == {k: v for k, v in before.items() if k not in missing}
    assert verify(cache).fine
    assert codec_used(shard_of(cache, feature, "key0012").file) == codec
    assert FeatureCache(cache.root).catalogue(feature).fresh == 0


def test_a_shard_that_has_become_readable_is_kept(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    path = shard_of(cache, feature, "key0010").path
    raw = path.read_bytes()
    path.write_bytes(b"")
    report = verify(cache)
    path.write_bytes(raw)
    (left,) = drop(cache, report)
    assert left.path == path and "but can be read now" in left.reason
    assert path.read_bytes() == raw


def test_nothing_is_dropped_during_the_upkeep_of_another_process(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    spoil(cache, feature, "key0013")
    report = verify(cache)
    before = files(cache.folder(feature))
    with working_alone(cache), pytest.raises(CacheError, match="Another process"):
        drop(FeatureCache(cache.root), report)
    assert files(cache.folder(feature)) == before


@posix
@both_ways
def test_a_killed_repair_loses_no_valid_items(tmp_path: Path, kills: Kills) -> None:
    """An array in a shard, a complete shard, the index and the fingerprint are damaged."""
    template = FeatureCache(tmp_path / "template")
    feature = fill(template, shards=3, size=3)
    before = content(template, feature)
    bad = {"key0004", "key0006", "key0007", "key0008"}
    spoil(template, feature, "key0004")
    shard_of(template, feature, "key0007").path.write_bytes(b"no HDF5")
    for name in (INDEX, "fingerprint.json"):
        (template.folder(feature) / name).write_bytes(b"{")
    good = {key: row for key, row in before.items() if key not in bad}

    def work(root: Path) -> None:
        drop(FeatureCache(root), verify(FeatureCache(root)))

    for root, _ in kills(tmp_path / "caches", work, partial(copytree, template.root)):
        cache = FeatureCache(root)
        assert set(bad_keys(verify(cache))) <= bad
        work(root)
        assert content(cache, feature) == good
        assert verify(FeatureCache(root)).fine
