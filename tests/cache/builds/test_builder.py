from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import Ramp, array_of, fingerprint, items
from places import with_helpers

from fusion.cache import FeatureCache, Fingerprint, Item, build
from fusion.cache.builds import dispatch as dispatch_module
from fusion.cache.builds import work as work_module
from fusion.cache.builds.progress import Progress
from fusion.cache.builds.work import FileState, chunk_size
from fusion.cache.shards import files as files_module
from fusion.cache.shards.claims import Claims
from fusion.cache.shards.shard import Shard
from fusion.core.contracts.errors import CacheError, StorageError

both = pytest.mark.parametrize("jobs", [1, 2])
several = pytest.mark.skipif(os.name != "posix", reason="kills processes")


def stored(cache: FeatureCache, feature: Fingerprint, numbers: list[int]) -> None:
    """Check that the cache holds exactly the right arrays of these numbers."""
    keys = [f"key{n:04d}" for n in numbers]
    found = FeatureCache(cache.root).open(feature, keys, verify="always").load()
    np.testing.assert_array_equal(found, np.stack([array_of(n, feature.shape) for n in numbers]))


def shards(cache: FeatureCache, feature: Fingerprint) -> list[Shard]:
    return [Shard.open(path) for path in sorted(cache.folder(feature).glob("*.h5"))]


@both
def test_only_what_is_missing_is_computed(cache: FeatureCache, jobs: int) -> None:
    one, two = fingerprint("one"), fingerprint("two")
    report = build(cache, [(Ramp(one), items(20))], jobs=jobs)
    assert (report.computed, report.present, report.failures) == (20, 0, [])
    before = {path.name for path in cache.folder(one).iterdir()}

    report = build(cache, [(Ramp(one), items(50)), (Ramp(two), items(50))], jobs=jobs)
    assert (report.computed, report.present, report.failures) == (80, 20, [])
    assert report.seconds > 0
    stored(cache, one, list(range(50)))
    stored(cache, two, list(range(50)))
    assert before <= {path.name for path in cache.folder(one).iterdir()}
    counts = Counter(key for shard in shards(cache, one) for key in shard.keys)
    assert set(counts.values()) == {1}

    report = build(cache, [(Ramp(one, bad=(3,)), items(50))], jobs=jobs)
    assert (report.computed, report.present, report.failures) == (0, 50, [])


@both
def test_one_key_is_computed_once(cache: FeatureCache, jobs: int) -> None:
    twice = [*items(10), *items(10)]
    report = build(cache, [(Ramp(fingerprint()), twice), (Ramp(fingerprint()), twice)], jobs=jobs)
    assert (report.computed, report.present) == (10, 0)
    assert sum(len(shard.keys) for shard in shards(cache, fingerprint())) == 10


@both
def test_failures_are_listed_and_the_rest_goes_on(cache: FeatureCache, jobs: int) -> None:
    computation = Ramp(fingerprint(), bad=(3, 17), misshapen=(5,))
    report = build(cache, [(computation, items(30))], jobs=jobs)
    assert report.computed == 27
    by_source = {failure.source: failure for failure in report.failures}
    assert sorted(by_source) == [3, 5, 17]
    assert by_source[3].reason == "ValueError: number 3 is bad"
    assert (by_source[3].feature, by_source[3].key) == ("ramp", "key0003")
    assert "this one is float32 of shape (7,)" in by_source[5].reason
    stored(cache, fingerprint(), [n for n in range(30) if n not in by_source])
    # What failed is missing, so it is tried again.
    assert build(cache, [(Ramp(fingerprint()), items(30))], jobs=jobs).computed == 3


@both
def test_strict_stops_at_the_first_failure(cache: FeatureCache, jobs: int) -> None:
    with pytest.raises(CacheError, match="'ramp' of 12: ValueError: number 12 is bad"):
        build(cache, [(Ramp(fingerprint(), bad=(12,)), items(400))], jobs=jobs, strict=True)
    if jobs == 1:  # chunks of 50: what came before in the chunk is kept
        stored(cache, fingerprint(), list(range(12)))


@both
def test_progress(cache: FeatureCache, jobs: int) -> None:
    seen: list[Progress] = []
    work = [(Ramp(fingerprint("one"), bad=(3,)), items(40)), (Ramp(fingerprint("two")), items(9))]
    build(cache, work, jobs=jobs, on_progress=seen.append)
    assert seen[0] == Progress("", 0, 49, 0)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].failed) == (49, 49, 1)
    assert {p.feature for p in seen[1:]} == {"one", "two"}
    seen.clear()
    build(cache, work[1:], jobs=jobs, on_progress=seen.append)
    assert seen == [Progress("", 0, 0, 0)]


@pytest.mark.parametrize(
    ("missing", "shape", "jobs", "size"),
    [
        (5, (10,), 2, 8),  # few: one chunk
        (1440, (10,), 2, 90),  # 8 chunks for each worker
        (1440, (10,), 64, 8),  # at least 8 items
        (100_000, (10,), 2, 256),  # at most 256 items
        (100_000, (1, 128, 256), 2, 256),  # 32 MiB
        (100_000, (4, 128, 256), 2, 128),  # at most 64 MiB
        (100, (64, 1024, 1024), 2, 1),  # one alone is larger than that
    ],
)
def test_chunk_size(missing: int, shape: tuple[int, ...], jobs: int, size: int) -> None:
    feature = Fingerprint("x", "1", {}, "float32", shape, {})
    assert chunk_size(missing, feature, jobs) == size


def test_what_an_item_took_is_kept(cache: FeatureCache) -> None:
    build(cache, [(Ramp(fingerprint(), delay=0.01), items(8))], jobs=1)
    (info,) = cache.info()
    assert 0.08 <= info.seconds < 2


def test_no_work(cache: FeatureCache) -> None:
    report = build(cache, [(Ramp(fingerprint()), [])])
    assert (report.computed, report.present, report.failures) == (0, 0, [])
    assert not cache.root.exists()
    with pytest.raises(CacheError, match="at least 1 job"):
        build(cache, [], jobs=0)


def test_items_can_be_anything(cache: FeatureCache) -> None:
    class Doubles:
        fingerprint = Fingerprint("double", "1", {}, "int64", (), {})

        def compute(self, source: Any) -> Any:
            return np.int64(2 * source["n"])

    build(cache, [(Doubles(), [Item("a", {"n": 4})])], jobs=1)
    assert cache.open(Doubles.fingerprint, ["a"]).load().tolist() == [8]


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
    assert len(shards(cache, fingerprint())) == 2  # the first name was fingerprint.json's
    report = build(cache, [(Ramp(fingerprint()), items(100))], jobs=1)
    assert (report.computed, report.present) == (100 - 26, 26)


@both
def test_a_disk_that_is_full_for_real(small_disk: Path, jobs: int) -> None:
    """1 MiB for 40 arrays of 64 KiB: some shards fit, then an error; with room the rest follows."""
    big = Fingerprint("big", "1", {}, "float32", (128, 128), {})
    cache = FeatureCache(small_disk)
    with pytest.raises(StorageError, match="No space left") as caught:
        build(cache, [(Ramp(big), items(40))], jobs=jobs)
    assert "what is finished stays" in str(caught.value)
    there = 40 - len(cache.missing(big, [item.key for item in items(40)]))
    assert there in (8, 16)  # shards of 8
    folder = cache.folder(big)
    assert list(folder.glob(".*")) == list((folder / "claims").iterdir()) == []
    if os.system(f"mount -o remount,size=8m '{small_disk}'") == 0:
        report = build(cache, [(Ramp(big), items(40))], jobs=jobs)
        assert (report.computed, report.present) == (40 - there, there)
        stored(cache, big, list(range(40)))


def test_a_folder_that_may_only_be_read(small_disk: Path) -> None:
    """What is there can be used, what is missing says why it can't be computed."""
    cache = FeatureCache(small_disk)
    build(cache, [(Ramp(fingerprint()), items(10))], jobs=1)
    assert os.system(f"mount -o remount,ro '{small_disk}'") == 0
    report = build(cache, [(Ramp(fingerprint()), items(10))], jobs=1)
    assert (report.computed, report.present) == (0, 10)
    with pytest.raises(StorageError, match="Read-only file system"):
        build(cache, [(Ramp(fingerprint()), items(12))], jobs=1)
    stored(cache, fingerprint(), list(range(10)))


def test_workers_pass_storage_errors_on(cache: FeatureCache) -> None:
    folder = cache.prepare(fingerprint())

    def block(progress: Progress) -> None:
        if progress.done == 0:  # after planning
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            folder.write_text("in the way")

    with pytest.raises(StorageError, match="exists|Not a directory") as caught:
        build(cache, [(Ramp(fingerprint()), items(40))], jobs=2, on_progress=block)
    assert "FUSION_CACHE" in str(caught.value)


def test_what_is_known_of_an_item_is_stored(cache: FeatureCache) -> None:
    item = Item("a", 3, origin="/speech/3.wav", group="talks")
    build(cache, [(Ramp(fingerprint()), [item])], jobs=1)
    (shard,) = shards(cache, fingerprint())
    (entry,) = shard.entries([0])
    assert (entry.key, entry.origin, entry.group) == ("a", "/speech/3.wav", "talks")
    assert cache.info()[0].groups == {"talks": 1}


def test_what_was_removed_between_two_builds_is_computed_again(cache: FeatureCache) -> None:
    for _ in range(3):
        report = build(cache, [(Ramp(fingerprint()), items(30))], jobs=1)
        assert report.computed == 30
        for shard in shards(cache, fingerprint()):
            shard.path.unlink()


def test_a_shard_that_was_long_in_writing_is_seen(cache: FeatureCache) -> None:
    """Another builder began it before our plan and finished it after: its time is older than
    that of shards which were there."""
    done = []

    def finish(progress: Progress) -> None:
        if progress.done == 0:
            cache.add(fingerprint(), ["key0005"], [array_of(5)])
            for shard in shards(cache, fingerprint()):
                os.utime(shard.path, (1000, 1000))
            done.append(progress)

    build(cache, [(Ramp(fingerprint()), items(10, first=50))], jobs=1)
    report = build(cache, [(Ramp(fingerprint()), items(20))], jobs=1, on_progress=finish)
    assert done
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
    assert "was changed while this build went on" in report.failures[0].reason
    assert cache.missing(Reads.fingerprint, ["a", "b"]) == ["a"]
    assert FileState.of(tmp_path / "nothing") is None


@pytest.mark.parametrize("key", ["é", "", "a\0", 1])
def test_a_key_that_is_none_is_refused_before_anything_is_computed(key: Any) -> None:
    with pytest.raises(CacheError, match="ASCII"):
        Item(key, 1)


def test_a_long_chunk_is_written_in_parts(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_module, "_MAX_SECONDS", 0.05)
    report = build(cache, [(Ramp(fingerprint(), delay=0.02), items(8))], jobs=1)
    assert report.computed == 8
    assert 2 <= len(shards(cache, fingerprint())) <= 4
    stored(cache, fingerprint(), list(range(8)))


def test_a_computation_that_wants_to_end_the_process_is_a_failure(cache: FeatureCache) -> None:
    class Exits:
        fingerprint = Fingerprint("x", "1", {}, "int64", (), {})

        def compute(self, source: Any) -> Any:
            raise SystemExit(3)

    report = build(cache, [(Exits(), [Item("a", 1)])], jobs=1)
    assert report.failures[0].reason == "SystemExit: 3"


# -- beside each other ---------------------------------------------------------------


def test_parts_are_everything_once(tmp_path: Path) -> None:
    seen: list[str] = []
    for number in (1, 2, 3):
        cache = FeatureCache(tmp_path / str(number))
        # In another order: the parts depend on the keys alone.
        report = build(cache, [(Ramp(fingerprint()), items(50)[::-1])], jobs=1, part=(number, 3))
        keys = [key for shard in shards(cache, fingerprint()) for key in shard.keys]
        assert report.computed == len(keys) in (16, 17)
        seen += keys
    assert sorted(seen) == [item.key for item in items(50)]


def test_parts_of_what_is_half_there(cache: FeatureCache) -> None:
    build(cache, [(Ramp(fingerprint()), items(20))], jobs=1)
    reports = [
        build(cache, [(Ramp(fingerprint()), items(50))], jobs=1, part=(n, 2)) for n in (1, 2)
    ]
    assert sum(report.computed for report in reports) == 30
    assert sum(report.present for report in reports) == 20


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (0, 0), (-1, 1)])
def test_parts_that_do_not_exist(cache: FeatureCache, part: tuple[int, int]) -> None:
    with pytest.raises(CacheError, match="count from 1 to n"):
        build(cache, [], part=part)


def test_what_another_machine_computes_is_waited_for(cache: FeatureCache) -> None:
    """It claims an item, and writes it while we are done with the rest."""
    cache.prepare(fingerprint())
    with Claims(cache.folder(fingerprint())) as theirs:
        theirs.take("key0005")
        for path in (cache.folder(fingerprint()) / "claims").iterdir():
            path.write_text("elsewhere 1\n")

        def finish() -> None:
            time.sleep(0.5)
            FeatureCache(cache.root).add(fingerprint(), ["key0005"], [array_of(5)])

        with ThreadPoolExecutor() as pool:
            done = pool.submit(finish)
            report = build(cache, [(Ramp(fingerprint(), bad=(5,)), items(20))], jobs=1)
            done.result()
    assert (report.computed, report.present, report.failures) == (19, 1, [])
    stored(cache, fingerprint(), list(range(20)))


def test_what_another_builder_gives_up_is_ours(cache: FeatureCache) -> None:
    cache.prepare(fingerprint())
    theirs = Claims(cache.folder(fingerprint()))
    theirs.take("key0005")
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: (time.sleep(0.3), theirs.__exit__()))
        report = build(cache, [(Ramp(fingerprint()), items(20))], jobs=1)
    assert (report.computed, report.present) == (20, 0)
    stored(cache, fingerprint(), list(range(20)))


# -- deaths --------------------------------------------------------------------------


@several
def test_an_item_that_kills_its_worker(cache: FeatureCache) -> None:
    computation = Ramp(fingerprint(), deadly=(7, 30))
    report = build(cache, [(computation, items(60))], jobs=2)
    assert sorted(failure.source for failure in report.failures) == [7, 30]
    assert "died, twice" in report.failures[0].reason
    # A chunk may be written by a worker that goes with the pool before it could say so: looked
    # for again, it is there.
    assert report.computed + report.present == 58
    stored(cache, fingerprint(), [n for n in range(60) if n not in (7, 30)])


@several
def test_workers_that_keep_dying_end_the_build(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "_MAX_DEATHS", 2)
    with pytest.raises(CacheError, match="died 3 times") as caught:
        build(cache, [(Ramp(fingerprint(), deadly=tuple(range(60))), items(60))], jobs=2)
    assert "fewer jobs" in str(caught.value)


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fusion.cache import FeatureCache, build\n"
        "from fusion.core.contracts.errors import CacheError\n"
        "from cache_computations import Ramp, fingerprint, items\n"
        "import sys\n"
        "work = [(Ramp(fingerprint()), items(3))]\n"
        "try:\n"
        "    build(FeatureCache(sys.argv[1]), work, jobs=2)\n"
        "except CacheError as error:\n"
        "    print(error)\n"
    )
    result = run_script(script, str(tmp_path / "cache"))
    assert "__name__ == '__main__'" in result.stdout


def run_script(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=with_helpers(),
        capture_output=True,
        text=True,
        timeout=60,
    )
