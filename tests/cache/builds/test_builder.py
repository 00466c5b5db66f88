from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from cache_builds import shards, stored
from cache_computations import Ramp, fingerprint, items

from fusion.cache import FeatureCache, Fingerprint, Workers, build
from fusion.cache.shards import files as files_module
from fusion.core.contracts.errors import CacheError, StorageError

both = pytest.mark.parametrize("jobs", [1, 2])
several = pytest.mark.skipif(os.name != "posix", reason="kills processes")


def test_only_missing_items_are_computed(cache: FeatureCache, on: Workers) -> None:
    one, two = fingerprint("one"), fingerprint("two")
    report = build(cache, [(Ramp(one), items(20))], on=on)
    assert (report.computed, report.present, report.failures) == (20, 0, [])
    before = {path.name for path in cache.folder(one).iterdir()}

    report = build(cache, [(Ramp(one), items(50)), (Ramp(two), items(50))], on=on)
    assert (report.computed, report.present, report.failures) == (80, 20, [])
    assert report.seconds > 0
    stored(cache, list(range(50)), one)
    stored(cache, list(range(50)), two)
    assert before <= {path.name for path in cache.folder(one).iterdir()}
    counts = Counter(key for shard in shards(cache, one) for key in shard.keys)
    assert set(counts.values()) == {1}

    report = build(cache, [(Ramp(one, bad=(3,)), items(50))], on=on)
    assert (report.computed, report.present, report.failures) == (0, 50, [])


def test_one_key_is_computed_once(cache: FeatureCache, on: Workers) -> None:
    twice = [*items(10), *items(10)]
    report = build(cache, [(Ramp(fingerprint()), twice), (Ramp(fingerprint()), twice)], on=on)
    assert (report.computed, report.present) == (10, 0)
    assert sum(len(shard.keys) for shard in shards(cache, fingerprint())) == 10


def test_a_build_without_work(cache: FeatureCache) -> None:
    report = build(cache, [(Ramp(fingerprint()), [])])
    assert (report.computed, report.present, report.failures) == (0, 0, [])
    assert not cache.root.exists()
    with pytest.raises(CacheError, match="at least 1 job"):
        build(cache, [], jobs=0)


@pytest.mark.attack("full disk")
def test_a_full_disk_stops_the_build(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def sync(path: Path) -> None:
        if path.suffix == ".tmp" and path.parent == cache.folder(fingerprint()):
            written.append(path)
        if len(written) > 3:
            raise OSError(28, "full")

    monkeypatch.setattr(files_module, "sync", sync)
    with pytest.raises(StorageError, match="No space left"):
        build(cache, [(Ramp(fingerprint()), items(100))], jobs=1)
    monkeypatch.undo()
    assert len(shards(cache, fingerprint())) == 2  # the first write was fingerprint.json
    report = build(cache, [(Ramp(fingerprint()), items(100))], jobs=1)
    assert (report.computed, report.present) == (100 - 26, 26)


@both
def test_a_full_small_disk(small_disk: Path, jobs: int) -> None:
    """40 arrays of 64 KiB exceed 1 MiB, so the build fails after some shards, then completes."""
    big = Fingerprint("big", "1", {}, "float32", (128, 128), {})
    cache = FeatureCache(small_disk)
    with pytest.raises(StorageError, match="No space left") as caught:
        build(cache, [(Ramp(big), items(40))], jobs=jobs)
    assert "finished items are kept" in str(caught.value)
    present = 40 - len(cache.missing(big, [item.key for item in items(40)]))
    assert present in (8, 16)  # shards of 8
    folder = cache.folder(big)
    assert list(folder.glob(".*")) == list((folder / "claims").iterdir()) == []
    if os.system(f"mount -o remount,size=8m '{small_disk}'") == 0:
        report = build(cache, [(Ramp(big), items(40))], jobs=jobs)
        assert (report.computed, report.present) == (40 - present, present)
        stored(cache, list(range(40)), big)


def test_a_read_only_folder(small_disk: Path) -> None:
    """Present items can be used; missing items raise an error with the reason."""
    cache = FeatureCache(small_disk)
    build(cache, [(Ramp(fingerprint()), items(10))], jobs=1)
    assert os.system(f"mount -o remount,ro '{small_disk}'") == 0
    report = build(cache, [(Ramp(fingerprint()), items(10))], jobs=1)
    assert (report.computed, report.present) == (0, 10)
    with pytest.raises(StorageError, match="Read-only file system"):
        build(cache, [(Ramp(fingerprint()), items(12))], jobs=1)
    stored(cache, list(range(10)))


def test_items_removed_between_builds_are_computed_again(cache: FeatureCache) -> None:
    for _ in range(3):
        report = build(cache, [(Ramp(fingerprint()), items(30))], jobs=1)
        assert report.computed == 30
        for shard in shards(cache, fingerprint()):
            shard.path.unlink()


# -- parts of a build ----------------------------------------------------------------


def test_parts_cover_every_item_once(tmp_path: Path) -> None:
    recorded: list[str] = []
    for number in (1, 2, 3):
        cache = FeatureCache(tmp_path / str(number))
        # Reversed, because the parts depend only on the keys.
        report = build(cache, [(Ramp(fingerprint()), items(50)[::-1])], jobs=1, part=(number, 3))
        keys = [key for shard in shards(cache, fingerprint()) for key in shard.keys]
        assert report.computed == len(keys) in (16, 17)
        recorded += keys
    assert sorted(recorded) == [item.key for item in items(50)]


def test_parts_of_a_partly_finished_feature(cache: FeatureCache) -> None:
    build(cache, [(Ramp(fingerprint()), items(20))], jobs=1)
    reports = [
        build(cache, [(Ramp(fingerprint()), items(50))], jobs=1, part=(n, 2)) for n in (1, 2)
    ]
    assert sum(report.computed for report in reports) == 30
    assert sum(report.present for report in reports) == 20


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (0, 0), (-1, 1)])
def test_parts_that_do_not_exist(cache: FeatureCache, part: tuple[int, int]) -> None:
    with pytest.raises(CacheError, match="numbered from 1 to"):
        build(cache, [], part=part)


# -- deaths --------------------------------------------------------------------------
