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
ODD = 1_600_000_000_123_456_789  # nanoseconds that no rounding leaves alone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    path.write_bytes(b"x")
    os.utime(path, ns=(ODD, ODD))
    return path


def test_marking_leaves_the_time_of_change_to_the_nanosecond(path: Path) -> None:
    Marks().mark([path])
    assert path.stat().st_mtime_ns == ODD
    assert abs(last_used(path) - time.time()) < 5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still, at ``now``."""
    clock = SimpleNamespace(now=2e9)
    monkeypatch.setattr(usage, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def test_a_mark_is_set_once_an_hour(path: Path, clock: SimpleNamespace) -> None:
    marks = Marks()
    marks.mark([path])
    assert last_used(path) == clock.now == 2e9
    clock.now += HOUR
    for fresh in (marks, Marks()):  # by memory, and by what the file says
        fresh.mark([path])
        assert last_used(path) == 2e9
    clock.now += 1
    marks.mark([path])
    assert last_used(path) == clock.now
    os.utime(path, ns=(ODD, ODD))  # by somebody else
    marks.mark([path])
    assert path.stat().st_atime_ns == ODD  # it remembers
    Marks().mark([path])
    assert last_used(path) == clock.now
    assert path.stat().st_mtime_ns == ODD


def test_a_use_of_somebody_else_within_the_hour_is_enough(
    path: Path, clock: SimpleNamespace
) -> None:
    theirs = int((clock.now - 0.5 * HOUR) * 1e9)
    os.utime(path, ns=(theirs, ODD))
    Marks().mark([path])
    assert path.stat().st_atime_ns == theirs


def test_what_has_gone_keeps_nothing_else_from_being_marked(path: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    Marks().mark([gone, path])
    assert not gone.exists()
    assert time.time() - last_used(path) < 5
    with pytest.raises(FileNotFoundError):
        last_used(gone)


def test_what_comes_or_goes_while_it_is_read_stays_as_it_is(path: Path, tmp_path: Path) -> None:
    with undisturbed(path):
        path.unlink()
    assert not path.exists()
    new = tmp_path / "new"
    with undisturbed(new):
        new.touch()
        os.utime(new, ns=(ODD, ODD))
    assert (new.stat().st_atime_ns, new.stat().st_mtime_ns) == (ODD, ODD)


def test_a_change_while_it_is_read_is_no_use_but_stays(path: Path) -> None:
    with undisturbed(path):
        os.utime(path, ns=(ODD + 10**18, ODD + 5))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (ODD, ODD + 5)


def test_reading_undisturbed_is_no_use(path: Path) -> None:
    with pytest.raises(OSError, match="by the reader"), undisturbed(path):
        os.utime(path, ns=(ODD + 10**18, ODD))
        raise OSError("by the reader")
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (ODD, ODD)


def test_the_later_time_counts(path: Path) -> None:
    os.utime(path, ns=(3 * 10**9, 5 * 10**9))
    assert last_used(path) == 5.0
    os.utime(path, ns=(8 * 10**9, 5 * 10**9))
    assert last_used(path) == 8.0


def test_asking_and_opening_use_the_shards_they_need_and_no_others(tmp_path: Path) -> None:
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
        assert FeatureCache(tmp_path).catalogue(feature).fresh == 0  # the index still agrees
