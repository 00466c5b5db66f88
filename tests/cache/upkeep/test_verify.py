from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from attacks import attack
from cache_computations import array_of, fingerprint
from cache_upkeep import age, bad_keys, content, files, fill, flip, shard_of, spoil

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards.catalogue import INDEX
from fusion.cache.shards.shard import Shard
from fusion.cache.shards.usage import last_used
from fusion.cache.upkeep.drop import drop
from fusion.cache.upkeep.rewrite import pack
from fusion.cache.upkeep.verify import verify
from fusion.core.contracts.errors import ShardError

posix = pytest.mark.skipif(os.name != "posix", reason="forks and kills")
forms = pytest.mark.parametrize("codec", [None, "zstd", "blosc2"])


# -- damage --------------------------------------------------------------------------


@forms
def test_a_valid_cache(cache: FeatureCache, feature: Fingerprint, codec) -> None:  # type: ignore[no-untyped-def]
    fill(cache, shards=2, name="other")
    if codec:
        pack(cache, codec)
    before = files(cache.root)
    recorded: list[tuple[int, int]] = []
    report = verify(cache, lambda *step: recorded.append(step))
    assert report.fine and not report.aside
    assert (report.features, report.shards, report.items) == (2, 6, 60)
    assert report.bytes == sum(info.bytes for info in cache.info())
    assert recorded[-1] == (report.bytes, report.bytes) and len(recorded) == 6
    assert drop(cache, report) == []
    assert files(cache.root) == before


def test_an_empty_cache(tmp_path: Path) -> None:
    report = verify(FeatureCache(tmp_path / "nowhere"))
    assert report.fine and report.features == 0
    cache = FeatureCache(tmp_path)
    cache.prepare(fingerprint())
    cache.folder(fingerprint("begun")).mkdir()  # as if killed between two system calls
    assert verify(cache).fine


def test_a_damaged_item_is_named(cache: FeatureCache, feature: Fingerprint) -> None:
    path = spoil(cache, feature, "key0013")
    (bad,) = verify(cache).bad_items
    assert (bad.fingerprint, bad.key, bad.origin, bad.group, bad.path, bad.row) == (
        feature, "key0013", "/speech/13.wav", "group1", path, 3,
    )  # fmt: skip
    assert bad.reason == "The array does not match its checksum."


def test_a_damaged_packed_item_is_named(cache: FeatureCache, feature: Fingerprint) -> None:
    pack(cache, "zstd")
    shard = shard_of(cache, feature, "key0013")
    with h5py.File(shard.path) as file:
        place = file["data"].id.get_chunk_info_by_coord((3, 0, 0))
    flip(shard.path, place.byte_offset)  # compressed bytes, which can no longer be unpacked
    (bad,) = verify(cache).bad_items
    assert (bad.key, bad.row) == ("key0013", 3)
    assert "can't be unpacked" in bad.reason


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw[: len(raw) // 2], "was cut short"),
        (lambda raw: b"no HDF5", "is not an HDF5 file"),
        (lambda raw: b"", "is not an HDF5 file"),
        (lambda raw: raw.replace(b"key0011", b"key9999"), "checksum does not match its contents"),
    ],
)
def test_items_of_a_damaged_shard_are_named_from_the_index(
    cache: FeatureCache, feature: Fingerprint, damage, reason: str
) -> None:  # type: ignore[no-untyped-def]
    path = shard_of(cache, feature, "key0010").path
    path.write_bytes(damage(path.read_bytes()))
    report = verify(cache)
    (bad,) = report.bad_files
    assert (bad.path, bad.kind, bad.fingerprint, bad.items) == (path, "shard", feature, 10)
    assert reason in bad.reason and str(path.parent) not in bad.reason.split("(")[0]
    assert bad_keys(report) == [f"key{n:04d}" for n in range(10, 20)]
    assert {(item.row, item.path) for item in report.bad_items} == {(None, path)}
    assert report.bad_items[3].origin == "/speech/13.wav"
    assert (report.shards, report.items) == (4, 40)


def test_without_an_index_only_the_file_is_named(cache: FeatureCache, feature: Fingerprint) -> None:
    (cache.folder(feature) / INDEX).unlink()
    path = shard_of(cache, feature, "key0010").path
    path.write_bytes(b"no HDF5")
    report = verify(cache)
    assert ([bad.path for bad in report.bad_files], report.bad_items) == ([path], [])
    assert report.bad_files[0].items == 0


def test_a_newer_or_foreign_file_is_not_damaged(cache: FeatureCache, feature: Fingerprint) -> None:
    newer = shard_of(cache, feature, "key0000").path
    with h5py.File(newer, "r+") as file:
        file.attrs["format_version"] = 99
    foreign = newer.with_name("foreign.h5")
    with h5py.File(foreign, "w") as file:
        file["mine"] = np.arange(5)
    other = fill(cache, shards=1, name="other")
    strayed = newer.with_name("strayed.h5")
    shutil.copy(shard_of(cache, other, "key0000").path, strayed)

    report = verify(cache)
    assert report.fine
    reasons = {problem.path: problem.reason for problem in report.aside}
    assert set(reasons) == {newer, foreign, strayed}
    assert "format version 99" in reasons[newer] and "update" in reasons[newer]
    assert "not a shard of a feature cache" in reasons[foreign]
    assert f"belongs in folder other-{other.id}" in reasons[strayed]

    spoil(cache, feature, "key0013")  # to have something to repair
    drop(cache, verify(cache))
    assert newer.exists() and foreign.exists() and strayed.exists()


def test_an_unreadable_file_is_reported_and_kept(cache: FeatureCache, feature: Fingerprint) -> None:
    folder = cache.folder(feature) / "folder.h5"
    folder.mkdir()
    report = verify(cache)
    assert [(bad.path, bad.kind) for bad in report.bad_files] == [(folder, "unreadable")]
    assert [problem.path for problem in drop(cache, report)] == [folder]
    assert folder.exists()


def test_an_unreadable_folder_does_not_stop_verification(
    cache: FeatureCache,
    feature: Fingerprint,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    closed = cache.folder(fill(cache, shards=1, name="a_closed"))
    cache.root.chmod(0o777)
    for folder in [*cache.root.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    closed.chmod(0o700)
    request.getfixturevalue("nobody")
    report = verify(cache)
    (bad,) = report.bad_files
    assert (bad.path, bad.kind) == (closed, "unreadable")
    assert bad.reason == "The folder can't be read: Permission denied."
    assert (report.items, report.features, report.repairable) == (40, 1, False)
    assert [problem.path for problem in drop(cache, report)] == [closed]


def test_shards_of_an_unavailable_codec_are_kept(
    cache: FeatureCache, feature: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(cache, "zstd")
    monkeypatch.setattr("fusion.cache.shards.codecs._readable", lambda data: False)
    report = verify(cache)
    assert {bad.kind for bad in report.bad_files} == {"unreadable"}
    assert "pip install 'modal-fusion[pack]'" in report.bad_files[0].reason
    before = files(cache.root)
    drop(cache, report)
    assert files(cache.root) == before  # the shards are valid


def test_a_damaged_fingerprint_file(cache: FeatureCache, feature: Fingerprint) -> None:
    path = cache.folder(feature) / "fingerprint.json"
    text = path.read_text()
    other = fill(cache, shards=1, name="other")
    for damage in ("{", "", text.replace("float32", "float64"), None):
        if damage is None:
            path.unlink()
        else:
            path.write_text(damage)
        report = verify(cache)
        (bad,) = report.bad_files
        assert (bad.path, bad.kind, bad.fingerprint) == (path, "fingerprint", feature)
        assert report.items == 50  # the shards are read anyway
        assert drop(cache, report) == []
        assert path.read_text() == text
        assert cache.features() == [other, feature]


def test_a_wrong_index_is_repaired(cache: FeatureCache, feature: Fingerprint) -> None:
    index = cache.folder(feature) / INDEX
    before = content(cache, feature)
    with h5py.File(index, "r+") as file:  # readers do not verify the checksum of the origins
        file["origins"][3] = b"/speech/other.wav"
    report = verify(cache)
    (bad,) = report.bad_files
    assert (bad.path, bad.kind) == (index, "index")
    assert "The index contradicts" in bad.reason
    drop(cache, report)
    assert content(cache, feature) == before and verify(cache).fine

    index.write_bytes(index.read_bytes().replace(b"key0013", b"key0014", 1))
    report = verify(cache)
    assert [bad.kind for bad in report.bad_files] == ["index"]
    drop(cache, report)
    assert FeatureCache(cache.root).catalogue(feature).fresh == 0 and verify(cache).fine


def test_an_outdated_index_is_valid(cache: FeatureCache, feature: Fingerprint) -> None:
    cache.add(feature, ["new"], [array_of(99)])
    shard_of(cache, feature, "key0000").path.unlink()
    assert verify(cache).fine


def test_verification_does_not_count_as_use(cache: FeatureCache, feature: Fingerprint) -> None:
    shards = list(cache.shards(feature))
    for shard in shards:
        age(shard.path, 5000)
    before = {shard.path: last_used(shard.path) for shard in shards}
    verify(cache)
    assert {shard.path: last_used(shard.path) for shard in shards} == before


def test_a_shard_deleted_during_verification_is_no_damage(
    cache: FeatureCache, feature: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = sorted(cache.folder(feature).glob("*.h5"))[2]
    assert verify(cache, lambda finished, total: missing.unlink(missing_ok=True)).fine


# -- repair --------------------------------------------------------------------------


# -- random damage -------------------------------------------------------------------


def as_read(path: Path) -> dict[str, tuple[bytes, float, str, str]] | None:
    """Return all that a reader would accept of a shard, or None if it can't be opened."""
    try:
        shard = Shard.open(path)
        entries = list(shard.entries(range(shard.file.count)))
        return {e.key: (e.array.tobytes(), e.seconds, e.origin, e.group) for e in entries}
    except ShardError:
        return None


@forms
@pytest.mark.parametrize(
    ("count", "seed"), [(60, 0), pytest.param(1500, 1, marks=pytest.mark.slow)]
)
def test_every_flip_that_changes_an_item_is_detected(tmp_path: Path, codec, count, seed) -> None:  # type: ignore[no-untyped-def]
    cache = FeatureCache(tmp_path)
    feature = fill(cache, shards=2, size=20)
    if codec:
        pack(cache, codec)
    before = content(cache, feature)
    shards = sorted(cache.folder(feature).glob("*.h5"))
    pristine = {path: path.read_bytes() for path in shards}
    items = {path: as_read(path) for path in shards}
    chance = random.Random(seed)
    changed = 0
    for _ in range(count):
        path = chance.choice(shards)
        raw = bytearray(pristine[path])
        for _ in range(chance.choice((1, 1, 1, 2, 8, 100))):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        times = path.stat()
        path.write_bytes(raw)
        if chance.random() < 0.5:  # a bad disk does not change the modification time
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with attack("flipped bytes of a shard"):
            report = verify(cache)
            now, then = as_read(path), items[path]
            assert then is not None
            named = {item.key for item in report.bad_items}
            if now is None:  # the shard can't be opened, or an item can't be unpacked
                assert named and not report.fine
            else:
                differ = {key for key in {*then, *now} if then.get(key) != now.get(key)}
                assert differ <= named
            changed += bool(named)
            assert {item.path for item in report.bad_items} <= {path}
        for shard in shards:
            shard.write_bytes(pristine[shard])
    assert changed > count / 3
    assert content(cache, feature) == before
