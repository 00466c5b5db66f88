"""Choice of the items to remove: by age, for a budget, and never in unreadable folders."""

from __future__ import annotations

import math
import time
from datetime import timedelta

import pytest
from cache_computations import array_of
from cache_gc import ANY, DAY, KEYS, by_age, kept, size, used_over_days
from cache_upkeep import age, files, fill

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.upkeep.gc import collect
from fusion.cache.upkeep.gc_plan import Bounds, make_plan


@pytest.fixture
def feature(cache: FeatureCache) -> Fingerprint:
    """A feature with four shards of ten items, last used 4, 3, 2 and 1 days ago."""
    return used_over_days(cache)


def test_items_are_removed_by_age(cache: FeatureCache, feature: Fingerprint) -> None:
    report = collect(cache, {}, older_than=timedelta(days=2.5))
    (one,) = report.features
    assert (one.removed, one.shards, one.rewritten, one.unreferenced) == (20, 2, 0, 20)
    assert kept(cache, feature) == KEYS[20:]
    assert report.before - report.freed == size(cache)


def test_a_budget_removes_the_least_recently_used_items_first(
    cache: FeatureCache, feature: Fingerprint
) -> None:
    newer = sum(shard.file.size for shard in by_age(cache, feature)[2:])
    report = collect(cache, {}, max_bytes=size(cache))
    assert report.freed == 0
    report = collect(cache, {}, max_bytes=newer)
    assert kept(cache, feature) == KEYS[20:]
    assert size(cache) == newer and report.missed == 0
    collect(cache, {}, max_bytes=newer - 1)
    assert kept(cache, feature) == KEYS[30:]


def test_use_counts_rather_than_creation(cache: FeatureCache, feature: Fingerprint) -> None:
    cache.open(feature, KEYS[:1])  # an item of the oldest shard
    collect(cache, {}, max_bytes=size(cache) - 1)
    assert kept(cache, feature) == [*KEYS[:10], *KEYS[20:]]
    collect(cache, {}, older_than=timedelta(days=1.5))
    assert kept(cache, feature) == [*KEYS[:10], *KEYS[30:]]
    collect(cache, {}, older_than=timedelta(hours=12))
    assert kept(cache, feature) == KEYS[:10]


def test_a_budget_spares_the_last_hour(cache: FeatureCache, feature: Fingerprint) -> None:
    cache.open(feature, [KEYS[0], KEYS[10]])
    report = collect(cache, {}, max_bytes=0)
    assert kept(cache, feature) == KEYS[:20]
    assert report.missed == size(cache) > 0
    report = collect(cache, {}, max_bytes=0, older_than=ANY)
    assert (kept(cache, feature), report.missed) == ([], 0)


def test_a_budget_below_the_referenced_items(cache: FeatureCache, feature: Fingerprint) -> None:
    report = collect(cache, {feature.id: KEYS[5:]}, max_bytes=1000)
    assert kept(cache, feature) == KEYS[5:]
    (one,) = report.features
    assert (one.removed, one.rewritten) == (5, 1)
    assert report.missed == report.before - report.freed - 1000 == one.referenced_bytes - 1000


def test_age_and_budget_together(cache: FeatureCache, feature: Fingerprint) -> None:
    """Items that are too old are removed first; the budget then applies to the remaining items."""
    newer = sum(shard.file.size for shard in by_age(cache, feature)[2:])
    collect(cache, {}, older_than=timedelta(days=3.5), max_bytes=newer)
    assert kept(cache, feature) == KEYS[20:]


def test_a_feature_without_a_description_is_kept(cache: FeatureCache, feature: Fingerprint) -> None:
    described = cache.folder(feature) / "fingerprint.json"
    for path in (described, *described.parent.glob("*.h5")):
        path.write_text("{")
    before = files(cache.root)
    report = collect(FeatureCache(cache.root), {}, older_than=ANY)
    assert [problem.path for problem in report.problems] == [described]
    assert files(cache.root) == before


def closing(cache: FeatureCache) -> None:
    """Let an unprivileged user work in the cache."""
    for folder in [*cache.root.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    for folder in (cache.root, *(folder for folder, _ in cache.folders())):
        folder.chmod(0o777)


@pytest.mark.parametrize("dry_run", [True, False])
def test_unreadable_folders_are_kept(
    cache: FeatureCache, feature: Fingerprint, request: pytest.FixtureRequest, dry_run: bool
) -> None:
    closed = cache.folder(fill(cache, name="a_closed"))
    closing(cache)
    closed.chmod(0o700)
    request.getfixturevalue("nobody")
    report = collect(FeatureCache(cache.root), {}, older_than=ANY, dry_run=dry_run)
    assert [problem.line for problem in report.problems] == [
        f"{closed} can't be read: Permission denied."
    ]
    assert [(one.fingerprint, one.removed) for one in report.features] == [(feature, 40)]
    assert closed.exists()


def test_a_folder_with_unreadable_claims_is_kept(
    cache: FeatureCache, feature: Fingerprint, request: pytest.FixtureRequest
) -> None:
    claims = cache.folder(feature) / "claims"
    claims.mkdir()
    closing(cache)
    claims.chmod(0o700)
    request.getfixturevalue("nobody")
    report = collect(FeatureCache(cache.root), {}, older_than=ANY)
    assert report.folders == [] and report.features[0].removed == 40
    assert (cache.folder(feature) / "fingerprint.json").exists()


def test_a_use_in_the_future_counts_as_now(cache: FeatureCache, feature: Fingerprint) -> None:
    for shard in by_age(cache, feature)[:2]:
        age(shard.path, -DAY)
    assert collect(cache, {}, older_than=timedelta(seconds=1)).features[0].removed == 20
    assert collect(cache, {}, max_bytes=0).features[0].removed == 0  # used within the hour
    assert collect(cache, {}, older_than=ANY).features[0].removed == 20


def test_listing_does_not_count_as_use(cache: FeatureCache, feature: Fingerprint) -> None:
    """Neither a collection nor `info` changes the time of the last use."""
    for _ in range(2):
        collect(cache, {feature.id: KEYS[:5]}, older_than=timedelta(days=365))
        FeatureCache(cache.root).info()
    assert time.time() - by_age(cache, feature)[0].path.stat().st_atime > 3 * DAY


def test_a_plan_changes_nothing_and_has_reasons(cache: FeatureCache, feature: Fingerprint) -> None:
    before = files(cache.root)
    bounds = Bounds.of(timedelta(days=2.5), None)
    plan = make_plan(FeatureCache(cache.root), {feature.id: KEYS[:15]}, bounds, obsolete=None)
    oldest, second, *newer = sorted(plan.shards[feature], key=lambda shard: shard.used)
    assert (oldest.referenced, oldest.going) == (list(range(10)), False)  # all items are referenced
    assert (second.referenced, second.going, second.free) == (
        list(range(5)), True, 5 * array_of(0).nbytes
    )  # fmt: skip
    assert [shard.going for shard in newer] == [False, False]  # too recently used
    assert (plan.folders, plan.problems, plan.before) == ([], [], size(cache))
    assert files(cache.root) == before


def test_bounds_of_age_and_budget() -> None:
    """A budget spares items used within an hour, or within the maximal age if shorter."""
    assert Bounds.of(None, None).by_age == -math.inf
    assert Bounds.of(None, None).max_bytes == math.inf
    for older_than, spared in ((None, 3600), (timedelta(days=1), 3600), (timedelta(seconds=5), 5)):
        bounds = Bounds.of(older_than, 7)
        assert bounds.now - bounds.for_budget == pytest.approx(spared)
        assert bounds.max_bytes == 7
    assert bounds.counted(bounds.now + 10**6) == bounds.now  # from a wrong clock
    assert bounds.counted(5.0) == 5.0
