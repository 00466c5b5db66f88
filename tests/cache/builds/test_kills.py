"""Builders that are killed, alone and beside others: nothing finished is lost, nothing is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cache_computations import Ramp, array_of, fingerprint, items
from places import HELPERS

from fusion.cache import FeatureCache, build

several = pytest.mark.skipif(os.name != "posix", reason="kills processes")

BUILDER = HELPERS / "cache_builder_script.py"
COUNT = 120
UNDISTURBED = {f"key{n:04d}": array_of(n).tobytes() for n in range(COUNT)}


def start_builder(
    root: Path, *, jobs: int, delay: float = 0.01, log: Path | None = None
) -> subprocess.Popen[str]:
    arguments = [str(root), str(COUNT), str(delay), str(jobs), *([str(log)] if log else [])]
    return subprocess.Popen(
        [sys.executable, str(BUILDER), *arguments],
        env={**os.environ, "PYTHONPATH": str(HELPERS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def content(cache: FeatureCache) -> dict[str, bytes]:
    """Every item that can be found, each compared with its checksum as it is read."""
    fresh = FeatureCache(cache.root)
    keys = sorted({key for shard in fresh.shards(fingerprint()) for key in shard.keys})
    rows = fresh.open(fingerprint(), keys, verify="always").load()
    assert fresh.problems == []  # no shard that can't be read
    return {key: row.tobytes() for key, row in zip(keys, rows, strict=True)}


def kill_at(cache: FeatureCache, moments: list[float], builders: int, jobs: int) -> bool:
    """Start builders, kill as many as there are moments, and take up what is left. Returns
    whether one was killed that had not finished."""
    running = [start_builder(cache.root, jobs=jobs) for _ in range(builders)]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # it has started to compute
    waited = 0.0
    for process, moment in zip(running, sorted(moments), strict=False):
        time.sleep(moment - waited)
        waited = moment
        process.kill()
    finished = [counted(process.communicate(timeout=60)[0]) for process in running]
    there = content(cache)
    assert there.items() <= UNDISTURBED.items()
    assert len(there) >= max(finished)  # what a builder called finished is there
    if len(moments) < builders:
        assert there == UNDISTURBED  # the other one did everything
    build(cache, [(Ramp(fingerprint()), items(COUNT))], jobs=1)
    assert content(cache) == UNDISTURBED
    return min(finished[: len(moments)]) < COUNT


def counted(said: str) -> int:
    """The last count that a builder told of."""
    return max([0, *(int(line.split("/")[0]) for line in said.splitlines() if "/" in line)])


@several
@pytest.mark.parametrize(
    ("moments", "builders", "jobs"), [([0.3], 1, 1), ([0.3], 2, 1), ([0.2, 0.4], 2, 2)]
)
def test_a_kill_loses_nothing_finished(
    tmp_path: Path, moments: list[float], builders: int, jobs: int
) -> None:
    kill_at(FeatureCache(tmp_path), moments, builders, jobs)


@several
@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("builders", "kills"), [(1, 1), (2, 1), (2, 2)])
def test_a_kill_at_any_moment_loses_nothing_finished(
    tmp_path: Path, builders: int, kills: int, jobs: int
) -> None:
    """One alone, one of two, both of two; 102 times in all."""
    rng = np.random.default_rng()
    interrupted = 0
    for number in range(17):
        moments = rng.uniform(0, 1.2 / builders, kills).tolist()
        print(f"{number}: killed after {moments} s")  # shown when the test fails
        interrupted += kill_at(FeatureCache(tmp_path / str(number)), moments, builders, jobs)
    assert interrupted >= 6  # most, unless the machine is very fast


@several
@pytest.mark.parametrize("jobs", [1, 2])
def test_two_builders_do_nothing_twice(tmp_path: Path, jobs: int) -> None:
    cache, log = FeatureCache(tmp_path / "cache"), tmp_path / "log"
    running = [start_builder(cache.root, jobs=jobs, log=log) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    computed = Counter(map(int, log.read_text().split()))
    assert computed == Counter(range(COUNT))
    assert content(cache) == UNDISTURBED
    assert list((cache.folder(fingerprint()) / "claims").iterdir()) == []


@several
def test_the_claims_of_a_killed_builder_do_not_hold_the_next(tmp_path: Path) -> None:
    cache, log = FeatureCache(tmp_path / "cache"), tmp_path / "log"
    process = start_builder(cache.root, jobs=1)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.kill()
    process.communicate(timeout=60)
    there = len(content(cache))
    build(cache, [(Ramp(fingerprint(), log=str(log)), items(COUNT))], jobs=1)
    assert len(log.read_text().split()) == COUNT - there
    assert content(cache) == UNDISTURBED


@several
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_cleanly(tmp_path: Path, jobs: int) -> None:
    builder = start_builder(tmp_path, jobs=jobs, delay=0.02)
    assert builder.stdout is not None
    builder.stdout.readline()
    builder.stdout.readline()  # one shard is finished
    os.killpg(builder.pid, 2)  # as a terminal does: all processes of the group
    out, err = builder.communicate(timeout=60)
    assert builder.returncode == 0
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    cache = FeatureCache(tmp_path)
    assert 0 < len(content(cache)) < COUNT
    assert list(cache.folder(fingerprint()).glob(".*")) == []
