"""Builds with dying workers, and beside other builders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cache_builds import stored
from cache_computations import DeadOnArrival, Ramp, array_of, fingerprint, items
from places import with_helpers

from fusion.cache import FeatureCache, build
from fusion.cache.builds import dispatch as dispatch_module
from fusion.cache.builds.progress import Progress
from fusion.cache.shards.claims import Claims
from fusion.core.contracts.errors import CacheError, StorageError

several = pytest.mark.skipif(os.name != "posix", reason="kills processes")


def test_workers_report_storage_errors(cache: FeatureCache) -> None:
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


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], object]]:
    """Functions to call in the n-th pause of a builder that waits for others, without sleeping."""
    then: dict[int, Callable[[], object]] = {}
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert seconds == min(0.05 * 2 ** (len(slept) - 1), 2.0)
        assert len(slept) <= max(then)  # no further pauses
        then.get(len(slept), lambda: None)()

    monkeypatch.setattr(dispatch_module, "time", SimpleNamespace(sleep=sleep))
    return then


def test_a_build_waits_for_items_of_another_machine(
    cache: FeatureCache, pauses: dict[int, Callable[[], object]]
) -> None:
    """The other machine claims an item and writes it while this build computes the other items."""
    cache.prepare(fingerprint())
    with Claims(cache.folder(fingerprint())) as theirs:
        theirs.take("key0005")
        for path in (cache.folder(fingerprint()) / "claims").iterdir():
            path.write_text("elsewhere 1\n")
        pauses[8] = lambda: FeatureCache(cache.root).add(fingerprint(), ["key0005"], [array_of(5)])
        report = build(cache, [(Ramp(fingerprint(), bad=(5,)), items(20))], jobs=1)
    assert (report.computed, report.present, report.failures) == (19, 1, [])
    stored(cache, list(range(20)))


def test_a_claim_released_by_another_builder_is_taken_over(
    cache: FeatureCache, pauses: dict[int, Callable[[], object]]
) -> None:
    cache.prepare(fingerprint())
    theirs = Claims(cache.folder(fingerprint()))
    theirs.take("key0005")
    pauses[3] = theirs.__exit__
    report = build(cache, [(Ramp(fingerprint()), items(20))], jobs=1)
    assert (report.computed, report.present) == (20, 0)
    stored(cache, list(range(20)))


# -- deaths --------------------------------------------------------------------------


@several
def test_an_item_that_kills_its_worker_is_a_failure(cache: FeatureCache) -> None:
    computation = Ramp(fingerprint(), deadly=(7, 30))
    report = build(cache, [(computation, items(60))], jobs=2)
    assert sorted(failure.source for failure in report.failures) == [7, 30]
    assert "died twice" in report.failures[0].reason
    # A worker may write a chunk and end with the pool before it reports the chunk. The build then
    # finds these items present.
    assert report.computed + report.present == 58
    stored(cache, [n for n in range(60) if n not in (7, 30)])


@several
def test_workers_that_keep_dying_end_the_build(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "_MAX_DEATHS", 2)
    with pytest.raises(CacheError, match="died 3 times") as caught:
        build(cache, [(Ramp(fingerprint(), deadly=tuple(range(60))), items(60))], jobs=2)
    assert "fewer jobs" in str(caught.value)


@several
def test_workers_that_die_before_they_claim_anything_end_the_build(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers did start, but the number of deaths is limited."""
    monkeypatch.setattr(dispatch_module, "_MAX_DEATHS", 1)
    with pytest.raises(CacheError, match="died 2 times; the last one while computing 'ramp' of 0"):
        build(cache, [(DeadOnArrival(fingerprint()), items(60))], jobs=2)


def test_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fusion.cache import FeatureCache, build\n"
        "from fusion.core.contracts.errors import CacheError\n"
        "from cache_computations import DeadOnArrival, Ramp, fingerprint, items\n"
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
