import sys
from contextlib import suppress

import pytest

from fusion.cache.builds.workers import process_pool
from fusion.core.runs.execution import worker_pools
from fusion.core.runs.execution.worker_pools import same_processes, worker_pool


def test_pools_in_the_block_share_processes(monkeypatch):
    opened = []

    def opening(jobs):
        opened.append(jobs)
        return process_pool(jobs)

    monkeypatch.setattr(worker_pools, "process_pool", opening)
    with same_processes():
        for _ in range(2):
            with worker_pool(2) as pool:
                assert pool.submit(abs, -1).result() == 1
        assert opened == [2]
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(abs, -1)
    with worker_pool(1) as other:
        assert other is not pool
    assert opened == [2, 1]


def test_an_error_in_the_block_ends_the_processes():
    with pytest.raises(ZeroDivisionError), same_processes(), worker_pool(1) as pool:
        pool.submit(abs, -1).result()
        raise ZeroDivisionError
    assert all(worker.exitcode is not None for worker in pool.workers())


@pytest.fixture
def _without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("_without_torch")
def test_expected_workers_import_torch_in_advance():
    with same_processes(expected=1), worker_pool(1) as pool:
        assert len(pool.pids()) == 1
        loaded = pool.submit(eval, "'torch' in __import__('sys').modules").result()
    assert loaded


@pytest.mark.usefixtures("_without_torch")
def test_a_number_of_workers_other_than_expected_is_accepted():
    with same_processes(expected=3):
        early = worker_pools._shared_pool.get()._pool
        with worker_pool(1) as pool:
            assert pool is not early
            assert pool.submit(abs, -2).result() == 2
            assert all(worker.exitcode is not None for worker in early.workers())
        with worker_pool(4) as equal:
            assert equal is pool


@pytest.mark.usefixtures("_without_torch")
@pytest.mark.parametrize("failing", [False, True])
def test_unused_workers_are_ended(failing):
    with suppress(ZeroDivisionError), same_processes(expected=1):
        early = worker_pools._shared_pool.get()._pool
        if failing:
            raise ZeroDivisionError
    assert all(worker.exitcode is not None for worker in early.workers())


@pytest.mark.usefixtures("_without_torch")
def test_nested_blocks_share_processes_that_end_with_the_inner_block():
    with same_processes(expected=1):
        early = worker_pools._shared_pool.get()._pool
        with same_processes(), worker_pool(1) as inner:
            assert inner is early
            assert inner.submit(abs, -3).result() == 3
        assert all(worker.exitcode is not None for worker in early.workers())
        with worker_pool(1) as later:
            assert later is not inner
            assert later.submit(abs, -3).result() == 3


@pytest.mark.usefixtures("_without_torch")
def test_a_worker_that_dies_before_its_first_task_is_replaced():
    with same_processes(expected=1):
        early = worker_pools._shared_pool.get()._pool
        (worker,) = early.workers()
        worker.kill()
        worker.join()
        with worker_pool(1) as pool:
            assert pool.submit(abs, -3).result() == 3


def test_no_worker_starts_in_advance_if_torch_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    with same_processes(expected=1):
        assert worker_pools._shared_pool.get()._pool is None
