"""Computing chunks of items, one by one or in batches, with the same result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_builds import shards, stored
from cache_computations import Batched, Ramp, array_of, fingerprint, items
from hypothesis import given
from hypothesis import strategies as st

from fusion.cache import FeatureCache, Fingerprint, Item, Workers, build
from fusion.cache.builds import work as work_module
from fusion.cache.builds.progress import Progress
from fusion.cache.builds.work import FileState, batch_of, chunk_size, processes_of
from fusion.cache.shards.rows import most_items
from fusion.core.contracts.errors import CacheError

several = pytest.mark.skipif(os.name != "posix", reason="kills processes")


def batches(log: Path) -> list[tuple[int, list[int]]]:
    """Return the process and the sources of each batch or single item in the log."""
    lines = (line.partition(":") for line in log.read_text().splitlines())
    return [(int(pid), list(map(int, numbers.split()))) for pid, _, numbers in lines]


def test_batches_have_the_same_content_and_keys_as_single_items(
    cache: FeatureCache, on: Workers
) -> None:
    report = build(cache, [(Batched(fingerprint()), items(30))], on=on)
    assert (report.computed, report.present, report.failures) == (30, 0, [])
    stored(cache, list(range(30)))
    # A build without batches finds every item present.
    assert build(cache, [(Ramp(fingerprint()), items(30))], jobs=1).present == 30


def test_all_batches_but_the_last_are_full(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    build(cache, [(Batched(fingerprint(), batch=5, log=str(log)), items(23))], jobs=1)
    assert [numbers for _, numbers in batches(log)] == [
        list(range(start, min(start + 5, 23))) for start in range(0, 23, 5)
    ]


def test_present_items_are_not_part_of_batches(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    build(cache, [(Ramp(fingerprint()), items(3, first=2))], jobs=1)
    build(cache, [(Batched(fingerprint(), log=str(log)), items(8))], jobs=1)
    # The last item is alone, and computed without a batch.
    assert log.read_text().splitlines() == [f"{os.getpid()}: 0 1 5 6", "7"]
    stored(cache, list(range(8)))


def test_one_bad_item_fails_alone(cache: FeatureCache, on: Workers) -> None:
    computation = Batched(fingerprint(), bad=(3, 17), misshapen=(5,), absent=(6,))
    report = build(cache, [(computation, items(30))], on=on)
    reasons = {failure.source: failure.reason for failure in report.failures}
    assert sorted(reasons) == [3, 5, 17]
    assert reasons[3] == "ValueError: number 3 is bad"
    assert "this one is float32 of shape (7,)" in reasons[5]
    assert [(item.source, item.reason) for item in report.absent] == [(6, "number 6 has none")]
    stored(cache, [n for n in range(30) if n not in (3, 5, 6, 17)])


def test_a_batch_that_fails_is_computed_one_by_one(cache: FeatureCache, on: Workers) -> None:
    report = build(cache, [(Batched(fingerprint(), explosive=(9,)), items(30))], on=on)
    (failure,) = report.failures
    assert (failure.source, failure.reason) == (9, "MemoryError: number 9 is too large")
    stored(cache, [n for n in range(30) if n != 9])


def test_a_batch_of_the_wrong_length_is_computed_one_by_one(cache: FeatureCache) -> None:
    """The arrays can't be assigned to the items."""
    assert build(cache, [(Batched(fingerprint(), short=True), items(10))], jobs=1).computed == 10
    stored(cache, list(range(10)))


@several
def test_a_process_that_dies_in_a_batch_fails_one_item(cache: FeatureCache) -> None:
    report = build(cache, [(Batched(fingerprint(), deadly=(2,)), items(12))], jobs=2)
    assert [failure.source for failure in report.failures] == [2]
    assert "died" in report.failures[0].reason
    stored(cache, [n for n in range(12) if n != 2])


def test_strict_keeps_items_before_the_failure(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="'ramp' of 6: ValueError: number 6 is bad"):
        build(cache, [(Batched(fingerprint(), bad=(6,)), items(12))], jobs=1, strict=True)
    stored(cache, list(range(6)))


@several
def test_a_computation_limited_to_one_process(cache: FeatureCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    alone = Batched(fingerprint(), delay=0.01, processes=1, log=str(log))
    report = build(cache, [(alone, items(64)), (Ramp(fingerprint("free")), items(64))], jobs=2)
    assert (report.computed, report.failures) == (128, [])
    (process,) = {pid for pid, _ in batches(log)}
    assert process != os.getpid()  # another process, so that its memory is freed afterwards
    stored(cache, list(range(64)))


@pytest.mark.parametrize(
    ("missing", "workers", "batch", "size"),
    [
        (5, 2, 8, 8),  # few items: one batch
        (5, 2, 32, 32),
        (1440, 2, 16, 96),  # 90 items per chunk are fair, and six batches are at least as many
        (1440, 1, 16, 192),
        (100_000, 2, 24, 240),  # at most 256 items, in whole batches
        (100_000, 2, 1000, 256),  # as many items of a batch as fit
    ],
)
def test_chunks_are_multiples_of_batches(missing: int, workers: int, batch: int, size: int) -> None:
    feature = Fingerprint("x", "1", {}, "float32", (10,), {})
    assert chunk_size(missing, feature, workers, batch) == size


@given(
    missing=st.integers(1, 10**6),
    workers=st.integers(1, 200),
    batch=st.integers(1, 1000),
    values=st.integers(1, 10**7),
)
def test_chunks_have_at_least_one_item_and_fit(
    missing: int, workers: int, batch: int, values: int
) -> None:
    feature = Fingerprint("x", "1", {}, "float32", (values,), {})
    size = chunk_size(missing, feature, workers, batch)
    assert 1 <= size <= most_items(feature)
    assert size % batch == 0 or size == most_items(feature)


def test_defaults_of_batch_and_processes() -> None:
    assert (batch_of(Ramp(fingerprint())), processes_of(Ramp(fingerprint()))) == (1, None)
    batched = Batched(fingerprint(), batch=7, processes=3)
    assert (batch_of(batched), processes_of(batched)) == (7, 3)


@pytest.mark.parametrize(
    ("missing", "shape", "jobs", "size"),
    [
        (5, (10,), 2, 8),  # few items: one chunk
        (1440, (10,), 2, 90),  # 8 chunks for each worker
        (1440, (10,), 64, 8),  # at least 8 items
        (100_000, (10,), 2, 256),  # at most 256 items
        (100_000, (1, 128, 256), 2, 256),  # 32 MiB
        (100_000, (4, 128, 256), 2, 128),  # at most 64 MiB
        (100, (64, 1024, 1024), 2, 1),  # a single item is larger
    ],
)
def test_chunk_size(missing: int, shape: tuple[int, ...], jobs: int, size: int) -> None:
    feature = Fingerprint("x", "1", {}, "float32", shape, {})
    assert chunk_size(missing, feature, jobs) == size


def test_the_seconds_of_items_are_stored(cache: FeatureCache) -> None:
    build(cache, [(Ramp(fingerprint(), delay=0.01), items(8))], jobs=1)
    (info,) = cache.info()
    assert 0.08 <= info.seconds < 2


def test_sources_of_items_can_have_any_type(cache: FeatureCache) -> None:
    class Doubles:
        fingerprint = Fingerprint("double", "1", {}, "int64", (), {})

        def compute(self, source: Any) -> Any:
            return np.int64(2 * source["n"])

    build(cache, [(Doubles(), [Item("a", {"n": 4})])], jobs=1)
    assert cache.open(Doubles.fingerprint, ["a"]).load().tolist() == [8]


def test_origin_and_group_of_an_item_are_stored(cache: FeatureCache) -> None:
    item = Item("a", 3, origin="/speech/3.wav", group="talks")
    build(cache, [(Ramp(fingerprint()), [item])], jobs=1)
    (shard,) = shards(cache, fingerprint())
    (entry,) = shard.entries([0])
    assert (entry.key, entry.origin, entry.group) == ("a", "/speech/3.wav", "talks")
    assert cache.info()[0].groups == {"talks": 1}


def test_a_shard_with_an_old_time_is_found(cache: FeatureCache) -> None:
    """Another builder starts a shard before this build is planned, and finishes it afterwards.

    The modification time of the shard is older than that of present shards.
    """
    finished = []

    def finish(progress: Progress) -> None:
        if progress.done == 0:
            cache.add(fingerprint(), ["key0005"], [array_of(5)])
            for shard in shards(cache, fingerprint()):
                os.utime(shard.path, (1000, 1000))
            finished.append(progress)

    build(cache, [(Ramp(fingerprint()), items(10, first=50))], jobs=1)
    report = build(cache, [(Ramp(fingerprint()), items(20))], jobs=1, on_progress=finish)
    assert finished
    assert (report.computed, report.present) == (19, 1)


def test_a_file_that_changes_during_the_build_is_a_failure(
    cache: FeatureCache, tmp_path: Path
) -> None:
    source = tmp_path / "speech.wav"
    source.write_bytes(b"before")
    state = FileState.of(source)

    class Reads:
        fingerprint = Fingerprint("size", "1", {}, "int64", (), {})

        def compute(self, path: Path) -> Any:
            if path.name == "speech.wav":
                path.write_bytes(b"after that")
            return np.int64(path.stat().st_size)

    other = Item("b", Path(__file__), file=FileState.of(Path(__file__)))
    report = build(cache, [(Reads(), [Item("a", source, file=state), other])], jobs=1)
    assert report.computed == 1
    assert "was changed during this build" in report.failures[0].reason
    assert cache.missing(Reads.fingerprint, ["a", "b"]) == ["a"]
    assert FileState.of(tmp_path / "nothing") is None


@pytest.mark.parametrize("key", ["é", "", "a\0", 1])
def test_an_invalid_key_is_refused_before_computing(key: Any) -> None:
    with pytest.raises(CacheError, match="ASCII"):
        Item(key, 1)


def test_a_long_chunk_is_written_in_parts(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_module, "_MAX_SECONDS", 0.05)
    report = build(cache, [(Ramp(fingerprint(), delay=0.02), items(8))], jobs=1)
    assert report.computed == 8
    assert 2 <= len(shards(cache, fingerprint())) <= 4
    stored(cache, list(range(8)))


def test_a_computation_that_exits_is_a_failure(cache: FeatureCache) -> None:
    class Exits:
        fingerprint = Fingerprint("x", "1", {}, "int64", (), {})

        def compute(self, source: Any) -> Any:
            raise SystemExit(3)

    report = build(cache, [(Exits(), [Item("a", 1)])], jobs=1)
    assert report.failures[0].reason == "SystemExit: 3"
