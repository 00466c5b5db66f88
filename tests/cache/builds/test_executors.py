"""Builds on other executors: threads, and real Dask and Ray clusters on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from cache_builds import stored
from cache_computations import Ramp, fingerprint, items
from places import with_helpers

from fusion.cache import FeatureCache, Workers, build, open_workers
from fusion.cache.builds import dispatch as dispatch_module
from fusion.cache.builds.progress import Progress
from fusion.core.contracts.errors import CacheError


def test_any_executor_can_be_used(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        threads = Workers(3, 3, lambda: nullcontext(pool))
        report = build(cache, [(Ramp(fingerprint(), bad=(7,)), items(60))], on=threads)
    assert (report.computed, len(report.failures)) == (59, 1)
    stored(cache, [n for n in range(60) if n != 7])


def test_an_error_of_the_program_is_raised(tmp_path: Path) -> None:
    class Broken:
        @property
        def fingerprint(self) -> Any:
            raise RuntimeError("no fingerprint today")

        def compute(self, source: Any) -> Any:
            return source

    with pytest.raises(RuntimeError, match="no fingerprint today"):
        build(FeatureCache(tmp_path), [(Broken(), items(3))], jobs=1)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ({"kind": "slurm"}, "no executor 'slurm'. Known: processes, dask, ray"),
        ({"jobs": 0}, "at least 1 job"),
        ({"scheduler": "tcp://x:1"}, "be combined with processes of this machine"),
        (
            {"kind": "dask", "jobs": 3, "scheduler": "tcp://x:1"},
            "the cluster sets the number of workers",
        ),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], output: str) -> None:
    with pytest.raises(CacheError, match=output), open_workers(**arguments):
        pass


@pytest.mark.parametrize(("kind", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_reported(
    kind: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(CacheError, match=package) as caught,
        open_workers(kind, scheduler="tcp://x:1"),
    ):
        pass
    assert f"pip install 'modal-fusion[{kind}]'" in str(caught.value)


# -- Dask ----------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    # The workers are other processes, and must be able to import the computations.
    monkeypatch.setenv("PYTHONPATH", with_helpers()["PYTHONPATH"])
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
    ) as created:
        yield created


@pytest.mark.slow
def test_a_killed_worker_of_a_dask_cluster(cluster: Any, tmp_path: Path) -> None:
    cache, log = FeatureCache(tmp_path / "cache"), tmp_path / "log"
    pids = [worker.pid for worker in cluster.workers.values()]
    assert len(set(pids)) == 3
    killed = threading.Event()

    def kill(progress: Progress) -> None:
        if progress.done >= 30 and not killed.is_set():
            os.kill(pids[0], signal.SIGKILL)
            killed.set()

    work = [(Ramp(fingerprint(), delay=0.02, bad=(11,), log=str(log)), items(200))]
    with open_workers("dask", scheduler=cluster.scheduler_address) as dask:
        assert dask.size == 3
        report = build(cache, work, on=dask, on_progress=kill)
    assert killed.is_set()
    assert report.computed + report.present == 199
    assert [failure.source for failure in report.failures] == [11]
    stored(cache, [n for n in range(200) if n != 11])
    counts = Counter(map(int, log.read_text().split()))
    # Only the work of the killed worker was computed again: at most a chunk of 9 items.
    assert sum(counts.values()) - len(counts) <= 9
    keys = [key for shard in cache.shards(fingerprint()) for key in shard.keys]
    assert len(keys) == len(set(keys)) == 199
    with open_workers("dask", scheduler=cluster.scheduler_address) as dask:
        again = build(cache, work, on=dask)
    assert (again.computed, again.present) == (0, 199)


@pytest.mark.slow
def test_an_item_that_kills_dask_workers_is_one_failure(cluster: Any, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with open_workers("dask", scheduler=cluster.scheduler_address) as dask:
        report = build(cache, [(Ramp(fingerprint(), deadly=(5,)), items(40))], on=dask)
    assert [failure.source for failure in report.failures] == [5]
    assert "died" in report.failures[0].reason
    assert "KilledWorker" in report.failures[0].reason
    stored(cache, [n for n in range(40) if n != 5])


@pytest.mark.slow
def test_a_missing_dask_scheduler_is_reported() -> None:
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(CacheError, match="No Dask scheduler answers at 'tcp://127.0.0.1:9'"),
        open_workers("dask", scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(CacheError, match="needs the address"), open_workers("dask"):
        pass
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty,
        pytest.raises(CacheError, match="has no workers"),
        open_workers("dask", scheduler=empty.scheduler_address),
    ):
        pass


# -- Ray -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", with_helpers()["PYTHONPATH"])
    cache = FeatureCache(tmp_path)
    with open_workers("ray") as ray:
        report = build(cache, [(Ramp(fingerprint(), bad=(3,), deadly=(20,)), items(40))], on=ray)
    assert sorted(failure.source for failure in report.failures) == [3, 20]
    stored(cache, [n for n in range(40) if n not in (3, 20)])


@pytest.mark.slow
def test_a_dying_dask_scheduler_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build raises an error instead of waiting for results; finished items are kept."""
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    monkeypatch.setattr(dispatch_module, "_LISTEN_SECONDS", 1.0)
    environment = with_helpers()
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
         "0", "--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / "scheduler.json").exists():
        time.sleep(0.1)
    address = json.loads((tmp_path / "scheduler.json").read_text())["address"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
         "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path / "worker")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def kill(progress: Progress) -> None:
        if progress.done >= 20:
            scheduler.kill()

    cache = FeatureCache(tmp_path / "cache")
    try:
        with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
            while True:  # until the worker has registered
                try:
                    with open_workers("dask", scheduler=address) as result:
                        work = [(Ramp(fingerprint(), delay=0.05), items(400))]
                        with pytest.raises(CacheError, match="no longer answers") as caught:
                            build(cache, work, on=result, on_progress=kill)
                    break
                except CacheError as error:
                    assert "has no workers" in str(error)
                    time.sleep(0.2)
    finally:
        scheduler.kill()
        worker.kill()
    assert "Finished items are kept" in str(caught.value)
    present = 400 - len(cache.missing(fingerprint(), [item.key for item in items(400)]))
    assert present >= 20


def test_workers_of_one_machine_can_be_limited() -> None:
    with open_workers(jobs=4) as four:
        assert four.at_most(None) is four
        assert four.at_most(4) is four
        assert (four.at_most(2).size, four.at_most(2).width) == (2, 4)
    with open_workers(jobs=1) as one:
        assert one.at_most(1) is one
