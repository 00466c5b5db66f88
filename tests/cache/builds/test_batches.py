"""Computations that take many sources at a time: the same arrays, each failing for itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cache_computations import Batched, Ramp, array_of, fingerprint, items
from hypothesis import given
from hypothesis import strategies as st

from fusion.cache import FeatureCache, Fingerprint, build
from fusion.cache.builds.executors import open_workers
from fusion.cache.builds.work import batch_of, chunk_size, processes_of
from fusion.cache.shards.rows import most_items
from fusion.core.contracts.errors import CacheError

both = pytest.mark.parametrize("jobs", [1, 2])
several = pytest.mark.skipif(os.name != "posix", reason="kills processes")


def stored(cache: FeatureCache, numbers: list[int]) -> None:
    """Check that the cache holds exactly the right arrays of these numbers."""
    fresh = FeatureCache(cache.root)
    keys = [f"key{n:04d}" for n in numbers]
    assert sorted(k for shard in fresh.shards(fingerprint()) for k in shard.keys) == keys
    found = fresh.open(fingerprint(), keys, verify="always").load()
    np.testing.assert_array_equal(found, np.stack([array_of(n) for n in numbers]))


def batches(log: Path) -> list[tuple[int, list[int]]]:
    """Process and sources of each batch, or single, that was computed."""
    lines = (line.partition(":") for line in log.read_text().splitlines())
    return [(int(pid), list(map(int, numbers.split()))) for pid, _, numbers in lines]


@both
def test_content_and_keys_are_those_of_one_by_one(cache: FeatureCache, jobs: int) -> None:
    report = build(cache, [(Batched(fingerprint()), items(30))], jobs=jobs)
    assert (report.computed, report.present, report.failures) == (30, 0, [])
    stored(cache, list(range(30)))
    # And who computes one by one finds everything there.
    assert build(cache, [(Ramp(fingerprint()), items(30))], jobs=1).present == 30


def test_batches_are_full_but_for_the_last(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    build(cache, [(Batched(fingerprint(), batch=5, log=str(log)), items(23))], jobs=1)
    assert [numbers for _, numbers in batches(log)] == [
        list(range(start, min(start + 5, 23))) for start in range(0, 23, 5)
    ]


def test_what_is_there_takes_no_place_in_a_batch(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    build(cache, [(Ramp(fingerprint()), items(3, first=2))], jobs=1)
    build(cache, [(Batched(fingerprint(), log=str(log)), items(8))], jobs=1)
    # The last is alone, and computed as one.
    assert log.read_text().splitlines() == [f"{os.getpid()}: 0 1 5 6", "7"]
    stored(cache, list(range(8)))


@both
def test_one_bad_item_fails_alone(cache: FeatureCache, jobs: int) -> None:
    computation = Batched(fingerprint(), bad=(3, 17), misshapen=(5,), absent=(6,))
    report = build(cache, [(computation, items(30))], jobs=jobs)
    reasons = {failure.source: failure.reason for failure in report.failures}
    assert sorted(reasons) == [3, 5, 17]
    assert reasons[3] == "ValueError: number 3 is bad"
    assert "this one is float32 of shape (7,)" in reasons[5]
    assert [(item.source, item.reason) for item in report.absent] == [(6, "number 6 has none")]
    stored(cache, [n for n in range(30) if n not in (3, 5, 6, 17)])


@both
def test_a_batch_that_fails_is_computed_one_by_one(cache: FeatureCache, jobs: int) -> None:
    report = build(cache, [(Batched(fingerprint(), explosive=(9,)), items(30))], jobs=jobs)
    (failure,) = report.failures
    assert (failure.source, failure.reason) == (9, "MemoryError: number 9 is too large")
    stored(cache, [n for n in range(30) if n != 9])


def test_a_batch_of_another_length_is_computed_one_by_one(cache: FeatureCache) -> None:
    """Which array would be whose?"""
    assert build(cache, [(Batched(fingerprint(), short=True), items(10))], jobs=1).computed == 10
    stored(cache, list(range(10)))


@several
def test_a_process_that_dies_in_a_batch_costs_one_item(cache: FeatureCache) -> None:
    report = build(cache, [(Batched(fingerprint(), deadly=(2,)), items(12))], jobs=2)
    assert [failure.source for failure in report.failures] == [2]
    assert "died" in report.failures[0].reason
    stored(cache, [n for n in range(12) if n != 2])


def test_strict_keeps_what_came_before_the_failure(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="'ramp' of 6: ValueError: number 6 is bad"):
        build(cache, [(Batched(fingerprint(), bad=(6,)), items(12))], jobs=1, strict=True)
    stored(cache, list(range(6)))


@several
def test_one_process_for_who_wants_no_more(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    alone = Batched(fingerprint(), delay=0.01, processes=1, log=str(log))
    report = build(cache, [(alone, items(64)), (Ramp(fingerprint("free")), items(64))], jobs=2)
    assert (report.computed, report.failures) == (128, [])
    (process,) = {pid for pid, _ in batches(log)}
    assert process != os.getpid()  # what it holds goes with it
    stored(cache, list(range(64)))


def test_workers_of_one_machine_are_limited_and_a_cluster_is_not() -> None:
    with open_workers(jobs=4) as four:
        assert four.at_most(None) is four
        assert four.at_most(4) is four
        assert (four.at_most(2).size, four.at_most(2).width) == (2, 4)
    with open_workers(jobs=1) as one:
        assert one.at_most(1) is one


@pytest.mark.parametrize(
    ("missing", "workers", "batch", "size"),
    [
        (5, 2, 8, 8),  # few: one batch
        (5, 2, 32, 32),
        (1440, 2, 16, 96),  # 90 is fair, and six batches are not less
        (1440, 1, 16, 192),
        (100_000, 2, 24, 240),  # at most 256 items, in whole batches
        (100_000, 2, 1000, 256),  # as much of one as fits
    ],
)
def test_chunks_are_whole_batches(missing: int, workers: int, batch: int, size: int) -> None:
    feature = Fingerprint("x", "1", {}, "float32", (10,), {})
    assert chunk_size(missing, feature, workers, batch) == size


@given(
    missing=st.integers(1, 10**6),
    workers=st.integers(1, 200),
    batch=st.integers(1, 1000),
    values=st.integers(1, 10**7),
)
def test_chunks_have_at_least_an_item_and_fit(
    missing: int, workers: int, batch: int, values: int
) -> None:
    feature = Fingerprint("x", "1", {}, "float32", (values,), {})
    size = chunk_size(missing, feature, workers, batch)
    assert 1 <= size <= most_items(feature)
    assert size % batch == 0 or size == most_items(feature)


def test_who_does_not_work_in_batches_is_asked_for_one() -> None:
    assert (batch_of(Ramp(fingerprint())), processes_of(Ramp(fingerprint()))) == (1, None)
    batched = Batched(fingerprint(), batch=7, processes=3)
    assert (batch_of(batched), processes_of(batched)) == (7, 3)
