from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cache_upkeep import age, fill

from fusion.cache import FeatureCache
from fusion.cache.shards import usage
from fusion.cache.shards.usage import Marks, last_used, undisturbed

HOUR = 3600.0
ODD = 1_600_000_000_123_456_789  # nanoseconds that change with any rounding


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    path.write_bytes(b"x")
    os.utime(path, ns=(ODD, ODD))
    return path


def test_marking_does_not_change_the_modification_time(path: Path) -> None:
    Marks().mark([path])
    assert path.stat().st_mtime_ns == ODD
    assert abs(last_used(path) - time.time()) < 5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that always shows ``now``."""
    clock = SimpleNamespace(now=2e9)
    monkeypatch.setattr(usage, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def test_a_mark_is_set_once_per_hour(path: Path, clock: SimpleNamespace) -> None:
    marks = Marks()
    marks.mark([path])
    assert last_used(path) == clock.now == 2e9
    clock.now += HOUR
    for fresh in (marks, Marks()):  # with the time in memory, and with that of the file
        fresh.mark([path])
        assert last_used(path) == 2e9
    clock.now += 1
    marks.mark([path])
    assert last_used(path) == clock.now
    os.utime(path, ns=(ODD, ODD))  # by another process
    marks.mark([path])
    assert path.stat().st_atime_ns == ODD  # the time in memory is used
    Marks().mark([path])
    assert last_used(path) == clock.now
    assert path.stat().st_mtime_ns == ODD


def test_a_recent_mark_of_another_process_is_sufficient(path: Path, clock: SimpleNamespace) -> None:
    theirs = int((clock.now - 0.5 * HOUR) * 1e9)
    os.utime(path, ns=(theirs, ODD))
    Marks().mark([path])
    assert path.stat().st_atime_ns == theirs


def test_a_missing_file_does_not_prevent_other_marks(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    Marks().mark([missing, path])
    assert not missing.exists()
    assert time.time() - last_used(path) < 5
    with pytest.raises(FileNotFoundError):
        last_used(missing)


def test_files_created_or_deleted_during_reading(path: Path, tmp_path: Path) -> None:
    with undisturbed(path):
        path.unlink()
    assert not path.exists()
    new = tmp_path / "new"
    with undisturbed(new):
        new.touch()
        os.utime(new, ns=(ODD, ODD))
    assert (new.stat().st_atime_ns, new.stat().st_mtime_ns) == (ODD, ODD)


def test_a_modification_during_reading_is_kept(path: Path) -> None:
    with undisturbed(path):
        os.utime(path, ns=(ODD + 10**18, ODD + 5))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (ODD, ODD + 5)


def test_reading_undisturbed_does_not_count_as_use(path: Path) -> None:
    with pytest.raises(OSError, match="by the reader"), undisturbed(path):
        os.utime(path, ns=(ODD + 10**18, ODD))
        raise OSError("by the reader")
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (ODD, ODD)


def test_the_later_of_both_times_counts(path: Path) -> None:
    os.utime(path, ns=(3 * 10**9, 5 * 10**9))
    assert last_used(path) == 5.0
    os.utime(path, ns=(8 * 10**9, 5 * 10**9))
    assert last_used(path) == 8.0


def test_missing_and_open_mark_only_the_shards_they_need(tmp_path: Path) -> None:
    feature = fill(FeatureCache(tmp_path), shards=3)
    cache = FeatureCache(tmp_path)
    shards = {next(iter(s.keys)): s.path for s in cache.shards(feature)}
    for use, key in ((cache.missing, "key0000"), (cache.open, "key0010")):
        for path in shards.values():
            age(path, 5 * HOUR)
        times = {path: path.stat().st_mtime_ns for path in shards.values()}
        FeatureCache(tmp_path).index(feature)
        use(feature, [key])
        lately = {first for first, path in shards.items() if time.time() - last_used(path) < HOUR}
        assert lately == {key}
        assert {path: path.stat().st_mtime_ns for path in shards.values()} == times
        assert FeatureCache(tmp_path).catalogue(feature).fresh == 0  # the index is still valid
