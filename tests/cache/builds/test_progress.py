"""Progress and failures of a build."""

from __future__ import annotations

from pathlib import Path

import pytest
from cache_builds import stored
from cache_computations import Ramp, fingerprint, items

from fusion.cache import FeatureCache, Workers, build
from fusion.cache.builds.progress import Failure, Progress, Tally
from fusion.cache.builds.work import Chunk, Result
from fusion.cache.shards.claims import Holder
from fusion.core.contracts.errors import CacheError

both = pytest.mark.parametrize("jobs", [1, 2])


def test_failures_are_listed_and_other_items_are_computed(cache: FeatureCache, on: Workers) -> None:
    computation = Ramp(fingerprint(), bad=(3, 17), misshapen=(5,))
    report = build(cache, [(computation, items(30))], on=on)
    assert report.computed == 27
    by_source = {failure.source: failure for failure in report.failures}
    assert sorted(by_source) == [3, 5, 17]
    assert by_source[3].reason == "ValueError: number 3 is bad"
    assert (by_source[3].feature, by_source[3].key) == ("ramp", "key0003")
    assert "this one is float32 of shape (7,)" in by_source[5].reason
    stored(cache, [n for n in range(30) if n not in by_source])
    # Failed items are missing, so the next build tries them again.
    assert build(cache, [(Ramp(fingerprint()), items(30))], on=on).computed == 3


@both
def test_strict_stops_at_the_first_failure(cache: FeatureCache, jobs: int) -> None:
    with pytest.raises(CacheError, match="'ramp' of 12: ValueError: number 12 is bad"):
        build(cache, [(Ramp(fingerprint(), bad=(12,)), items(400))], jobs=jobs, strict=True)
    if jobs == 1:  # a chunk has 50 items; those before the failure are kept
        stored(cache, list(range(12)))


def test_progress_is_reported(cache: FeatureCache, on: Workers) -> None:
    recorded: list[Progress] = []
    work = [(Ramp(fingerprint("one"), bad=(3,)), items(40)), (Ramp(fingerprint("two")), items(9))]
    build(cache, work, on=on, on_progress=recorded.append)
    assert recorded[0] == Progress("", 0, 49, 0)
    assert [p.done for p in recorded] == sorted(p.done for p in recorded)
    assert (recorded[-1].done, recorded[-1].total, recorded[-1].failed) == (49, 49, 1)
    assert {p.feature for p in recorded[1:]} == {"one", "two"}
    recorded.clear()
    build(cache, work[1:], on=on, on_progress=recorded.append)
    assert recorded == [Progress("", 0, 0, 0)]


def chunk() -> Chunk:
    return Chunk(Path("cache"), Ramp(fingerprint()), tuple(items(5)))


def test_a_tally_counts_every_item_once() -> None:
    recorded: list[Progress] = []
    tally = Tally(10, recorded.append, strict=False)
    came = Result(computed=2, failures=[(1, "bad")], absent=[(3, "none")], deferred=[4])
    tally.add(chunk(), came)
    (later,) = tally.take_deferred()
    assert [item.key for item in later.items] == ["key0004"]
    assert tally.take_deferred() == []  # only once
    tally.add(later, Result(present=1))
    assert (tally.computed, tally.present) == (2, 1)
    assert tally.failures == [Failure("ramp", "key0001", 1, "bad")]
    assert tally.absent == [Failure("ramp", "key0003", 3, "none")]
    assert recorded == [
        Progress("", 0, 10, 0),
        Progress("ramp", 4, 10, 1),  # deferred items are not counted as done
        Progress("ramp", 5, 10, 1),
    ]


def test_a_strict_tally_names_the_first_failure_after_counting() -> None:
    tally = Tally(5, None, strict=True)
    with pytest.raises(CacheError, match="Can't compute 'ramp' of 2: first") as caught:
        tally.add(chunk(), Result(computed=2, failures=[(2, "first"), (3, "second")]))
    assert "Finished items are kept" in str(caught.value)
    assert tally.computed == 2


def test_what_a_build_waits_for_is_reported_once() -> None:
    recorded: list[Progress] = []
    tally = Tally(5, recorded.append, strict=False)
    others = [Holder("elsewhere", 7, False, 600.0)]
    for _ in range(3):
        tally.wait(chunk(), others)
    tally.wait(chunk(), [])
    (waiting,) = [progress.waiting for progress in recorded if progress.waiting]
    assert waiting == (
        "waiting for 5 items of 'ramp' that process 7 on elsewhere computes; claims that are not "
        "renewed expire after 10 minutes"
    )
