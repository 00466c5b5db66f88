from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from cache_computations import array_of, fingerprint
from cache_gc import ANY, DAY, KEYS, by_age, kept, size, used_over_days
from cache_upkeep import Row, age, content, files, fill
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kill_points import Kills
from kill_variants import both_ways

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.builds.journal import register_run, registered_runs
from fusion.cache.shards.claims import Claims, claims_of
from fusion.cache.shards.files import HOST
from fusion.cache.upkeep.drop import drop
from fusion.cache.upkeep.gc import GcReport, collect
from fusion.cache.upkeep.rewrite import codec_used, pack, working_alone
from fusion.cache.upkeep.verify import verify
from fusion.core.contracts.errors import CacheError


@pytest.fixture
def feature(cache: FeatureCache) -> Fingerprint:
    """A feature with four shards of ten items, last used 4, 3, 2 and 1 days ago."""
    return used_over_days(cache)


posix = pytest.mark.skipif(os.name != "posix", reason="forks and kills")

DEAD = 2**22 + 1  # above the largest process id of Linux


# -- items ---------------------------------------------------------------------------


def test_without_bounds_only_debris_is_removed(cache: FeatureCache, feature: Fingerprint) -> None:
    before = files(cache.root)
    report = collect(cache, {feature.id: KEYS[:15]})
    (one,) = report.features
    assert (one.removed, one.referenced, one.unreferenced) == (0, 15, 25)
    assert one.referenced_bytes + one.unreferenced_bytes == report.before == size(cache)
    assert one.unreferenced_bytes > 2 * report.before / 4
    assert report.freed == report.missed == 0
    assert files(cache.root) == before


def test_referenced_items_are_kept_and_their_shards_rewritten(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    before = content(cache, feature)
    needed = [KEYS[3], KEYS[8], KEYS[25], "no such key"]
    report = collect(cache, {feature.id: needed, "another": KEYS}, older_than=ANY)
    (one,) = report.features
    assert (one.removed, one.shards, one.rewritten, one.referenced) == (37, 2, 2, 3)
    assert content(cache, feature) == {key: before[key] for key in needed[:3]}
    assert [len(shard.keys) for shard in by_age(cache, feature)] == [2, 1]
    # A rewritten shard keeps the time of its last use.
    old = collect(cache, {}, older_than=timedelta(days=3.5), dry_run=True)
    assert old.features[0].removed == 2
    assert FeatureCache(cache.root).catalogue(feature).fresh == 0
    assert verify(cache).fine


@pytest.mark.parametrize("codec", ["zstd", "blosc2"])
def test_packed_shards_remain_packed(cache: FeatureCache, feature: Fingerprint, codec) -> None:  # type: ignore[no-untyped-def]
    before = content(cache, feature)
    pack(cache, codec)
    report = collect(cache, {feature.id: KEYS[5:]}, older_than=ANY)
    assert report.features[0].rewritten == 1
    assert content(cache, feature) == {key: before[key] for key in KEYS[5:]}
    assert {codec_used(shard.file) for shard in by_age(cache, feature)} == {codec}


def test_shards_that_can_not_be_rewritten_are_kept(
    cache: FeatureCache, feature: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(cache, "zstd")
    monkeypatch.setattr("fusion.cache.shards.codecs._readable", lambda data: False)
    for dry_run in (True, False):
        report = collect(cache, {feature.id: KEYS[5:20]}, older_than=ANY, dry_run=dry_run)
        (one,) = report.features
        assert (one.removed, one.shards, one.rewritten, one.unreferenced) == (20, 2, 0, 5)
        (left,) = report.problems
        assert "hdf5plugin" in left.reason and "rewritten" in left.reason
    monkeypatch.undo()
    assert kept(cache, feature) == KEYS[:20]


def test_damaged_shards_are_kept(cache: FeatureCache, feature: Fingerprint) -> None:
    bad = by_age(cache, feature)[0].path
    bad.write_bytes(b"no HDF5")
    spoilt = by_age(cache, feature)[0]
    raw = bytearray(spoilt.path.read_bytes())
    assert spoilt.file.offset is not None
    raw[spoilt.file.offset] ^= 1  # in the first row, which is referenced
    spoilt.path.write_bytes(raw)
    report = collect(cache, {feature.id: [spoilt.keys[0]]}, older_than=ANY)
    assert {problem.path for problem in report.problems} == {bad, spoilt.path}
    assert bad.exists() and spoilt.path.exists()
    assert report.features[0].removed == 20


def test_a_feature_described_only_by_its_shards(cache: FeatureCache, feature: Fingerprint) -> None:
    described = cache.folder(feature) / "fingerprint.json"
    described.write_text("{")
    before = size(cache)
    report = collect(FeatureCache(cache.root), {feature.id: KEYS[:10]}, older_than=ANY)
    assert [problem.path for problem in report.problems] == [described]
    assert (report.before, report.features[0].removed) == (before, 30)
    assert sorted(path.name for path in cache.root.rglob("*.h5")) == [
        by_age(cache, feature)[0].path.name
    ]


def test_a_shard_used_after_planning_is_kept(cache: FeatureCache, feature: Fingerprint) -> None:
    def use(finished: int, total: int) -> None:
        """Open the last remaining item after the first shard was removed."""
        cache.open(feature, kept(cache, feature)[-1:])

    report = collect(FeatureCache(cache.root), {}, older_than=timedelta(hours=2), on_progress=use)
    assert kept(cache, feature) in (KEYS[30:], KEYS[20:30])
    assert [problem.reason for problem in report.problems] == [
        "The shard was used during the collection."
    ]
    assert (report.features[0].removed, report.features[0].unreferenced) == (30, 10)


# -- debris, registrations, folders --------------------------------------------------


def test_debris_is_removed_and_files_of_live_processes_kept(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    folder = cache.folder(feature)
    (cache.root / "runs").mkdir()
    dead = [
        where / f".{'0' * 32}.{HOST}.{DEAD}.tmp"
        for where in (folder, cache.root, cache.root / "runs")
    ]
    living = [folder / f".{'1' * 32}.{HOST}.{os.getpid()}.tmp", folder / "notes.tmp"]
    with Claims(folder) as claims:
        claims.take("mine")
        (claim,) = claims_of(folder, {os.getpid()})
        stale = claim.with_name("0" * 32)
        stale.write_text(f"{HOST} {DEAD}\n")
        for path in (*dead, *living):
            path.touch()
        planned = collect(cache, {}, dry_run=True)
        assert set(planned.debris) == {*dead, stale}
        assert all(path.exists() for path in (*dead, *living, stale))
        assert collect(cache, {}).debris == planned.debris
        assert not any(path.exists() for path in (*dead, stale))
        assert all(path.exists() for path in (*living, claim))
    assert kept(cache, feature) == KEYS


def test_registrations_of_deleted_runs_are_removed(cache: FeatureCache, tmp_path: Path) -> None:
    cache.root.mkdir()
    (tmp_path / "here").mkdir()
    for name in ("here", "gone"):
        register_run(cache, tmp_path / name)
    assert len(collect(cache, {}, dry_run=True).registrations) == 1
    assert len(registered_runs(cache)) == 2
    assert len(collect(cache, {}).registrations) == 1
    assert [run.path.name for run in registered_runs(cache)] == ["here"]


def test_empty_folders_are_removed(cache: FeatureCache, feature: Fingerprint) -> None:
    cache.prepare(fingerprint("begun"))  # new: a build is about to write to this folder
    old = cache.prepare(fingerprint("old"))
    age(old, DAY)
    planned = collect(cache, {}, older_than=ANY, dry_run=True)
    assert planned.folders == [old, cache.folder(feature)]
    report = collect(cache, {}, older_than=ANY)
    assert report.folders == planned.folders
    assert [folder.name for folder, _ in cache.folders()] == [
        cache.folder(fingerprint("begun")).name
    ]
    assert sorted(path.name for path in cache.root.iterdir() if path.is_dir()) == [
        cache.folder(fingerprint("begun")).name, "claims",
    ]  # fmt: skip


def test_a_folder_with_claims_is_kept(cache: FeatureCache, feature: Fingerprint) -> None:
    with Claims(cache.folder(feature)) as claims:
        claims.take("new")
        report = collect(cache, {}, older_than=ANY)
        assert report.folders == []
        cache.add(feature, ["new"], [array_of(99)])
    assert kept(cache, feature) == ["new"]


def test_a_missing_cache_is_not_created(tmp_path: Path) -> None:
    report = collect(FeatureCache(tmp_path / "nowhere"), {}, older_than=ANY)
    assert report == GcReport()
    assert not (tmp_path / "nowhere").exists()


def test_collections_are_exclusive(cache: FeatureCache, feature: Fingerprint) -> None:
    with working_alone(cache):
        with pytest.raises(CacheError, match="Another process"):
            collect(FeatureCache(cache.root), {}, older_than=ANY)
        assert collect(cache, {}, older_than=ANY, dry_run=True).features[0].removed == 40
    assert kept(cache, feature) == KEYS


def test_items_are_removed_on_a_full_disk(small_disk: Path) -> None:
    cache = FeatureCache(small_disk / "cache")
    feature = fill(cache)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "other").write_bytes(bytes(free))
    with pytest.raises(CacheError, match="No space left"):
        cache.add(feature, ["new"], [array_of(99)])
    report = collect(cache, {feature.id: KEYS[5:]}, older_than=ANY)
    assert report.problems != [] and kept(cache, feature) == KEYS  # no space to rewrite shards
    report = collect(cache, {feature.id: KEYS[15:]}, older_than=ANY)
    assert report.features[0].shards == 1 and report.problems == []  # the complete shard first
    assert kept(cache, feature) == KEYS[15:]


# -- concurrent readers, kills, and properties ---------------------------------------


@posix
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_reader_is_not_affected(cache: FeatureCache, feature: Fingerprint, opened: str) -> None:
    keys = [KEYS[n] for n in (35, 2, 17, 8)]
    reader = cache.open(feature, keys, verify="always")
    expected = np.stack([array_of(int(key[3:])) for key in keys])
    if opened == "before":
        reader.load()
    report = collect(FeatureCache(cache.root), {feature.id: keys}, older_than=ANY)
    assert report.features[0].rewritten == 3
    np.testing.assert_array_equal(reader.load(), expected)


@posix
@both_ways
def test_a_kill_loses_no_referenced_items(tmp_path: Path, kills: Kills) -> None:
    """One of four shards is kept, one is removed and two are rewritten; there is debris."""
    template = FeatureCache(tmp_path / "template")
    feature = fill(template, shards=4, size=3)
    (template.root / f".{'0' * 32}.{HOST}.{DEAD}.tmp").touch()
    before = content(template, feature)
    needed = set(KEYS[:4] + KEYS[8:9])

    def work(root: Path) -> None:
        collect(FeatureCache(root), {feature.id: needed}, older_than=ANY)

    for root, _ in kills(tmp_path / "caches", work, partial(copytree, template.root)):
        cache = FeatureCache(root)
        left = content(cache, feature)
        assert needed <= set(left) and left.items() <= before.items()
        work(root)
        assert content(cache, feature) == {key: before[key] for key in needed}
        assert verify(cache).fine and not list(root.rglob("*.tmp"))


_SHARDS = st.lists(  # per shard: hours since its last use, and the referenced rows of eight
    st.tuples(st.floats(0, 100), st.sets(st.integers(0, 7))), min_size=1, max_size=6
)
_HOURS = st.none() | st.floats(0, 100)
_SHARE = st.none() | st.floats(0, 1.2)


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        folder = tmp_path / "fresh"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    return make


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(shards=_SHARDS, hours=_HOURS, share=_SHARE, packed=st.booleans())
@example(shards=[(48.0, {1}), (0.99999, {0}), (49.0, set())], hours=None, share=0.05, packed=True)
def test_properties_of_a_collection(fresh, shards, hours, share, packed) -> None:  # type: ignore[no-untyped-def]
    cache = FeatureCache(fresh())
    features = [fingerprint("one"), fingerprint("two")]
    needed: dict[str, set[str]] = {feature.id: set() for feature in features}
    used: dict[str, float] = {}
    for number, (hours_ago, rows) in enumerate(shards):
        feature = features[number % 2]
        names = [f"key{number}{row}" for row in range(8)]
        cache.add(feature, names, [array_of(row, (3, 5)) for row in range(8)])
        (path,) = (s.path for s in cache.shards(feature) if s.keys[0] == names[0])
        age(path, hours_ago * 3600)
        needed[feature.id] |= {names[row] for row in rows}
        used |= dict.fromkeys(names, hours_ago)
    if packed:
        pack(cache, "zstd", features[:1])
    before = {f: _content(cache, f) for f in features}
    whole = size(cache)
    budget = None if share is None else int(share * whole)
    older = None if hours is None else timedelta(hours=hours)
    pristine = files(cache.root)
    # The plan and the collection use the same time, because an age may be very close to the limit.
    moment = time.time()
    clock = SimpleNamespace(time=lambda: moment)

    def go(dry_run: bool) -> GcReport:
        with mock.patch("fusion.cache.upkeep.gc_plan.time", clock):
            return collect(
                FeatureCache(cache.root),
                needed,
                older_than=older,
                max_bytes=budget,
                dry_run=dry_run,
            )

    planned = go(dry_run=True)
    assert files(cache.root) == pristine
    report = go(dry_run=False)
    assert report == planned  # equal to the plan

    after = {f: _content(cache, f) for f in features}
    spared = min(1.0, 1.0 if hours is None else hours)
    slack = 0.01  # hours that this test itself may take
    removed = 0
    for feature in features:
        assert after[feature].items() <= before[feature].items()
        missing = before[feature].keys() - after[feature].keys()
        removed += len(missing)
        assert not missing & needed[feature.id]  # referenced items are never removed
        for key in before[feature].keys() - needed[feature.id]:
            if hours is not None and used[key] > hours + slack:
                assert key in missing  # too old
            elif budget is None or used[key] < spared - slack:
                assert key not in missing or (hours is not None and used[key] >= hours - slack)
    assert removed == sum(feature.removed for feature in report.features)
    assert abs(size(cache) - (report.before - report.freed)) <= 5 * 4096 * len(shards)
    if budget is not None:
        assert (report.missed > 0) == (report.before - report.freed > budget)
        if report.missed:  # then every other item was used recently
            left = {key for f in features for key in after[f].keys() - needed[f.id]}
            assert all(used[key] <= spared + slack for key in left)
    assert verify(FeatureCache(cache.root)).fine
    assert go(dry_run=False).freed == 0 or budget is not None  # nothing remains to be removed


def _content(cache: FeatureCache, feature: Fingerprint) -> dict[str, Row]:
    return content(cache, feature) if cache.folder(feature).exists() else {}


def test_a_linked_folder_of_a_feature_is_left_alone(tmp_path: Path) -> None:
    """A stranger's cache may link to a folder whose .h5 files are no shards."""
    cache = FeatureCache(tmp_path / "cache")
    fill(cache)
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("data.h5", "fingerprint.json", ".0.vm.1.tmp"):
        (outside / name).write_text("precious")
    link = cache.root / f"ramp-{'0' * 32}"
    link.symlink_to(outside)
    collect(cache, {}, older_than=timedelta(0))
    drop(cache, verify(cache))
    assert len(list(outside.iterdir())) == 3
    assert [problem.path for problem in cache.problems] == [link]
