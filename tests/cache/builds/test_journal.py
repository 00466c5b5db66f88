from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from attacks import attack
from cache_gc import reregister

from fusion.cache import BuildReport, FeatureCache
from fusion.cache.builds import journal as journal_module
from fusion.cache.builds.journal import (
    BUILDS,
    Purpose,
    builds,
    hit_rate,
    record_build,
    register_run,
    registered_runs,
)
from fusion.cache.builds.progress import Failure
from fusion.cache.shards.files import HOST
from fusion.core.contracts.errors import StorageError


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    (tmp_path / "cache").mkdir()
    return FeatureCache(tmp_path / "cache")


def record(cache: FeatureCache, present: int, computed: int, purpose: Purpose = "run") -> None:
    wanted = {"mel-1": present, "mfcc-2": computed}
    record_build(cache, BuildReport(computed, present, [], 0.5), wanted, purpose)


# -- builds --------------------------------------------------------------------------


def test_a_build_is_one_line(cache: FeatureCache) -> None:
    failure = Failure("mel", "k", "x.wav", "RecordingError: silence")
    report = BuildReport(3, 5, [failure], 1.23456, fetched=2)
    record_build(cache, report, {"mel-1": 8, "mfcc-2": 3}, "run")
    (line,) = (cache.root / BUILDS).read_text().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "purpose": "run", "wanted": 11, "present": 5, "fetched": 2, "computed": 3, "failed": 1,
        "seconds": 1.235, "features": {"mel-1": 8, "mfcc-2": 3},
    }  # fmt: skip
    (build,) = builds(cache)
    assert (build.wanted, build.failed, build.features["mel-1"]) == (11, 1, 8)


def test_hit_rate(cache: FeatureCache) -> None:
    assert hit_rate(cache) is None
    record(cache, 0, 100, "build")
    assert hit_rate(cache) is None  # no run yet
    record(cache, 30, 10)
    assert hit_rate(cache) == 0.75
    record(cache, 60, 0)
    assert hit_rate(cache) == 0.9
    assert hit_rate(cache, last=1) == 1.0
    assert hit_rate(cache, purpose="build") == 0.0
    for _ in range(10):
        record(cache, 1, 1)
    assert hit_rate(cache) == 0.5


def test_without_wanted_items_there_is_no_hit_rate(cache: FeatureCache) -> None:
    record(cache, 0, 0)
    assert hit_rate(cache) is None


def test_damaged_lines_are_ignored(cache: FeatureCache) -> None:
    record(cache, 1, 1)
    good = (cache.root / BUILDS).read_bytes()
    bad = [b"{", b"[1]", b"null", b'{"time": 1}', good.replace(b'"present": 1', b'"present": "x"'),
           good[:40], b"\xff\xfe", b""]  # fmt: skip
    (cache.root / BUILDS).write_bytes(b"\n".join([*bad, good, *bad]))
    assert len(builds(cache)) == 1


def test_the_size_of_the_journal_is_limited(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_BYTES", 4000)
    for n in range(100):
        record(cache, n, 0)
        assert (cache.root / BUILDS).stat().st_size <= 4000
    stored = [build.present for build in builds(cache)]
    assert stored == list(range(stored[0], 100)) and len(stored) >= 8
    assert [path.name for path in cache.root.iterdir()] == [BUILDS]


def _record_many(root: str, number: int) -> None:
    for _ in range(200):
        record(FeatureCache(root), number, 0)


def test_concurrent_processes_write_complete_lines(cache: FeatureCache) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_record_many, args=(str(cache.root), n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(build.present for build in builds(cache)) == [0] * 200 + [1] * 200 + [2] * 200


def test_an_unwritable_journal_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for root in (tmp_path / "nowhere", file / "below"):
        cache = FeatureCache(root)
        record(cache, 1, 1)
        assert builds(cache) == [] and hit_rate(cache) is None
    cache = FeatureCache(file / "below")
    register_run(cache, tmp_path / "run")
    assert registered_runs(cache) == []


# -- runs ----------------------------------------------------------------------------


def test_runs_are_registered_once(cache: FeatureCache, tmp_path: Path) -> None:
    one, two = tmp_path / "a run", tmp_path / "b\udcff"  # a name that is not UTF-8
    one.mkdir()
    for path in (two, one, one):
        register_run(cache, path)
    runs = registered_runs(cache)
    assert [run.path for run in runs] == [one, two]
    assert [run.exists for run in runs] == [True, False]
    assert all(run.is_local and not run.dead for run in runs)
    assert [(run.host, run.pid) for run in runs] == [(HOST, os.getpid())] * 2
    assert len(list((cache.root / "runs").iterdir())) == 2


def test_a_run_below_a_missing_folder_is_not_considered_removed(
    cache: FeatureCache, tmp_path: Path
) -> None:
    register_run(cache, tmp_path / "mounted" / "run")
    (run,) = registered_runs(cache)
    assert (run.exists, run.is_removed) == (False, False)
    (tmp_path / "mounted").mkdir()
    assert run.is_removed
    run.path.mkdir()
    assert not run.is_removed


def test_a_relative_path_is_stored_as_an_absolute_one(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    register_run(cache, Path("runs/x"))
    register_run(cache, tmp_path / "runs/x")
    assert [run.path for run in registered_runs(cache)] == [tmp_path / "runs/x"]


def test_registering_a_run_creates_the_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "new")
    assert registered_runs(cache) == []
    register_run(cache, tmp_path / "run")
    assert [run.path for run in registered_runs(cache)] == [tmp_path / "run"]
    assert cache.features() == []


def test_runs_of_other_machines_have_unknown_state(cache: FeatureCache, tmp_path: Path) -> None:
    register_run(cache, tmp_path / "run")
    (file,) = (cache.root / "runs").iterdir()
    file = reregister(file, path="/far/run", host="elsewhere", pid=1)
    (run,) = registered_runs(cache)
    assert (run.is_local, run.dead, run.exists, run.file) == (False, False, False, file)
    reregister(file, path=str(tmp_path / "run"), host="elsewhere", pid=1)
    assert not registered_runs(cache)[0].is_removed


def test_every_flipped_bit_of_a_registration_is_an_error(
    cache: FeatureCache, tmp_path: Path
) -> None:
    """A registration that names another run would leave the features of its run unprotected."""
    register_run(cache, tmp_path / "run")
    (file,) = (cache.root / "runs").iterdir()
    pristine = file.read_bytes()
    (run,) = registered_runs(cache)
    for at in range(8 * len(pristine)):
        raw = bytearray(pristine)
        raw[at // 8] ^= 1 << at % 8
        file.write_bytes(raw)
        with attack("flipped bit of a registration"), contextlib.suppress(StorageError):
            assert registered_runs(cache) == [run]


def test_a_registration_of_version_0_1_has_no_checksum(cache: FeatureCache, tmp_path: Path) -> None:
    register_run(cache, tmp_path / "run")
    (file,) = (cache.root / "runs").iterdir()
    note = json.loads(file.read_text())
    del note["checksum"]
    file.write_text(json.dumps(note))
    assert registered_runs(cache)[0].path == tmp_path / "run"


@pytest.mark.parametrize("text", ["", "{", "{}", '{"path": 3, "host": "x", "pid": 1}', "[]"])
def test_a_damaged_registration_is_an_error(cache: FeatureCache, tmp_path: Path, text: str) -> None:
    register_run(cache, tmp_path / "run")
    (file,) = (cache.root / "runs").iterdir()
    file.write_text(text)
    with pytest.raises(StorageError, match="can't be read") as caught:
        registered_runs(cache)
    assert str(file) in str(caught.value)
    shutil.rmtree(cache.root)
