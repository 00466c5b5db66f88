"""Builds with killed builders: finished items are kept, and no item is wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from attacks import attack
from cache_computations import Doomed, Ramp, array_of, fingerprint, items
from kill_points import kills
from places import HELPERS, with_helpers

from fusion.cache import FeatureCache, build
from fusion.cache.builds import work as work_module
from fusion.cache.upkeep.gc import collect

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes")

BUILDER = HELPERS / "cache_builder_script.py"
COUNT = 40


def undisturbed(count: int = COUNT) -> dict[str, bytes]:
    return {f"key{n:04d}": array_of(n).tobytes() for n in range(count)}


def content(cache: FeatureCache) -> dict[str, bytes]:
    """Return every stored item, verified against its checksum."""
    fresh = FeatureCache(cache.root)
    keys = sorted({key for shard in fresh.shards(fingerprint()) for key in shard.keys})
    rows = fresh.open(fingerprint(), keys, verify="always").load()
    assert fresh.problems == []  # no unreadable shard
    return {key: row.tobytes() for key, row in zip(keys, rows, strict=True)}


def resume(cache: FeatureCache, log: Path, count: int = COUNT) -> None:
    """Resume a build, and check that it computes exactly the missing items and is complete."""
    present = content(cache)
    assert present.items() <= undisturbed(count).items()
    report = build(cache, [(Ramp(fingerprint(), log=str(log)), items(count))], jobs=1)
    computed = sorted(map(int, log.read_text().split())) if log.exists() else []
    assert computed == [n for n in range(count) if f"key{n:04d}" not in present]
    assert (report.computed, report.present, report.failures) == (len(computed), len(present), [])
    assert content(cache) == undisturbed(count)
    shards = list(FeatureCache(cache.root).shards(fingerprint()))
    assert sum(len(shard.keys) for shard in shards) == count  # no item is stored twice


def nothing_is_left_over(cache: FeatureCache) -> None:
    folder = cache.folder(fingerprint())
    assert list(folder.glob(".*")) == list((folder / "claims").glob("*")) == []


# -- kills at every step -------------------------------------------------------------


def test_a_kill_at_any_step_keeps_finished_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks, with three items and two items."""
    monkeypatch.setattr(work_module, "_MIN_ITEMS", 3)
    message = tmp_path / "told"

    def work(root: Path) -> None:
        message.write_text("0")
        shown = lambda progress: message.write_text(str(progress.done))  # noqa: E731
        build(FeatureCache(root), [(Ramp(fingerprint()), items(5))], jobs=1, on_progress=shown)

    steps: Counter[str] = Counter()
    left = []
    for root, step in kills(tmp_path / "caches", work):
        cache = FeatureCache(root)
        present = content(cache)
        assert len(present) in (0, 3, 5)  # complete shards
        assert len(present) >= int(message.read_text())  # items reported as finished are stored
        resume(cache, Path(f"{root}.log"), 5)
        collect(cache, {})
        nothing_is_left_over(cache)
        steps[step] += 1
        left.append(len(present))
    assert left == sorted(left)
    assert {0, 3, 5} == set(left)
    folder = fingerprint().folder_name
    assert steps[f"link {folder}/claims/*"] == steps[f"remove {folder}/claims/*"] == 5
    assert steps[f"rename {folder}/*.h5"] == 2


@pytest.mark.parametrize("step", ["link F/claims/*", "write F/*.tmp", "rename F/*.h5"])
def test_a_worker_killed_at_a_step_loses_no_items(tmp_path: Path, step: str) -> None:
    """The other worker and replacement workers compute everything."""
    cache = FeatureCache(tmp_path / "cache")
    step = step.replace("F", fingerprint().folder_name)
    doomed = Doomed(fingerprint(), folder=str(cache.root), step=step)
    report = build(cache, [(doomed, items(COUNT))], jobs=2)
    assert Path(f"{cache.root}.killed").exists()
    assert report.failures == []
    assert report.computed + report.present == COUNT
    assert content(cache) == undisturbed()
    nothing_is_left_over(cache)


# -- builders in other processes -----------------------------------------------------


def start_builder(
    root: Path, *, jobs: int, delay: float = 0.0, end: int = 0, log: Path | str = ""
) -> subprocess.Popen[str]:
    arguments = [root, COUNT, delay, jobs, end, log]
    return subprocess.Popen(
        [sys.executable, str(BUILDER), *map(str, arguments)],
        env=with_helpers(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def counted(output: str) -> int:
    """Return the last count that a builder printed."""
    return max([0, *(int(line.split("/")[0]) for line in output.splitlines() if "/" in line)])


@pytest.mark.parametrize(("builders", "jobs"), [pytest.param(1, 2, marks=pytest.mark.slow), (2, 1)])
def test_a_builder_killed_after_its_first_chunk(tmp_path: Path, builders: int, jobs: int) -> None:
    """The builder has workers, which end with it, or is one of two; the second one completes."""
    cache = FeatureCache(tmp_path / "cache")
    running = [start_builder(cache.root, jobs=jobs, delay=0.01, end=8)]
    running += [start_builder(cache.root, jobs=jobs, delay=0.01) for _ in range(builders - 1)]
    output = [process.communicate(timeout=100)[0] for process in running]
    assert running[0].returncode in (-9, 0)  # 0 if the second builder finished first
    present = content(cache)
    assert len(present) >= max(map(counted, output))
    if builders > 1:
        assert present == undisturbed()
    resume(cache, tmp_path / "log")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("builders", "victims"), [(1, 1), (2, 1), (2, 2)])
def test_a_kill_at_any_moment_keeps_finished_items(
    tmp_path: Path, builders: int, victims: int, jobs: int
) -> None:
    """One builder alone, one of two, or both of two are killed; 36 kills in total."""
    seed = int(os.environ.get("FUSION_TEST_SEED", time.time_ns() % 2**32))
    print(f"FUSION_TEST_SEED={seed}")  # printed if the test fails
    chance = random.Random(seed)
    interrupted = 0
    for number in range(6):
        cache = FeatureCache(tmp_path / str(number))
        running = [start_builder(cache.root, jobs=jobs, delay=0.02) for _ in range(builders)]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()  # the builder computes
        for process in running[:victims]:
            time.sleep(chance.uniform(0, 0.5 / builders))
            process.kill()
        finished = [counted(process.communicate(timeout=60)[0]) for process in running]
        with attack("kill of builders at a random moment"):
            present = content(cache)
            assert len(present) >= max(finished)  # items reported as finished are stored
            if victims < builders:
                assert present == undisturbed()  # the other builder completed
            resume(cache, tmp_path / f"{number}.log")
        interrupted += min(finished[:victims]) < COUNT
    assert interrupted >= 2  # most of them, unless the machine is very fast


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_builders_compute_nothing_twice(tmp_path: Path, jobs: int) -> None:
    cache, log = FeatureCache(tmp_path / "cache"), tmp_path / "log"
    running = [start_builder(cache.root, jobs=jobs, delay=0.01, log=log) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    computed = Counter(map(int, log.read_text().split()))
    assert computed == Counter(range(COUNT))
    assert content(cache) == undisturbed()
    assert list((cache.folder(fingerprint()) / "claims").iterdir()) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_cleanly(tmp_path: Path, jobs: int) -> None:
    builder = start_builder(tmp_path, jobs=jobs, delay=0.05)
    assert builder.stdout is not None
    builder.stdout.readline()
    builder.stdout.readline()  # one shard is finished
    os.killpg(builder.pid, 2)  # like a terminal: to all processes of the group
    out, err = builder.communicate(timeout=60)
    assert builder.returncode == 0
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    cache = FeatureCache(tmp_path)
    assert 0 < len(content(cache)) < COUNT
    nothing_is_left_over(cache)
