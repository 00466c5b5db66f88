from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from cache_computations import array_of
from cache_upkeep import age, content, fill, flip
from kill_points import Kills, killed
from kill_variants import both_ways

from fusion.cache import FeatureArray, FeatureCache, Fingerprint
from fusion.cache.shards.claims import Claims
from fusion.cache.shards.shard import Shard
from fusion.cache.shards.usage import last_used, undisturbed
from fusion.cache.upkeep.rewrite import codec_used, pack, rewrite, unpack, working_alone
from fusion.core.contracts.errors import CacheError, ShardError, StorageError

posix = pytest.mark.skipif(os.name != "posix", reason="forks and kills")
codecs = pytest.mark.parametrize("codec", ["zstd", "blosc2"])

pytest.importorskip("hdf5plugin")


def first(cache: FeatureCache, feature: Fingerprint) -> Shard:
    """Return the shard of key0000 to key0009."""
    result = [s for s in FeatureCache(cache.root).shards(feature) if "key0000" in s.keys]
    return result[0]


def packed(cache: FeatureCache) -> list[int]:
    return [info.packed for info in FeatureCache(cache.root).info()]


# -- a single shard ------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, "zstd", "blosc2"])
def test_kept_rows_are_unchanged(cache: FeatureCache, feature: Fingerprint, codec) -> None:  # type: ignore[no-untyped-def]
    before = content(cache, feature)
    old = first(cache, feature)
    age(old.path, 5000)
    old = Shard.open(old.path)
    used = old.path.stat()
    new = rewrite(old, [7, 2], codec)
    assert new is not None and new.parent == old.path.parent
    assert not old.path.exists()
    with undisturbed(new):
        written = Shard.open(new)
    assert written.keys == ("key0007", "key0002")
    assert codec_used(written.file) == codec
    assert (new.stat().st_atime_ns, new.stat().st_mtime_ns) == (used.st_atime_ns, used.st_mtime_ns)
    missing = {f"key000{n}" for n in range(10)} - {"key0002", "key0007"}
    assert content(cache, feature) == {k: v for k, v in before.items() if k not in missing}


def test_a_shard_without_kept_rows_is_removed(cache: FeatureCache, feature: Fingerprint) -> None:
    old = first(cache, feature)
    assert rewrite(old, []) is None
    assert not old.path.exists()
    assert len(list(old.path.parent.glob("*.h5"))) == 3


def test_a_damaged_array_is_not_copied(cache: FeatureCache, feature: Fingerprint) -> None:
    old = first(cache, feature)
    assert old.file.offset is not None
    flip(old.path, old.file.offset + 3 * array_of(0).nbytes)
    old = Shard.open(old.path)
    names = sorted(old.path.parent.glob("*.h5"))
    with pytest.raises(ShardError, match="'key0003' does not match its checksum") as caught:
        rewrite(old, [2, 3, 4])
    assert "verify --repair" in str(caught.value)
    assert sorted(old.path.parent.glob("*.h5")) == names
    rewrite(old, [2, 4])  # without the damaged array, rewriting succeeds


def test_a_deleted_shard_is_reported(cache: FeatureCache, feature: Fingerprint) -> None:
    old = first(cache, feature)
    old.path.unlink()
    with pytest.raises(ShardError, match="was deleted before it was rewritten"):
        rewrite(old, [1])
    assert rewrite(old, []) is None


def test_a_full_disk_keeps_the_shards(small_disk: Path) -> None:
    cache = FeatureCache(small_disk / "cache")
    feature = fill(cache)
    before = content(cache, feature)
    old = first(cache, feature)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "other").write_bytes(bytes(free))
    with pytest.raises(StorageError, match="No space left"):
        pack(cache, "zstd")
    assert old.path.exists()
    (small_disk / "other").unlink()
    assert content(cache, feature) == before
    assert pack(cache, "zstd").shards == 4
    assert content(cache, feature) == before


# -- packing -------------------------------------------------------------------------


@codecs
def test_unpacking_restores_the_content(cache: FeatureCache, feature: Fingerprint, codec) -> None:  # type: ignore[no-untyped-def]
    other = fill(cache, shards=2, name="other")
    before = content(cache, feature), content(cache, other)
    recorded: list[tuple[int, int]] = []
    report = pack(cache, codec, on_progress=lambda *step: recorded.append(step))
    assert (report.shards, report.problems, packed(cache)) == (6, [], [2, 4])
    assert {codec_used(s.file) for s in FeatureCache(cache.root).shards(feature)} == {codec}
    assert report.after == sum(info.bytes for info in FeatureCache(cache.root).info())
    assert recorded[-1] == (report.before, report.before) and len(recorded) == 6
    assert (content(cache, feature), content(cache, other)) == before

    report = pack(cache, "zstd")  # already packed, with any codec
    assert (report.shards, report.before, report.after) == (0, 0, 0)
    report = unpack(cache)
    assert (report.shards, packed(cache)) == (6, [0, 0])
    assert (content(cache, feature), content(cache, other)) == before


def test_chosen_features_are_packed(cache: FeatureCache, feature: Fingerprint) -> None:
    fill(cache, shards=2, name="other")
    assert pack(cache, "zstd", [feature]).shards == 4
    assert packed(cache) == [0, 4]
    assert unpack(cache, [feature]).shards == 4
    assert packed(cache) == [0, 0]


def test_nothing_to_pack(tmp_path: Path) -> None:
    empty = FeatureCache(tmp_path / "nowhere")
    assert pack(empty, "zstd").shards == unpack(empty).shards == 0
    assert not empty.root.exists()


def test_packing_does_not_count_as_use(cache: FeatureCache, feature: Fingerprint) -> None:
    for shard in cache.shards(feature):
        age(shard.path, 5000)
    before = {s.keys: last_used(s.path) for s in cache.shards(feature)}
    pack(cache, "zstd")
    assert {s.keys: last_used(s.path) for s in FeatureCache(cache.root).shards(feature)} == before


def test_the_index_is_up_to_date_after_packing(cache: FeatureCache, feature: Fingerprint) -> None:
    pack(cache, "zstd")
    assert FeatureCache(cache.root).catalogue(feature).fresh == 0


def test_a_damaged_shard_is_kept_and_the_others_are_packed(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    bad = first(cache, feature)
    assert bad.file.offset is not None
    flip(bad.path, bad.file.offset)
    report = pack(cache, "zstd")
    assert report.shards == 3
    assert [problem.path for problem in report.problems] == [bad.path]
    assert "'key0000' does not match" in report.problems[0].reason
    assert bad.path.exists()


def test_duplicates_left_by_a_killed_call_are_removed(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    before = content(cache, feature)
    old = first(cache, feature)
    raw = old.path.read_bytes()
    rewrite(old, range(10), "zstd")
    old.path.write_bytes(raw)  # as if killed before the removal
    assert len(FeatureCache(cache.root).catalogue(feature)) == 50
    pack(cache, "zstd")
    catalogue = FeatureCache(cache.root).catalogue(feature)
    assert (len(catalogue), len(catalogue.files)) == (40, 4)
    assert content(cache, feature) == before


def test_a_damaged_copy_does_not_replace_a_valid_one(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    before = content(cache, feature)
    pack(cache, "zstd")
    packed_one = first(cache, feature)
    raw = packed_one.path.read_bytes()
    rewrite(packed_one, range(10))
    contiguous = first(cache, feature)
    packed_one.path.write_bytes(raw)
    assert contiguous.file.offset is not None
    flip(contiguous.path, contiguous.file.offset)  # row 0
    unpack(cache)
    holding = [s for s in FeatureCache(cache.root).shards(feature) if "key0000" in s.keys]
    assert len(holding) == 2
    contiguous.path.unlink()
    assert content(cache, feature)["key0000"] == before["key0000"]


def test_an_unknown_codec(cache: FeatureCache, feature: Fingerprint) -> None:
    with pytest.raises(CacheError, match="no codec 'lzma'. Known: zstd, blosc2"):
        pack(cache, "lzma")  # type: ignore[arg-type]


def test_missing_hdf5plugin_is_reported(
    cache: FeatureCache, feature: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusion.cache.shards.codecs._plugin", lambda: None)
    with pytest.raises(CacheError, match="hdf5plugin") as caught:
        pack(cache, "zstd")
    assert caught.value.hint == "pip install 'modal-fusion[pack]'"
    assert packed(cache) == [0]


# -- concurrent processes ------------------------------------------------------------


def test_concurrent_upkeep_is_refused(cache: FeatureCache, feature: Fingerprint) -> None:
    with working_alone(cache), pytest.raises(CacheError, match="Another process packs") as caught:
        pack(FeatureCache(cache.root), "zstd")
    assert "Wait until" in str(caught.value)
    assert packed(cache) == [0]
    assert pack(cache, "zstd").shards == 4  # the other process has finished


@posix
def test_a_dead_process_does_not_block_upkeep(cache: FeatureCache, feature: Fingerprint) -> None:
    def hang() -> None:
        Claims(cache.root).take("upkeep")
        os.kill(os.getpid(), 9)

    killed(hang)
    assert list((cache.root / "claims").iterdir()) != []
    assert pack(cache, "zstd").shards == 4


@posix
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_reader_is_not_affected_by_packing_and_unpacking(
    cache: FeatureCache, feature: Fingerprint, opened: str
) -> None:
    keys = sorted(content(cache, feature))[::-1]
    reader: FeatureArray = cache.open(feature, keys, verify="always")
    expected = np.stack([array_of(int(key[3:])) for key in keys])
    if opened == "before":  # its files are mapped; otherwise only their names are known
        np.testing.assert_array_equal(reader.load(), expected)
    pack(FeatureCache(cache.root), "zstd")
    np.testing.assert_array_equal(reader.load(), expected)
    unpack(FeatureCache(cache.root))
    np.testing.assert_array_equal(reader.load(), expected)
    np.testing.assert_array_equal(reader[5], expected[5])


def test_reading_deleted_items_raises(cache: FeatureCache, feature: Fingerprint) -> None:
    reader = cache.open(feature, ["key0001", "key0011"])
    first(cache, feature).path.unlink()
    with pytest.raises(CacheError, match="was deleted while in use, and 1 arrays with it"):
        reader.load()


@posix
@pytest.mark.parametrize("action", ["pack", pytest.param("unpack", marks=pytest.mark.slow)])
@both_ways
def test_a_kill_loses_no_items(tmp_path: Path, kills: Kills, action: str) -> None:
    template = FeatureCache(tmp_path / "template")
    feature = fill(template, shards=2, size=4)
    before = content(template, feature)
    if action == "unpack":
        pack(template, "zstd")

    def work(root: Path) -> None:
        local = FeatureCache(root)
        _ = pack(local, "zstd") if action == "pack" else unpack(local)

    for root, _ in kills(tmp_path / "caches", work, partial(copytree, template.root)):
        cache = FeatureCache(root)
        assert content(cache, feature) == before
        work(root)
        assert content(cache, feature) == before
        catalogue = FeatureCache(root).catalogue(feature)
        assert (len(catalogue), catalogue.fresh) == (8, 0)
        assert {file.packed for file in catalogue.files} == {action == "pack"}
